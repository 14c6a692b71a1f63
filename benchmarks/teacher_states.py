"""What codes hold across brain states of planted sessions whose population code changes.

Run: ``PYTHONPATH=platform OMP_NUM_THREADS=1 python benchmarks/teacher_states.py``; words of the
form ``name=value`` set a field of the [teacher] table, value in JSON, for the rows that they are
asked of with ``--trained``.
"""

# Shape legend: T bins, K true latents, D latent dimensions.

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from rheobase.measures.probes import ridge_r2
from rheobase.measures.transfer import pairs_of_states
from rheobase.sessions.load import load_session
from rheobase.sessions.planted.code import PlantedCode
from rheobase.sessions.planted.simulate import NAMES, simulate
from rheobase.shards.binning import make_shard
from rheobase.shards.covariates import true_latents_of
from rheobase.shards.settings import DataSettings
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import timeline_of
from rheobase.teacher.encode import encode
from rheobase.teacher.features import filtered_counts
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.state_evidence import CEILING, CEILING_MS

Floats = npt.NDArray[np.float64]
STIMULUS, SHARED = slice(0, 4), slice(0, len(NAMES) - 1)
"""Latents that the stimulus drives, and all but the state itself."""
CLOSED = {
    "PCA": {"kind": "pca"},
    "factor analysis": {"kind": "factor_analysis"},
    "reduced rank": {"kind": "reduced_rank"},
    "CVA": {"kind": "cva"},
    "CVA of each state, replay": {"kind": "cva", "views": "replay"},
}


def planted(code: PlantedCode, seed: int, asked: argparse.Namespace) -> Shard:
    """Return a shard of all units of a session with a code."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planted.nwb"
        simulate(path, seed, asked.minutes, asked.units, 1.0, code)
        return make_shard(load_session(str(path)), DataSettings(sessions=(str(path),)))


def scores(code: npt.NDArray[np.floating], shard: Shard) -> list[float]:
    """Return mean R² of all latents, of shared ones within states, and of both kinds across."""
    known = true_latents_of(shard)
    assert known is not None
    line, true = timeline_of(shard), known[1].astype(np.float64)
    within, across = [], []
    for pair in pairs_of_states(line):
        r2 = ridge_r2(code, true, line, train=pair.train, test=pair.test)
        (within if pair.fitted == pair.tested else across).append(r2)
    inside, beyond = np.mean(within, axis=0), np.mean(across, axis=0)
    return [
        float(ridge_r2(code, true, line).mean()),
        float(inside[SHARED].mean()),
        float(beyond[SHARED].mean()),
        float(inside[STIMULUS].mean()),
        float(beyond[STIMULUS].mean()),
    ]


def asking_of_sessions(told: str | None, codes: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser of which planted sessions are looked at."""
    asking = argparse.ArgumentParser(description=told)
    asking.add_argument("--minutes", type=float, default=20.0)
    asking.add_argument("--units", type=int, default=200)
    asking.add_argument("--seeds", type=int, nargs="+", default=[30, 31, 32, 33, 34])
    asking.add_argument("--latent-dim", type=int, default=16)
    asking.add_argument("--codes", nargs="+", default=codes)
    return asking


def main() -> None:
    asking = asking_of_sessions(__doc__, ["same", "gain", "rotated", "flipped", "remapped"])
    asking.add_argument("--methods", nargs="*", default=[*CLOSED, CEILING])
    asking.add_argument("--trained", action="store_true", help="LeJEPA with the settings beside it")
    asking.add_argument("settings", nargs="*", help="name=value of the [teacher] table")
    asked = asking.parse_args()
    table = {word.split("=")[0]: json.loads(word.split("=")[1]) for word in asked.settings}
    torch.set_num_threads(1)
    methods = {name: CLOSED[name] for name in asked.methods if name in CLOSED}
    if asked.trained:
        methods["LeJEPA " + " ".join(asked.settings)] = table
    for kind in asked.codes:
        found: dict[str, list[list[float]]] = {}
        for seed in asked.seeds:
            shard = planted(PlantedCode(kind=kind), seed, asked)
            for name, changes in methods.items():
                settings = TeacherSettings.model_validate(
                    {"latent_dim": asked.latent_dim, **changes}
                )
                began = time.process_time()
                teacher = fit_teacher([shard], settings, 1000.0)
                spent = time.process_time() - began
                row = [*scores(encode(teacher, shard), shard), spent]
                found.setdefault(name, []).append(row)
            if CEILING in asked.methods:
                row = [*scores(filtered_counts(shard, CEILING_MS), shard), 0.0]
                found.setdefault(CEILING, []).append(row)
        print(f"\n`{kind}`\n")
        print(
            "| code | all latents | shared, within | shared, across | stimulus, within "
            "| stimulus, across | of each seed | CPU s |"
        )
        print("|" + "---|" * 8)
        for name, rows in found.items():
            means = np.mean(rows, axis=0)
            cells = [f"{value:.3f}" for value in means[:5]]
            each = ", ".join(f"{row[4]:.2f}" for row in rows)
            print(f"| {name} | {' | '.join(cells)} | {each} | {means[5]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
