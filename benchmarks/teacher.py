"""What the teacher's latents hold of the true latents of planted sessions, beside plain baselines.

Run: ``PYTHONPATH=platform python benchmarks/teacher.py --latent-dim 16 steps=2000``; words of the
form ``name=value`` set a field of the [teacher] table, value in JSON.
"""

# Shape legend: T bins, K true latents, D latent dimensions.

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rheobase.core.seeds import child_seed
from rheobase.measures.probes import ridge_r2
from rheobase.measures.shares import clock_share, effective_rank
from rheobase.sessions.load import load_session
from rheobase.sessions.planted import simulate
from rheobase.shards.binning import make_shard
from rheobase.shards.settings import DataSettings
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import Timeline, timeline_of
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.features import filtered_counts
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import TeacherSettings

Floats = npt.NDArray[np.float64]
CEILING_MS = (20.0, 40.0, 80.0, 160.0, 320.0)


def planted(asked: argparse.Namespace, nuisance: float) -> tuple[Shard, Floats, list[str]]:
    """Return a shard of all units, its true latents (T, K) and their names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planted.nwb"
        simulate(path, asked.seed, asked.minutes, asked.units, nuisance)
        with np.load(path.with_suffix(".latents.npz")) as true:
            latents, names = true["latents"].astype(np.float64), true["names"].tolist()
        shard = make_shard(load_session(str(path)), DataSettings(sessions=(str(path),)))
    bins = np.round(timeline_of(shard).time_s * 1000 / shard.bin_ms).astype(int)
    return shard, latents[bins], names


def components(x: Floats, line: Timeline, num: int) -> Floats:
    """Return leading principal components (T, num), fitted on train."""
    centred = x - x[line.train].mean(axis=0)
    _, vectors = np.linalg.eigh(centred[line.train].T @ centred[line.train])
    return np.asarray(centred @ vectors[:, ::-1][:, :num])


def main() -> None:
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--minutes", type=float, default=10.0)
    asking.add_argument("--units", type=int, default=150)
    asking.add_argument("--seed", type=int, default=0)
    asking.add_argument("--nuisance", type=float, nargs="+", default=[0.0, 1.0, 3.0])
    asking.add_argument("--latent-dim", type=int, default=16)
    asking.add_argument("--teacher-only", action="store_true", help="leave the baselines out")
    asking.add_argument("settings", nargs="*", help="name=value of the [teacher] table")
    asked = asking.parse_args()
    table: dict[str, Any] = {"latent_dim": asked.latent_dim}
    table |= {word.split("=")[0]: json.loads(word.split("=")[1]) for word in asked.settings}
    settings = TeacherSettings.model_validate(table)
    torch.set_num_threads(1)
    for nuisance in asked.nuisance:
        shard, true, names = planted(asked, nuisance)
        line = timeline_of(shard)
        began = time.process_time()
        teacher = fit_teacher([shard], settings, 1000.0)
        cpu_s = time.process_time() - began
        codes = {"teacher": encode(teacher, shard).astype(np.float64)}
        if not asked.teacher_only:
            counts = filtered_counts(shard, settings.filters_ms)
            seed = torch.Generator().manual_seed(child_seed(settings.seed, "teacher", "untrained"))
            untrained = Teacher(settings, teacher.num_units, seed)
            untrained.standardise(shard.session_id, counts, shard)
            smooth = filtered_counts(shard, (80.0,)).astype(np.float64)
            smooth /= np.maximum(smooth[line.train].std(axis=0), 1e-9)
            codes |= {
                "untrained": encode(untrained, shard).astype(np.float64),
                f"PCA({asked.latent_dim})": components(smooth, line, asked.latent_dim),
                "ceiling": filtered_counts(shard, CEILING_MS).astype(np.float64),
            }
        print(
            f"\nnuisance {nuisance:g}: {shard.num_units} units, {shard.num_bins} bins, teacher "
            f"{cpu_s:.0f} s of CPU, clock share of the true latents {clock_share(true, line):.2f}"
        )
        print("| code | mean | " + " | ".join(names) + " | rank | clock | least std |")
        print("|" + "---|" * (len(names) + 5))
        for name, code in codes.items():
            r2 = ridge_r2(code, true, line)
            cells = [f"{value:.2f}" for value in (r2.mean(), *r2)]
            if name != "ceiling":
                tested = code[line.test]
                cells += [f"{effective_rank(tested):.1f}", f"{clock_share(code, line):.2f}"]
                cells += [f"{tested.std(axis=0).min():.2f}"]
            else:
                cells += ["", "", ""]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
