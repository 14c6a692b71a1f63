"""A factorial's arms in packs beside one process for each run, in CPU time of whole processes.

Run: ``PYTHONPATH=platform python benchmarks/packing.py RUN``. RUN is a run of
studies/quickstart.toml, whose recording and latents are used; arms, settings and packs are those of
studies/constraints_factorial.toml. One pack is run as the report stage runs it, and of its runs a
few alone; both give the same numbers. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rheobase.study.file.ablation import arms_of
from rheobase.study.file.spec import StudySpec, load_study, override_student
from rheobase.study.records.result import BASELINE, TrialRequest, TrialResult
from rheobase.study.run_folder import RunFolder
from rheobase.study.search.schedule import packs
from rheobase.study.trial.run import run_population

ROOT = Path(__file__).resolve().parent.parent
NUM_ALONE = 4


def largest_pack(spec: StudySpec, num_seeds: int) -> list[TrialRequest]:
    """Return the requests of the report stage's largest pack."""
    requests = [
        TrialRequest(
            trial_id=f"t{number}",
            number=number,
            stage="report",
            arm=arm,
            params={},
            student=override_student(spec.student, overrides).model_dump(mode="json"),
            seeds=spec.seeds.report[:num_seeds],
        )
        for number, (arm, overrides) in enumerate({BASELINE: {}, **arms_of(spec)}.items())
    ]
    found = packs(spec, requests)
    print(f"{len(requests)} arms in packs of {', '.join(str(len(one)) for one in found)}",
          file=sys.stderr)  # fmt: skip
    return max(found, key=len)


def run(folder: Path, requests: list[TrialRequest]) -> None:
    """Run trials in this process, and print the held-out CCA of each of their networks."""
    spec = load_study(ROOT / "studies" / "constraints_factorial.toml")
    shards, latents = RunFolder(folder).read_data()
    with tempfile.TemporaryDirectory() as out:
        found = run_population(requests, spec, shards, latents, Path(out), lambda *_: None)
    for request in requests:
        outcome = found[request.trial_id]
        assert isinstance(outcome, TrialResult), outcome
        for one in outcome.replicates:
            print(request.arm, one.seed, repr(one.cca_heldout))


def whole_process(*arguments: object) -> tuple[float, list[str]]:
    """Return the CPU seconds of a process that runs this file, and its lines."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-W", "ignore", __file__, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, done.stdout.splitlines()


def main() -> None:
    """Print the table."""
    given = argparse.ArgumentParser()
    given.add_argument("run", type=Path)
    given.add_argument("--seeds", type=int, default=10)
    given.add_argument("--only", default="", help="ARM:SEED of a single run, or `all`")
    asked = given.parse_args()
    spec = load_study(ROOT / "studies" / "constraints_factorial.toml")
    requests = largest_pack(spec, asked.seeds)
    if asked.only == "all":
        return run(asked.run, requests)
    if asked.only:
        arm, _, seed = asked.only.rpartition(":")
        (one,) = [request for request in requests if request.arm == arm]
        return run(asked.run, [one.model_copy(update={"seeds": (int(seed),)})])
    packed_s, packed = whole_process(asked.run, "--seeds", asked.seeds, "--only", "all")
    num, alone_s = len(requests) * asked.seeds, 0.0
    for request in requests[:: max(1, len(requests) // NUM_ALONE)][:NUM_ALONE]:
        spent_s, (line,) = whole_process(
            asked.run, "--seeds", asked.seeds, "--only", f"{request.arm}:{request.seeds[0]}"
        )
        assert line in packed, f"both ways must give the same numbers, but not of {line}"
        alone_s += spent_s / NUM_ALONE
    print(
        f"{len(requests)} arms of {spec.name} of {asked.seeds} seeds on one session, {num} runs "
        f"in one pack; {NUM_ALONE} of them alone, of the same numbers\n\n"
        "| | CPU s a run | packed is |\n|---|---|---|\n"
        f"| one process for each run | {alone_s:.1f} | {alone_s / (packed_s / num):.1f} x |\n"
        f"| one pack | {packed_s / num:.2f} | 1.0 x |"
    )
    return None


if __name__ == "__main__":
    main()
