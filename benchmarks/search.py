"""The constrained search beside stock Ray Tune with Optuna and beside random draws.

Run: ``PYTHONPATH=platform python benchmarks/search.py``, or ``make bench-search``. Prints the page
``benchmarks/search.md``. With ``--keep FOLDER`` a run that was interrupted goes on.

Every search trains real students on the same shard and the same latents of one planted session,
with the same function, and starts from the same configuration. Stock is Ray's own `OptunaSearch`
with its default sampler, told each trial's `cca_heldout`; it is asked and told here one trial
after another, so that it knows every earlier result, and without starting a Ray actor a trial.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from ray.tune.search.optuna import OptunaSearch

from rheobase.core.artifacts import write_json
from rheobase.core.digest import digest
from rheobase.core.folders import is_published, whole_folder
from rheobase.distributed.cluster import ray_session
from rheobase.distributed.search import Inputs, search
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.latents import Latents, read_latents, write_latents
from rheobase.shards.shard import Shard
from rheobase.shards.store import read_shard, write_shard
from rheobase.study.file.search_settings import SearchSettings, StopSettings
from rheobase.study.file.spec import StudySpec, override_student, parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import TrialRecord, TrialRequest, TrialResult
from rheobase.study.search.schedule import Bookkeeper, run_here
from rheobase.study.search.space import Space
from rheobase.study.trial import measure
from rheobase.study.trial.run import run_trial
from rheobase.teacher.encode import encode
from rheobase.teacher.fit import fit_teacher

ADDRESS = "synthetic:planted?seed=0&minutes=2&units=40"
# Chosen by 40 random draws that no search sees: 5 % of them feasible, but none of the ten with the
# highest held-out CCA, for those fire too much. Elsewhere a search needs no constraints.
SPACE = {
    "student.rate_weight": {"low": 1e-6, "high": 1e-2, "log": True},
    "student.excitatory_fraction": {"low": 0.5, "high": 0.95},
    "student.initial_inhibitory_gain": {"low": 0.25, "high": 4.0, "log": True},
    "student.recurrent_gain": {"low": 0.25, "high": 4.0, "log": True},
    "student.threshold": {"low": 0.25, "high": 2.0, "log": True},
    "student.tau_mem_ms": {"low": 5.0, "high": 80.0, "log": True},
    "student.surrogate_slope": {"low": 2.0, "high": 50.0, "log": True},
    "student.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
}
ARMS = {
    "tpe": "tpe",
    "stock": "tpe",
    "random": "random",
    "gp": "gp",
}  # the sampler of each
OURS = ("tpe", "gp")
DEFAULT = SearchSettings().sampler
STOPPED_STEPS = 120  # three times the others', so that a rung comes after the rates have settled
NULL_DRAWS = 10  # of a hundred: nulls decide neither feasibility nor held-out CCA
CHEAP = {"num_neurons": 4, "steps": 1, "batch_windows": 1}
MEMORY_AT = (100, 500, 1000)


def study(seed: int, trials: int, generation: int, sampler: str, **student: Any) -> StudySpec:
    """Return a study of the planted session whose trials cost about half a second."""
    own = {"rate_weight": 1e-3}  # trial 0 lies in the space
    return parse_study(
        {
            "name": "bench",
            "data": {"sessions": [ADDRESS]},
            "teacher": {"latent_dim": 4, "steps": 200},
            "student": {"num_neurons": 24, "steps": 40, "batch_windows": 8, **own, **student},
            "search": {
                "sampler": sampler,
                "trials": trials,
                "generation": generation,
                "seed": seed,
                "space": SPACE,
            },
            "seeds": {"select": [0], "report": []},
        }
    )


def prepared(root: Path) -> Inputs:
    """Return where the shard and the latents of the planted session are; made once."""
    spec = study(0, 1, 1, "tpe")
    shard_file, latents = root / "shard" / "shard.arrow", root / "latents"
    if not is_published(latents):
        shard = make_shard(load_session(ADDRESS), spec.data)
        shard_file.parent.mkdir(parents=True, exist_ok=True)
        write_shard(shard_file, shard)
        teacher = fit_teacher([shard], spec.teacher, spec.data.window_ms)
        with whole_folder(latents, {"digest": "bench", "sessions": [shard.session_id]}) as folder:
            write_latents(folder, {shard.session_id: encode(teacher, shard)})
    return Inputs((shard_file,), (latents,), "bench")


class Clock:
    """Hears when trials start and end, and of how many."""

    def __init__(self, at_end: Callable[[int], None] = lambda _: None) -> None:
        self.first_s = 0.0
        self.last_s = 0.0
        self._num_ended = 0
        self._at_end = at_end

    def stage(self, name: str, detail: str) -> None:
        """Ignore."""

    def trial_started(self, request: TrialRequest) -> None:
        """Note the first start."""
        self.first_s = self.first_s or time.monotonic()

    def trial_progress(self, trial_id: str, step: int, values: Mapping[str, float]) -> None:
        """Ignore."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Note the last end."""
        self.last_s = time.monotonic()
        self._num_ended += 1
        self._at_end(self._num_ended)


def platform_search(spec: StudySpec, run: Path, shard: Shard, latents: Latents) -> None:
    """Run a study in this process, as `rheobase run` would under Ray."""
    with Ledger(run / "ledger.sqlite") as ledger:
        run_here(spec, run, [shard], latents, "bench", Bookkeeper(ledger, Clock()))


def stock_search(spec: StudySpec, run: Path, shard: Shard, latents: Latents) -> None:
    """Run the same budget by Ray's `OptunaSearch` as its documentation has it."""
    space = Space(spec)
    searcher = OptunaSearch(
        space=dict(space.distributions),
        metric="cca_heldout",
        mode="max",
        points_to_evaluate=[space.own()],
        seed=spec.search.seed,
    )
    with Ledger(run / "ledger.sqlite") as ledger:
        for number in range(spec.search.trials):
            params = searcher.suggest(str(number)) or {}
            student = override_student(spec.student, params).model_dump(mode="json")
            request = TrialRequest(
                trial_id=digest([number, student]),
                number=number,
                stage="select",
                params=params,
                student=student,
                seeds=spec.seeds.select,
            )
            ledger.add(request)
            ledger.start(request.trial_id)
            folder = run / "trials" / request.trial_id
            result = run_trial(request, spec, [shard], latents, folder)
            assert isinstance(result, TrialResult)
            ledger.complete(result)
            cca = fmean(one.cca_heldout for one in result.replicates)
            searcher.on_trial_complete(str(number), {"cca_heldout": cca, "training_iteration": 1})


def compare(root: Path, inputs: Inputs, seeds: int, trials: int) -> list[str]:
    """Return the table of all searches, seed by seed."""
    shard, latents = read_shard(inputs.shards[0]), read_latents(inputs.latents)
    measure.NUM_NULL_DRAWS = NULL_DRAWS
    shares: dict[str, list[float]] = {arm: [] for arm in ARMS}
    bests: dict[str, list[float | None]] = {arm: [] for arm in ARMS}
    late = [("gp", seed) for seed in range(seeds)]
    for arm, seed in [*((a, s) for s in range(seeds) for a in ARMS if a != "gp"), *late]:
        spec = study(seed, trials, 1, ARMS[arm])
        run = root / f"{arm}-{seed}-{trials}"
        if not (run / "done.json").exists():
            if arm == "stock":
                (run / "ledger.sqlite").unlink(missing_ok=True)  # its sampler is lost
            (stock_search if arm == "stock" else platform_search)(spec, run, shard, latents)
            write_json(run / "done.json", True)
        with Ledger.open_existing(run / "ledger.sqlite") as ledger:
            rows = rank_study(spec, ledger.records()).trials
        feasible = [row for row in rows if row.is_feasible]
        shares[arm].append(len(feasible) / trials)
        bests[arm].append(max((row.cca_heldout.mean for row in feasible), default=None))
        progress = f"{seed} {arm}: {shares[arm][-1]:.3f} feasible, best {bests[arm][-1]}"
        print(progress, file=sys.stderr, flush=True)
    return [*table(shares, bests), "", *verdicts(shares, bests)]


def table(shares: Mapping[str, list[float]], bests: Mapping[str, list[float | None]]) -> list[str]:
    """Return the rows of the comparison."""
    heads = [f"{arm}: {what}" for what in ("feasible", "best CCA") for arm in ARMS]
    lines = ["| search seed | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for seed in range(len(shares["stock"])):
        cells = [f"{shares[arm][seed]:.0%}" for arm in ARMS]
        cells += ["none" if (b := bests[arm][seed]) is None else f"{b:.3f}" for arm in ARMS]
        lines.append(f"| {seed} | " + " | ".join(cells) + " |")
    means = [f"{fmean(shares[arm]):.0%}" for arm in ARMS]
    means += [f"{fmean(b for b in bests[arm] if b is not None):.3f}" for arm in ARMS]
    return [*lines, "| mean | " + " | ".join(means) + " |"]


def verdicts(
    shares: Mapping[str, list[float]], bests: Mapping[str, list[float | None]]
) -> list[str]:
    """Return what the comparison comes to, against stock and against random draws."""
    lines = []
    for ours in OURS:
        for other in ("stock", "random"):
            ratio = sum(shares[ours]) / max(sum(shares[other]), 1e-9)
            more = sum(a > b for a, b in zip(shares[ours], shares[other], strict=True))
            a_b = [
                (-1.0 if a is None else a, -1.0 if b is None else b)
                for a, b in zip(bests[ours], bests[other], strict=True)
            ]
            wins, ties = sum(a > b for a, b in a_b), sum(a == b for a, b in a_b)
            lines.append(
                f"- `{ours}` against {other}: {ratio:.2f} times the share of feasible trials, more "
                f"in {more} of {len(a_b)} seeds; best feasible held-out CCA: {wins} wins, "
                f"{ties} ties, {len(a_b) - wins - ties} losses"
            )
    return lines


def stopping(root: Path, inputs: Inputs, seeds: int, trials: int) -> list[str]:
    """Return what early stopping saves and costs, every stopped trial run to its end after."""
    shard, latents = read_shard(inputs.shards[0]), read_latents(inputs.latents)
    lines = ["| search seed | stopped | steps saved | of the stopped: feasible | best of all |"]
    lines[0] += " best feasible CCA | the same search without stopping |"
    lines.append("|---" * 7 + "|")
    for seed in range(seeds):
        whole = study(seed, trials, 4, DEFAULT, steps=STOPPED_STEPS)
        stop = StopSettings(audit=trials)
        spec = whole.model_copy(update={"search": whole.search.model_copy(update={"stop": stop})})
        found = {}
        for name, one in (("stopped", spec), ("whole", whole)):
            run = root / f"{name}-{seed}-{trials}"
            if not (run / "done.json").exists():
                platform_search(one, run, shard, latents)
                write_json(run / "done.json", True)
            with Ledger.open_existing(run / "ledger.sqlite") as ledger:
                found[name] = rank_study(one, ledger.records())
        seen = found["stopped"].stopped
        feasible = [
            max(
                (row.cca_heldout.mean for row in found[name].trials if row.is_feasible),
                default=-1.0,
            )
            for name in ("stopped", "whole")
        ]
        lines.append(
            f"| {seed} | {seen.num_stopped} of {trials} | {seen.steps_saved:.0%} | "
            f"{seen.num_would_be_feasible} | {seen.num_would_be_best} | "
            + " | ".join("none" if best < 0 else f"{best:.3f}" for best in feasible)
            + " |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def wall_s(run: Path) -> float:
    """Return the seconds that a run's trials took by their own account."""
    with Ledger.open_existing(run / "ledger.sqlite") as ledger:
        return sum(one.result.wall_s for one in ledger.records() if one.result)


def overhead(root: Path, inputs: Inputs, trials: int, sampler: str) -> list[str]:
    """Return what a trial costs beyond itself, one at a time, here and under Ray Tune."""
    measure.NUM_NULL_DRAWS = 100
    spec = study(0, trials, 4, sampler)
    one_at_a_time = spec.resources.model_copy(update={"max_concurrent": 1})
    spec = spec.model_copy(update={"resources": one_at_a_time})
    shard, latents = read_shard(inputs.shards[0]), read_latents(inputs.latents)
    lines = ["| where | s a trial beyond the trial | of it: start of the session's worker |"]
    lines.append("|---|---|---|")
    with tempfile.TemporaryDirectory(dir=root) as name:
        here, tune = Path(name) / "here", Path(name) / "tune"
        began = time.monotonic()
        platform_search(spec, here, shard, latents)
        spent = time.monotonic() - began
        lines.append(f"| this process | {(spent - wall_s(here)) / trials:.3f} | |")
        clock = Clock()
        with ray_session("local", num_cpus=2), Ledger(tune / "ledger.sqlite") as ledger:
            began = time.monotonic()
            search(spec, tune, inputs, Bookkeeper(ledger, clock))
            spent = time.monotonic() - began
        start = clock.first_s - began
        beyond = spent - wall_s(tune)
        lines.append(f"| Ray Tune | {beyond / trials:.3f} | {start / trials:.3f} |")
    return lines


def resident_mib() -> float:
    """Return the resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def memory(root: Path, inputs: Inputs, trials: int) -> list[str]:
    """Return the driver's memory in a search of many cheap trials on two CPUs."""
    spec = study(0, trials, 8, "tpe", **CHEAP)
    seen: dict[int, float] = {}

    def look(num_ended: int) -> None:
        if num_ended in MEMORY_AT:
            seen[num_ended] = resident_mib()
            print(f"{num_ended} cheap trials: {seen[num_ended]:.0f} MiB", file=sys.stderr)

    with (
        tempfile.TemporaryDirectory(dir=root) as name,
        ray_session("local", num_cpus=2),
        Ledger(Path(name) / "ledger.sqlite") as ledger,
    ):
        began = time.monotonic()
        search(spec, Path(name), inputs, Bookkeeper(ledger, Clock(look)))
        spent = time.monotonic() - began
        counts = [record.status for record in ledger.records()]
    least = min(seen.values(), default=0.0)
    lines = ["| trials ended | driver, MiB | more than the least |", "|---|---|---|"]
    lines += [f"| {num} | {mib:.0f} | {mib / least - 1:+.1%} |" for num, mib in seen.items()]
    ended = f"{counts.count('complete')} of {len(counts)} complete"
    return [*lines, "", f"{ended}; {spent / trials:.2f} s a trial from ask to ledger."]


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--cheap", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder of results, for a run that goes on")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        root = (asked.keep or Path(scratch)).absolute()
        inputs = prepared(root)
        beyond = [
            line
            for sampler in (DEFAULT, "tpe")
            for line in (f"\n`{sampler}`:\n", *overhead(root, inputs, asked.trials, sampler))
        ]
        print("\n".join(beyond), file=sys.stderr, flush=True)
        compared = compare(root, inputs, asked.seeds, asked.trials)
        stopped = stopping(root, inputs, min(asked.seeds, 5), asked.trials)
        held = memory(root, inputs, asked.cheap)
    print("# The constrained search beside stock Ray Tune with Optuna and random draws")
    print("\nMade by\n\n```\nmake bench-search\n```\n")
    print("## Feasible trials and the best of them")
    print(
        f"\n{asked.seeds} search seeds, {asked.trials} trials each, of which the first is the same "
        f"for all; 24 neurons, 40 steps, one seed, the session `{ADDRESS}`. `stock` is "
        "`ray.tune.search.optuna.OptunaSearch` with its default sampler, asked and told one trial "
        "after another; `tpe` and `gp` are the platform's samplers of these names, with a "
        "generation of one trial, so that they know as much. Feasible is what the ranking "
        "calls so: every line, in both states. The score is the select seed's own: what is "
        "compared is the searches, not the networks. The space was chosen by 40 random draws that "
        "no search sees: 5 % were feasible, but none of the ten with the highest held-out CCA; "
        "where the best configurations are feasible anyway, a search needs no constraints. Nulls "
        f"of this table are of {NULL_DRAWS} draws, for they decide neither column.\n"
    )
    print("\n".join(compared))
    print("\n## Early stopping")
    print(
        f"\nThe same space with `{DEFAULT}`, {STOPPED_STEPS} steps a trial, generations of four "
        "and `[search.stop]` as it comes; every stopped trial was run to its end afterwards.\n"
    )
    print("\n".join(stopped))
    print("\n## What a trial costs beyond itself")
    print(
        "\nWall time of the search less what its trials say they took, by trial, in the same run; "
        "one trial at a time.\n"
    )
    print("\n".join(beyond))
    print("\n## Memory of the driver")
    print(
        "\nTrials of 4 neurons and one training step: real ones, through the real ledger, sampler "
        "and Ray Tune, two at a time.\n"
    )
    print("\n".join(held))


if __name__ == "__main__":
    main()
