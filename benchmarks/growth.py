"""How the CPU time of a study's stages grows: with sessions, units, bins, neurons, trials, seeds.

Run: ``PYTHONPATH=platform OMP_NUM_THREADS=1 python benchmarks/growth.py``. Each stage of each size
runs once in a fresh process on one thread; imports are part of what does not grow. Prints tables in
Markdown, and of each axis a line by least squares: what is there at size nought, and what one
session, unit, minute, neuron, trial or seed more adds.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from plan import run_phase

from rheobase.study.file.spec import dump_study, parse_study

STAGES = ("ingest", "teacher", "student")


def study(
    minutes: int = 8,
    units: int = 120,
    sessions: int = 1,
    neurons: int = 128,
    trials: int = 1,
    seeds: int = 1,
) -> dict[str, Any]:
    """Return a study of some size: what is not told is of the quickstart's, for one trial."""
    address = f"synthetic:planted?minutes={minutes}&units={units}"
    space = {"student.rate_weight": {"low": 0.08, "high": 0.5, "log": True}}
    return {
        "name": "growth",
        "data": {"sessions": [f"{address}&seed={seed}" for seed in range(sessions)]},
        "teacher": {"workers": 1},
        "student": {"num_neurons": neurons, "steps": 100, "batch_windows": 24},
        "search": {"trials": trials, "pack": 1, "space": space},
        "seeds": {"select": list(range(seeds)), "report": []},
    }


class Axis(NamedTuple):
    """What grows, its sizes, and the stages that it can move."""

    name: str
    sizes: tuple[int, ...]
    stages: tuple[str, ...]
    of: Callable[[int], dict[str, Any]]


AXES = (
    Axis("sessions", (1, 2, 4), STAGES, lambda size: study(sessions=size)),
    Axis("units", (60, 120, 240, 480), STAGES, lambda size: study(units=size)),
    Axis("minutes, 6,000 bins each", (4, 8, 16, 32), STAGES, lambda size: study(minutes=size)),
    Axis("neurons", (32, 64, 128, 256), ("student",), lambda size: study(neurons=size)),
    Axis("trials", (1, 2, 4), ("student",), lambda size: study(trials=size)),
    Axis("seeds, in one pack", (1, 2, 4, 8), ("student",), lambda size: study(seeds=size)),
)


def main() -> None:
    """Print the tables."""
    print("## How cost grows\n")
    print(
        "One trial of a network of 128 neurons and 100 steps on a planted session of 8 minutes × "
        "120 units, and one thing grown at a time. CPU seconds.\n"
    )
    print("| what grows | sizes | stage | CPU s at each | at nought | one more adds |")
    print("|---|---|---|---|---|---|")
    for axis in AXES:
        taken: dict[str, list[float]] = {stage: [] for stage in axis.stages}
        with tempfile.TemporaryDirectory(prefix="rheobase-bench-") as name:
            for size in axis.sizes:
                # Shards and latents that the size does not change are made once.
                grown = "ingest" in axis.stages or size == axis.sizes[0]
                folder = Path(name) / str(size if "ingest" in axis.stages else "same")
                folder.mkdir(exist_ok=True)
                spec = parse_study(axis.of(size))
                (folder / "study.json").write_text(json.dumps(dump_study(spec)))
                shutil.rmtree(folder / "run", ignore_errors=True)
                for stage in STAGES if grown else axis.stages:
                    used = run_phase(stage, folder)
                    taken.get(stage, []).append(used["cpu_s"])
        for stage, seconds in taken.items():
            slope, begin = np.polyfit(axis.sizes, seconds, 1)
            print(
                f"| {axis.name} | {', '.join(map(str, axis.sizes))} | {stage} | "
                f"{', '.join(f'{one:.1f}' for one in seconds)} | {begin:.1f} s | {slope:.3g} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
