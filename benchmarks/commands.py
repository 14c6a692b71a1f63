"""CPU time and memory of commands that train nothing, beside what their imports cost.

Run: ``PYTHONPATH=platform OMP_NUM_THREADS=1 python benchmarks/commands.py``. Each command runs in a
fresh process, whose CPU seconds (user and system) and peak of resident memory the system tells; the
least of three runs is shown.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from rheobase.core.artifacts import write_json
from rheobase.study.file.spec import StudySpec, dump_study, load_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import (
    Decoding,
    Null,
    RateSummary,
    ReplicateResult,
    TrialRequest,
    TrialResult,
)

STUDY = Path(__file__).resolve().parent.parent / "studies" / "quickstart.toml"
NUM_TRIALS = 1_000
NUM_REPORTS = 8  # a trial's, while it trains
RUNS = 3

# A process's peak begins with its parent's memory, so that the parent must be a small one.
MEASURE = """
import os, sys
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(process, 0)
print()
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def replicate(draw: np.random.Generator, seed: int, dims: int) -> ReplicateResult:
    rates = {state: RateSummary(mean=12.0, in_band=0.9, silent=0.0, saturated=0.0)
             for state in ("active", "passive")}  # fmt: skip
    return ReplicateResult(
        seed=seed,
        session="planted",
        cca_heldout=float(draw.uniform(0.6, 0.95)),
        cca_pairs=tuple(draw.uniform(0.5, 1, dims).tolist()),
        shrinkage=0.01,
        untrained=0.55,
        linear_readout=0.8,
        procrustes=0.7,
        null_shift=Null(mean=0.1, q95=0.2, num_draws=200),
        null_clock=Null(mean=0.1, q95=0.2, num_draws=200),
        cca_within={"active": 0.8, "passive": 0.8},
        cca_cross_state=0.8,
        rates=rates,
        dale_violations=0,
        connections=4096,
        ei_weight_balance=1.0,
        ei_current_balance=1.0,
        cv_isi=0.9,
        decoding={
            name: Decoding(student=0.5, teacher=0.6, chance=0.125, num_scored=400)
            for name in ("image", "change", "running")
        },
        violations={"rate_low": float(draw.normal()), "rate_high": -0.1},
    )


def write_run(spec: StudySpec, folder: Path) -> None:
    """Write a run whose search has ended: every trial its seeds, its curve and its numbers."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    write_json(folder / "study.json", dump_study(spec))
    with Ledger(folder / "ledger.sqlite") as ledger:
        for number in range(NUM_TRIALS):
            params = {"student.rate_weight": float(draw.uniform(1e-3, 1))}
            request = TrialRequest(
                trial_id=f"{number:016x}",
                number=number,
                stage="select",
                params=params,
                student=spec.student.model_dump(mode="json"),
                seeds=spec.seeds.select,
            )
            ledger.add(request)
            ledger.start(request.trial_id)
            for step in range(NUM_REPORTS):
                values = {"loss": 0.1, "cca_heldout": 0.8, "violation": 0.0, "rate_hz": 12.0}
                ledger.progress(request.trial_id, step, values)
            found = [replicate(draw, seed, spec.teacher.latent_dim) for seed in spec.seeds.select]
            ledger.complete(
                TrialResult(trial_id=request.trial_id, replicates=tuple(found), wall_s=10.0)
            )


def used_by(command: list[str]) -> tuple[float, float]:
    """Return the CPU seconds and the resident megabytes of a command that succeeds."""
    least_s, least_mb = float("inf"), float("inf")
    for _ in range(RUNS):
        done = subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, sys.executable, *command],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        seconds, kilobytes = done.stdout.splitlines()[-1].split()
        least_s, least_mb = min(least_s, float(seconds)), min(least_mb, float(kilobytes) / 1024)
    return least_s, least_mb


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="rheobase-bench-") as name:
        run = Path(name) / "run"
        write_run(load_study(STUDY), run)
        command = ["-m", "rheobase"]
        rows = {
            "`python -c 'import typer, pydantic.types, rich.console'`": [
                "-c", "import typer, pydantic.types, rich.console",
            ],
            "`python -c 'import torch'`": ["-c", "import torch"],
            "`python -c 'import ray'`": ["-c", "import ray"],
            "`rheobase --help`": [*command, "--help"],
            "`rheobase plan studies/quickstart.toml`": [*command, "plan", str(STUDY)],
            f"`rheobase rank RUN`, {NUM_TRIALS:,} trials": [*command, "rank", str(run)],
        }  # fmt: skip
        print("| what | CPU s | MB resident |\n|---|---|---|")
        for what, given in rows.items():
            seconds, megabytes = used_by(given)
            print(f"| {what} | {seconds:.2f} | {megabytes:.0f} |", flush=True)


if __name__ == "__main__":
    main()
