"""What the teacher's latents hold of the true latents of planted sessions, beside plain baselines.

Run: ``PYTHONPATH=platform python benchmarks/teacher.py steps=2000 --latent-dims 16``; words of the
form ``name=value`` set a field of the [teacher] table, value in JSON.
"""

# Shape legend: T bins, K true latents, D latent dimensions.

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from rheobase.measures.probes import ridge_r2
from rheobase.measures.shares import clock_share, effective_rank
from rheobase.sessions.load import load_session
from rheobase.sessions.planted.simulate import simulate
from rheobase.shards.binning import make_shard
from rheobase.shards.covariates import true_latents_of
from rheobase.shards.settings import DataSettings
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import timeline_of
from rheobase.teacher.baselines import CVA, FACTORS, PCA, TEACHER, UNTRAINED, codes_of
from rheobase.teacher.encode import encode
from rheobase.teacher.features import filtered_counts
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import TeacherSettings

Floats = npt.NDArray[np.float64]
CEILING_MS = (20.0, 40.0, 80.0, 160.0, 320.0)


def planted(
    asked: argparse.Namespace, seed: int, nuisance: float
) -> tuple[Shard, Floats, list[str]]:
    """Return a shard of all units, its true latents (T, K) and their names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planted.nwb"
        simulate(path, seed, asked.minutes, asked.units, nuisance)
        shard = make_shard(load_session(str(path)), DataSettings(sessions=(str(path),)))
    known = true_latents_of(shard)
    assert known is not None
    names, true = known
    return shard, true.astype(np.float64), list(names)


def timed_codes(
    shard: Shard, settings: TeacherSettings
) -> tuple[dict[str, npt.NDArray[np.float32]], float]:
    """Return what each code makes of a session, (T, D) each, and the teacher's CPU seconds."""
    began = time.process_time()
    teacher = fit_teacher([shard], settings, 1000.0)
    cpu_s = time.process_time() - began
    codes = codes_of(teacher, shard, encode(teacher, shard))
    shown = {name: codes[name] for name in (TEACHER, CVA, PCA, FACTORS, UNTRAINED)}
    return {**shown, "ceiling": filtered_counts(shard, CEILING_MS)}, cpu_s


def main() -> None:
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--minutes", type=float, default=20.0)
    asking.add_argument("--units", type=int, default=200)
    asking.add_argument("--seeds", type=int, nargs="+", default=[20, 21, 22, 23, 24])
    asking.add_argument("--nuisance", type=float, nargs="+", default=[0.0, 1.0, 3.0])
    asking.add_argument("--latent-dims", type=int, nargs="+", default=[8, 16])
    asking.add_argument("settings", nargs="*", help="name=value of the [teacher] table")
    asked = asking.parse_args()
    table = {word.split("=")[0]: json.loads(word.split("=")[1]) for word in asked.settings}
    torch.set_num_threads(1)
    for nuisance in asked.nuisance:
        made = [planted(asked, seed, nuisance) for seed in asked.seeds]
        names = made[0][2]
        shares = [clock_share(true, timeline_of(shard)) for shard, true, _ in made]
        for dims in asked.latent_dims:
            settings = TeacherSettings.model_validate({"latent_dim": dims, **table})
            rows: dict[str, list[list[float]]] = {}
            spent = []
            for shard, true, _ in made:
                line = timeline_of(shard)
                codes, cpu_s = timed_codes(shard, settings)
                spent.append(cpu_s)
                for name, code in codes.items():
                    r2 = ridge_r2(code, true, line)
                    tested = code[line.scored]
                    rest = [effective_rank(tested), clock_share(code, line)]
                    rows.setdefault(name, []).append([r2.mean(), *r2, *rest])
            print(
                f"\nnuisance {nuisance:g}, {dims} dimensions: teacher {np.mean(spent):.0f} s of "
                f"CPU, clock share of the true latents {np.mean(shares):.2f}\n"
            )
            each = [f"seed {seed}" for seed in asked.seeds]
            print("| code | mean | " + " | ".join([*each, *names, "rank", "clock"]) + " |")
            print("|" + "---|" * (len(names) + len(each) + 4))
            for name, values in rows.items():
                found = np.array(values)
                numbers = [found[:, 0].mean(), *found[:, 0], *found[:, 1:-2].mean(axis=0)]
                cells = [f"{value:.2f}" for value in numbers]
                cells += [f"{found[:, -2].mean():.1f}", f"{found[:, -1].mean():.2f}"]
                print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
