"""Whole simulated ablations through `effects_of`: coverage, false positives, power as planned.

Run: ``PYTHONPATH=platform OMP_NUM_THREADS=1 python benchmarks/effects.py``, or
``make bench-statistics``. Prints tables in Markdown. Every case draws 1,000 studies from a
generator named by the case; their records go through the functions that ``rheobase compare`` and
``rheobase plan`` use.
"""

# Shape legend: C arms, S sessions, R seeds, I blocks; k effects.

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.seeds import generator
from rheobase.study.file.ablation import BETWEEN, arms_of, factors_of, hypotheses_of
from rheobase.study.file.spec import StudySpec, parse_study
from rheobase.study.planning.plan import PowerPlan, Spread
from rheobase.study.planning.power import power
from rheobase.study.planning.work import work_of
from rheobase.study.ranking.effect_table import effects_of
from rheobase.study.ranking.resampling import ALPHA
from rheobase.study.records.result import (
    BASELINE,
    RateSummary,
    ReplicateResult,
    TrialRecord,
    TrialRequest,
    TrialResult,
)

Floats = npt.NDArray[np.float64]
ROOT = Path(__file__).resolve().parent.parent
NUM_STUDIES = 1_000
# Standard deviations of an arm minus the baseline, root mean squares over two arms of a run of
# studies/quickstart.toml (8 seeds, 20 held-out blocks): of its mean over seeds; of pseudo-values,
# what seeds, blocks and the rest make.
OF_SEEDS = 0.0088
SEED, BLOCK, REST = 0.0074, 0.0302, 0.0194
# The same of sessions beyond their seeds, root mean square over the four arms of a run of eight
# planted sessions whose networks were fitted in one state (docs/state_shift.md).
OF_SESSIONS = 0.0095
ARMS = {
    "a": {"student.dale": False},
    "b": {"student.input_signs": "by_unit"},
    "c": {"student.rate_weight": 0.0},
    "d": {"student.ei_balance": 1.0},
    "e": {"student.refractory_ms": 30.0},
}
FRACTION = {"design": "fractional", "arms": ARMS}
ALONE = {"arms": {name: ARMS[name] for name in "abc"}}
DOSE = {"dose": {"student.threshold": [0.25, 0.5, 1.0, 2.0, 4.0]}}
ALIKE = ReplicateResult(
    seed=0,
    session="s",
    cca_heldout=0.8,
    cca_pairs=(0.8,),
    shrinkage=0.01,
    untrained=0.6,
    linear_readout=0.7,
    procrustes=0.8,
    null_shift=None,
    null_clock=None,
    cca_within={},
    cca_cross_state=None,
    rates={"all": RateSummary(mean=10, in_band=1, silent=0, saturated=0)},
    dale_violations=0,
    ei_weight_balance=None,
    ei_current_balance=None,
    violations={},
)
SPREAD = Spread(of_seeds=OF_SEEDS, of_sessions=OF_SESSIONS, num_trials=2, source="the simulation")


@dataclass(frozen=True)
class Case:
    """A design whose studies are simulated.

    Attributes
    ----------
    named
        What the table calls it.
    ablation
        The [ablation] table.
    num_sessions, num_seeds
        Of the report stage.
    num_blocks
        Held-out blocks of one session; 0: results without blocks.
    """

    named: str
    ablation: Mapping[str, Any]
    num_sessions: int
    num_seeds: int
    num_blocks: int = 0

    def spec(self) -> StudySpec:
        """Return the study."""
        sessions = [f"s{n}.nwb" for n in range(self.num_sessions)]
        seeds = {"select": [1_000], "report": list(range(self.num_seeds))}
        table = {"name": "simulated", "data": {"sessions": sessions}, "seeds": seeds}
        return parse_study(table | {"ablation": dict(self.ablation)})

    def planned(self) -> PowerPlan:
        """Return what `rheobase plan` says of it."""
        found = work_of(self.spec(), self.num_sessions, SPREAD).power
        assert found is not None
        return found


def columns_of(spec: StudySpec) -> tuple[list[str], list[str], Floats]:
    """Return the arms (C,), the effects (k,), and by how much an arm has of each (C, k)."""
    levels = factors_of(spec)
    names, arms = list(hypotheses_of(spec)), list(levels)
    assert spec.ablation is not None
    if spec.ablation.design == "fractional":
        signs = {one: np.array([2 * row[one] - 1 for row in levels.values()]) for one in ARMS}
        signs |= {BETWEEN.join(pair): signs[pair[0]] * signs[pair[1]]
                  for pair in combinations(ARMS, 2)}  # fmt: skip
        return arms, names, np.array([signs[name] / 2 for name in names]).T
    if spec.ablation.dose:
        at = np.array([row["threshold"] for row in levels.values()])
        return arms, names, ((at - at.mean()) / np.ptp(at))[:, None]
    return arms, names, np.array([[float(arm == name) for name in names] for arm in arms])


def drawn(
    case: Case, columns: Floats, truth: Floats, draw: np.random.Generator, fixed: bool = False
) -> tuple[Floats, Floats]:
    """Return numbers (C, S, R) of one study, and its pseudo-values (C, S, R, I).

    `fixed`: what blocks do to effects sums to 0, so that nothing differs on these blocks either.
    """
    num_arms, num_effects = columns.shape
    shape = (num_arms, case.num_sessions, case.num_seeds)
    if not case.num_blocks:
        of_session = OF_SESSIONS * draw.standard_normal((num_effects, case.num_sessions))
        noise = OF_SEEDS / np.sqrt(2) * draw.standard_normal(shape)
        level = 0.8 + 0.05 * draw.standard_normal((1, case.num_sessions, 1))
        values = level + (columns @ (truth[:, None] + of_session))[..., None] + noise
        return values, np.zeros((*shape, 0))
    parts = draw.standard_normal((num_effects, case.num_blocks))
    if fixed:
        parts -= parts.mean(axis=1, keepdims=True)
    blocks = columns @ (truth[:, None] + BLOCK * parts)
    seeds = SEED / np.sqrt(2) * draw.standard_normal((*shape, 1))
    rest = REST / np.sqrt(2) * draw.standard_normal((*shape, case.num_blocks))
    pseudo = 0.8 + blocks[:, None, None] + seeds + rest
    return pseudo.mean(axis=-1), pseudo


def records_of(arms: Sequence[str], values: Floats, blocks: Floats) -> list[TrialRecord]:
    """Return the records of a study whose results are these."""
    found = []
    _, num_sessions, num_seeds = values.shape
    for at, arm in enumerate(arms):
        replicates = tuple(
            ALIKE.model_copy(
                update={
                    "seed": seed,
                    "session": f"s{session}",
                    "cca_heldout": float(values[at, session, seed]),
                    "blocks": tuple(blocks[at, session, seed].tolist()),
                }
            )
            for session in range(num_sessions)
            for seed in range(num_seeds)
        )
        request = TrialRequest.model_construct(
            trial_id=f"t{at}", number=at, stage="report", arm=arm, params={}, student={},
            seeds=tuple(range(num_seeds)), rungs=(),
        )  # fmt: skip
        result = TrialResult.model_construct(
            trial_id=f"t{at}", replicates=replicates, failed=(), notes=(), wall_s=1.0
        )
        record = TrialRecord.model_construct(request=request, status="complete", result=result)
        found.append(record)
    return found


@dataclass
class Tally:
    """What 1,000 studies of a case came to, in shares."""

    covered: float = 0.0
    """Of all intervals, those that hold the truth."""
    wrong: float = 0.0
    """Studies with p Holm at or below 0.05 of an effect that is 0."""
    wrong_interval: float = 0.0
    """The same of p of the interval, after Holm."""
    found: float = 0.0
    """Studies in which the first effect has p Holm at or below 0.05."""
    second: float = 0.0
    """The same of the second, which is 0."""
    same: float = 0.0
    """Studies that claim of any effect that it is less than the margin."""


def simulate(case: Case, truth: float, *, of_all: bool = False, fixed: bool = False) -> Tally:
    """Return what studies come to whose first effect, or `of_all` every one, is `truth`."""
    spec, tally = case.spec(), Tally()
    arms, names, columns = columns_of(spec)
    assert set(arms) <= {BASELINE, *arms_of(spec)}
    true = np.full(len(names), truth)
    if not of_all:
        true[1:] = 0.0
    draw = generator(0, "effects", case.named, f"{truth:g}", str(of_all), str(fixed))
    for _ in range(NUM_STUDIES):
        records = records_of(arms, *drawn(case, columns, true, draw, fixed))
        rows = {one.name: one for one in effects_of(spec, records).rows}
        assert list(rows) == names
        is_found = [(one.p_holm or 1.0) <= ALPHA for one in rows.values()]
        ends = np.array([one.ci95 for one in rows.values()])
        tally.covered += float(((ends[:, 0] <= true) & (true <= ends[:, 1])).mean())
        tally.wrong += any(is_found[at] for at in range(len(names)) if true[at] == 0)
        tally.wrong_interval += any(
            (one.p_interval_holm or 1.0) <= ALPHA
            for one, truly in zip(rows.values(), true, strict=True)
            if truly == 0
        )
        tally.found += is_found[0]
        tally.second += len(names) > 1 and is_found[1]
        tally.same += any(one.equivalence and one.equivalence.is_equivalent
                          for one in rows.values())  # fmt: skip
    return Tally(*(value / NUM_STUDIES for value in vars(tally).values()))


def effect_of_power(case: Case, aim: float) -> float:
    """Return the effect that the plan says is found in a share of studies."""
    planned = case.planned()
    assert planned.unit_sd is not None
    level = ALPHA / len(hypotheses_of(case.spec()))
    low, high = 0.0, 20.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        enough = power(middle, planned.num_units, level) >= aim
        low, high = (low, middle) if enough else (middle, high)
    return high * planned.unit_sd


CASES = (
    Case("2⁵⁻¹, 10 sessions, 4 seeds", FRACTION, 10, 4),
    Case("3 arms, 8 sessions, 8 seeds", ALONE, 8, 8),
    Case("dose of 5 levels, 10 sessions, 4 seeds", DOSE, 10, 4),
    Case("3 arms, one session, 10 seeds, 20 blocks", ALONE, 1, 10, 20),
)


def print_levels() -> None:
    """Print how often intervals cover and corrected p err."""
    print(
        "\n## Whole ablations\n\n"
        f"{NUM_STUDIES:,} studies a row (a standard error is 0.7 % at 95 %), each as records "
        "through `effects_of`, which `rheobase compare` prints. Spreads are those of runs: an arm "
        f"minus the baseline varies by {OF_SEEDS} CCA over seeds (pseudo-values: seeds {SEED}, "
        f"blocks {BLOCK}, rest {REST}; a run of `studies/quickstart.toml`), and by {OF_SESSIONS} "
        "over sessions (eight planted sessions, `docs/state_shift.md`). `covers`: 95 % intervals "
        "that hold the truth, of all effects. `false`: studies with p Holm ≤ 0.05 of any effect, "
        "where all are 0. `false same`: studies that claim of any effect that it is less than the "
        "margin of 0.02, where all are 0.02.\n\n"
        "| design | hypotheses | covers | false | false same |\n|---|---|---|---|---|"
    )
    for case in CASES:
        null = simulate(case, 0.0)
        at_margin = simulate(case, 0.02, of_all=True)
        false = f"{null.wrong:.1%}"
        if case.num_blocks:
            of_these = simulate(case, 0.0, fixed=True)
            false = (
                f"flips {of_these.wrong:.1%} on these blocks, {null.wrong:.1%} of the recording; "
                f"interval {null.wrong_interval:.1%} of the recording"
            )
        print(
            f"| {case.named} | {len(hypotheses_of(case.spec()))} | {null.covered:.1%} | {false} | "
            f"{at_margin.same:.1%} |",
            flush=True,
        )
    print(
        "\nIn one session flips are of seeds: where blocks differ as they do here, they speak of "
        "other seeds on the same blocks alone, which a note beside each p says. Of the recording "
        "the interval judges, and `p_interval_holm`, its p after the same correction."
    )


def print_power() -> None:
    """Print how often an effect is found that the plan says is found so often."""
    print(
        "\n## Power as planned\n\n"
        "The first effect has the size of which `rheobase plan` says that it is found in 80 and "
        "95 % of studies; every other is 0. `nothing`: how often the second is found.\n\n"
        "| design | effect, CCA | planned | found | nothing | covers |\n|---|---|---|---|---|---|"
    )
    for case in CASES:
        for aim in (0.8, 0.95):
            effect = effect_of_power(case, aim)
            found = simulate(case, effect, fixed=bool(case.num_blocks))
            second = "–" if len(hypotheses_of(case.spec())) == 1 else f"{found.second:.1%}"
            covers = "–" if case.num_blocks else f"{found.covered:.1%}"
            print(
                f"| {case.named} | {effect:.4f} | {aim:.0%} | {found.found:.1%} | {second} | "
                f"{covers} |",
                flush=True,
            )


def print_seconds() -> None:
    """Print what the table of 10,000 results and a plan take."""
    case = Case("2⁵⁻¹, 25 sessions, 25 seeds", FRACTION, 25, 25)
    spec = case.spec()
    arms, names, columns = columns_of(spec)
    values = drawn(case, columns, np.zeros(len(names)), generator(0, "effects", "seconds"))
    records = records_of(arms, *values)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    effects_of(spec, records)
    table = time.perf_counter() - begun, time.process_time() - begun_cpu
    study = ROOT / "studies" / "constraints_factorial.toml"
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "rheobase", "plan", str(study), "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT / "platform")},
    )
    of_plan = resource.getrusage(resource.RUSAGE_CHILDREN)
    plan = time.perf_counter() - begun, of_plan.ru_utime + of_plan.ru_stime
    print("\n## What it takes\n\n| what | seconds | of CPU |\n|---|---|---|")
    for what, (seconds, cpu_s) in {
        f"effects of {values[0].size:,} results, {len(names)} hypotheses": table,
        "`rheobase plan studies/constraints_factorial.toml --json`, a new process": plan,
    }.items():
        print(f"| {what} | {seconds:.1f} | {cpu_s:.1f} |")


if __name__ == "__main__":
    print_levels()
    print_power()
    print_seconds()
