"""What fails first when the code changes with state: the tables of docs/state_shift.md.

Run: ``python benchmarks/state_shift.py RUN`` after ``rheobase run studies/state_shift.toml``. It
reads the report stage's replicates, session by session, for each session is another code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.statistics import paired_comparison
from rheobase.study.records.result import BASELINE, ReplicateResult, TrialRecord
from rheobase.study.run_folder import RunFolder

FITTED, SCORED = "active", "passive"
DOSE = re.compile(r"rotated([\d.]+)$")
BESIDE = ("untrained", "linear_readout")
"""Scored as the network is: what it was before training, and the best linear map of counts."""
HALF = 0.5
"""Share of seeds from which on a line is said to fail."""
Rows = Mapping[str, Sequence[ReplicateResult]]


def code_of(session: str) -> str:
    """Return what changes in a planted session, as its name has it."""
    *_, last = session.split("-")
    return "same" if re.fullmatch(r"g[\d.]+", last) else last


def order_of(code: str) -> tuple[float, str]:
    """Return where a code stands: the dose by angle first, then the others."""
    turned = DOSE.search(code)
    return (0.0 if code == "same" else float(turned[1]) if turned else 1000.0, code)


def by_code(record: TrialRecord) -> Rows:
    """Return a trial's replicates by code, in order."""
    assert record.result is not None
    found: dict[str, list[ReplicateResult]] = {}
    for one in record.result.replicates:
        found.setdefault(code_of(one.session), []).append(one)
    return {code: found[code] for code in sorted(found, key=order_of)}


def of_code(record: TrialRecord, code: str) -> TrialRecord:
    """Return a trial as if it had run on one code alone."""
    assert record.result is not None
    kept = tuple(by_code(record)[code])
    return record.model_copy(
        update={"result": record.result.model_copy(update={"replicates": kept})}
    )


def mean_of(found: Sequence[ReplicateResult], fitted: str, scored: str) -> float:
    """Return the mean over seeds of a readout fitted in one state and scored in another."""
    return fmean(one.cca_by_states[fitted][scored] for one in found)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def pairs(found: Sequence[ReplicateResult]) -> list[str]:
    """Return each fitted and scored state."""
    return [
        f"{mean_of(found, fitted, scored):.3f}"
        for fitted in (FITTED, SCORED)
        for scored in (FITTED, SCORED)
    ]


def null_of(found: Sequence[ReplicateResult]) -> float:
    """Return the largest 95 % quantile of the nulls of what lies across states."""
    return max(null.q95 for one in found for null in one.cross_state_nulls.values())


def in_band(found: Sequence[ReplicateResult], state: str) -> str:
    """Return the share of neurons in the band and their mean rate, a dash of no spikes."""
    if not all(state in one.rates for one in found):
        return "–"
    share = fmean(one.rates[state].in_band for one in found)
    return f"{share:.0%}, {fmean(one.rates[state].mean for one in found):.1f} Hz"


def broken_share(found: Sequence[ReplicateResult], state: str) -> float:
    """Return the share of seeds that break a line of firing in a state."""
    return fmean(
        any(value > 0 for name, value in one.violations.items() if name.startswith(f"{state}:"))
        for one in found
    )


def first_fails(rows: Rows, required: float) -> list[str]:
    """Return the least angle at which each thing fails in half the seeds, by an arm's rows."""
    fails = {
        "rates in the fitted state": lambda found: broken_share(found, FITTED) >= HALF,
        "rates in the other state": lambda found: broken_share(found, SCORED) >= HALF,
        "readout below what is required": lambda f: mean_of(f, FITTED, SCORED) <= required,
        "readout below its null": lambda found: mean_of(found, FITTED, SCORED) <= null_of(found),
        "latents below what is required": lambda f: mean_of(f, SCORED, SCORED) <= required,
    }
    dose = {code: rows[code] for code in rows if code == "same" or DOSE.search(code)}
    told = []
    for test in fails.values():
        at = [code for code, found in dose.items() if test(found)]
        told.append(f"{order_of(at[0])[0]:g}°" if at else "–")
    return told


def main() -> None:
    """Print the tables."""
    (run,) = sys.argv[1:]
    folder = RunFolder(Path(run))
    spec = folder.read_study()
    records = [
        record
        for record in folder.read_records()
        if record.request.stage == "report" and record.result is not None
    ]
    records.sort(key=lambda record: record.request.arm != BASELINE)
    arms = {record.request.arm: by_code(record) for record in records}
    seeds = len(records[0].request.seeds)
    states = ", ".join(spec.data.fit_states) or "both states"
    print(f"Students fitted in {states}; {seeds} seeds of each code; test bins.\n")
    print_baseline(arms)
    print_costs(spec, records)
    print_firing(arms)
    head = [
        "arm",
        f"rates, {FITTED}",
        f"rates, {SCORED}",
        f"{FITTED} → {SCORED} ≤ {spec.require.cca_heldout:g}",
        f"{FITTED} → {SCORED} ≤ null",
        f"{SCORED} → {SCORED} ≤ {spec.require.cca_heldout:g}",
    ]
    print("Least angle of a turned code at which each fails (0°: nothing changes):\n")
    required = spec.require.cca_heldout
    table(head, ([arm, *first_fails(rows, required)] for arm, rows in arms.items()))


def print_baseline(arms: Mapping[str, Rows]) -> None:
    """Print held-out CCA by fitted and scored state of the baseline, beside what bounds it."""
    columns = [f"{a} → {b}" for a in (FITTED, SCORED) for b in (FITTED, SCORED)]
    for arm in [name for name in (BASELINE, "untrained", "linear-readout") if name in arms]:
        print(f"Held-out CCA of {arm}, by fitted → scored state:\n")
        table(
            ["code", *columns, "null across, 95 %", *(f"{name}, scored" for name in BESIDE)],
            (
                [
                    code,
                    *pairs(found),
                    f"{null_of(found):.3f}",
                    *(f"{fmean(getattr(one, name) for one in found):.3f}" for name in BESIDE),
                ]
                for code, found in arms[arm].items()
            ),
        )


def print_costs(spec: StudySpec, records: Sequence[TrialRecord]) -> None:
    """Print each arm minus the baseline, code by code, with intervals over seeds and blocks."""
    base = records[0]
    codes = list(by_code(base))
    for measure, told in (
        ("cca_heldout", "what the study scores"),
        ("cca_within_state", "within states"),
        ("cca_cross_state", "across states"),
    ):
        rows = []
        for record in records[1:]:
            cells = [record.request.arm]
            for code in codes:
                found = paired_comparison(spec, of_code(record, code), of_code(base, code), measure)
                between = "[{:+.3f}, {:+.3f}]".format(*found.ci95) if found.ci95 else ""
                cells.append(f"{found.mean_difference:+.3f} {between}")
            rows.append(cells)
        print(f"Arm minus baseline, {told} (`{measure}`), 95 % interval of this recording:\n")
        table(["arm", *codes], rows)


def print_firing(arms: Mapping[str, Rows]) -> None:
    """Print rates by state of every arm that spikes, and how many seeds break a line of firing."""
    codes = list(next(iter(arms.values())))
    for state in (FITTED, SCORED):
        print(f"Neurons in band and mean rate in the {state} state; seeds that break a line:\n")
        rows = [
            [
                arm,
                *(
                    f"{in_band(by[code], state)}; "
                    f"{round(len(by[code]) * broken_share(by[code], state))} of {len(by[code])}"
                    for code in codes
                ),
            ]
            for arm, by in arms.items()
            if by[codes[0]][0].rates
        ]
        table(["arm", *codes], rows)


if __name__ == "__main__":
    main()
