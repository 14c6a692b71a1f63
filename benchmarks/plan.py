"""What `rheobase plan` estimates, held against what binning and a small study then took.

Run: ``PYTHONPATH=platform OMP_NUM_THREADS=1 python benchmarks/plan.py``. Each phase runs once in a
fresh process on one thread, which says its CPU seconds and its peak of resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from vbn import write_session

from rheobase.core.errors import DataError
from rheobase.report.plan import duration, size
from rheobase.shards.shard import TEST, TRAIN, Shard
from rheobase.shards.store import read_shard
from rheobase.shards.timeline import timeline_of
from rheobase.shards.windows import window_starts
from rheobase.study.file.spec import StudySpec, dump_study, parse_study
from rheobase.study.planning.estimate import estimate
from rheobase.study.planning.plan import Estimate

SMALL = {
    "name": "small",
    "data": {"sessions": ["synthetic:planted?seed=0&minutes=20&units=200"]},
    "teacher": {"steps": 500, "workers": 1},
    "student": {"steps": 60},
    "search": {"trials": 1},
    "seeds": {"select": [0, 1], "report": []},
}


def ingest(spec: StudySpec, folder: Path) -> None:
    from rheobase.shards.ingest import bin_session

    for session in spec.data.sessions:
        bin_session(session, spec.data, folder / "shards")


def teacher(spec: StudySpec, folder: Path) -> None:
    import torch

    from rheobase.core.folders import whole_folder
    from rheobase.shards.latents import write_latents
    from rheobase.teacher.encode import encode
    from rheobase.teacher.evaluate import evaluate
    from rheobase.teacher.fit import fit_teacher

    torch.set_num_threads(1)
    shards = shards_below(folder)
    trained = fit_teacher(shards, spec.teacher, spec.data.window_ms)
    manifest = {"digest": "benchmark", "sessions": [shard.session_id for shard in shards]}
    with whole_folder(folder / "latents", manifest) as partial:
        latents = {shard.session_id: encode(trained, shard) for shard in shards}
        write_latents(partial, latents)
    evaluate(trained, shards, latents)


def student(spec: StudySpec, folder: Path) -> None:
    from rheobase.report.tensorboard import TensorBoardLog
    from rheobase.shards.latents import read_latents
    from rheobase.study.records.ledger import Ledger
    from rheobase.study.search.schedule import Bookkeeper, run_here

    shards, run = shards_below(folder), folder / "run"
    run.mkdir()
    with Ledger(run / "ledger.sqlite") as ledger:
        bookkeeper = Bookkeeper(ledger, TensorBoardLog(run, spec))
        run_here(spec, run, shards, read_latents(folder / "latents"), "benchmark", bookkeeper)


PHASES = {"ingest": ingest, "teacher": teacher, "student": student}


def shards_below(folder: Path) -> list[Shard]:
    return [read_shard(path) for path in sorted((folder / "shards").rglob("*.arrow"))]


def once(phase: str, folder: Path) -> None:
    """Run one phase in this fresh process and print what it took, as JSON."""
    spec = parse_study(json.loads((folder / "study.json").read_text()))
    began = time.process_time()
    PHASES[phase](spec, folder)
    used = {
        "cpu_s": time.process_time() - began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(used))


def run_phase(phase: str, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--once", phase, str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"RHEOBASE_HOME": str(folder / "home")},
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def line(name: str, planned: float, found: float, show: Any) -> None:
    print(f"| {name} | {show(planned)} | {show(found)} | {planned / found:.2f} |", flush=True)


def held_against(title: str, spec: StudySpec, phases: tuple[str, ...], folder: Path) -> None:
    """Print a study's estimates beside what its phases took."""
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(json.dumps(dump_study(spec)))
    plan: Estimate = estimate(spec)
    print(f"\n### {title}\n\n| | estimate | measured | ratio |\n|---|---|---|---|")
    used = {phase: run_phase(phase, folder) for phase in phases}
    (shard,) = shards_below(folder)
    width = round(spec.data.window_ms / spec.data.bin_ms)
    line("bins", plan.num_bins, shard.num_bins, "{:,}".format)
    for name, split, planned in (
        ("train windows", TRAIN, plan.train_windows),
        ("test windows", TEST, plan.test_windows),
    ):
        try:
            starts = window_starts(timeline_of(shard), split, width, width)
        except DataError:
            continue
        line(name, planned, len(starts), "{:,}".format)
    line("units kept", plan.sessions[0].num_kept_units, shard.num_units, "{:,}".format)
    for name, where in (
        ("sessions", folder / "home" / "sessions"),
        ("shards", folder / "shards"),
        ("latents", folder / "latents"),
        ("run", folder / "run"),
    ):
        if where.exists():
            line(f"disk, {name}", plan.bytes[name], bytes_below(where), size)
    for phase, took in used.items():
        line(f"{phase}, CPU", plan.cpu_hours[phase], took["cpu_s"] / 3600, duration)
    for phase, took in used.items():
        line(f"{phase}, peak memory", plan.memory_bytes[phase], took["peak_bytes"], size)


def main() -> None:
    """Print the tables."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--once", nargs=2, metavar=("PHASE", "FOLDER"), help=argparse.SUPPRESS)
    asked = asking.parse_args()
    if asked.once:
        once(asked.once[0], Path(asked.once[1]))
        return
    print("\n## The plan against what was measured")
    with tempfile.TemporaryDirectory(prefix="rheobase-bench-") as name:
        root = Path(name)
        path = root / "session.nwb"
        write_session(path, 2_000, 20_000_000, 2.2 * 3600)
        for quality in ("none", "allen"):
            data = {"sessions": [str(path)], "quality": quality}
            held_against(
                f"A file of 2,000 units, 20 M spikes and 2.2 h, preset `{quality}`",
                parse_study({"name": "large", "data": data}),
                ("ingest",),
                root / quality,
            )
        small = parse_study(SMALL)
        held_against(
            "A small study: planted, 20 min, 200 units, 500 steps of the teacher, 60 of 2 students",
            small,
            ("ingest", "teacher", "student"),
            root / "small",
        )


if __name__ == "__main__":
    sys.exit(main())
