"""What the teacher tells of the stimulus in real recordings by trial, beside CVA and PCA
of its width.

Run: ``PYTHONPATH=platform python benchmarks/teacher_real.py RECORDING.npz … latent_dim=8``; words
of the form ``name=value`` set a field of the [teacher] table, value in JSON.
"""

from __future__ import annotations

import argparse
import json
import warnings

import numpy as np
import torch

from rheobase.sessions.load import load_session
from rheobase.sessions.quality.selection import select_units
from rheobase.shards.binning import make_shard
from rheobase.shards.settings import DataSettings
from rheobase.shards.shard import Shard
from rheobase.teacher.baselines import COUNTS, CVA, PCA, TEACHER, codes_of
from rheobase.teacher.encode import encode
from rheobase.teacher.evidence import evidence
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import TeacherSettings

TARGETS = ("stimulus_side", "stimulus_presence")
CODES = (TEACHER, CVA, PCA, COUNTS)


def shard_of(path: str, asked: argparse.Namespace, seed: int) -> Shard:
    """Return a recording's units of the asked areas, a quarter of its trials held out by a seed."""
    split = {"by": "trial", "test": 0.25, "seed": seed}
    data = DataSettings.model_validate(
        {"sessions": [path], "window_ms": asked.window_ms, "areas": asked.areas, "split": split}
    )
    chosen = select_units(load_session(path), "none", data.areas, "drop")
    return make_shard(chosen.session, data)


def scores(shard: Shard, settings: TeacherSettings, window_ms: float) -> dict[str, list[float]]:
    """Return the accuracy above chance of each code, by target."""
    teacher = fit_teacher([shard], settings, window_ms)
    made = codes_of(teacher, shard, encode(teacher, shard))
    probes = evidence(shard, {code: made[code] for code in CODES}, (40.0,))["probes"]
    return {row["target"]: [row[code] for code in CODES] for row in probes}


def main() -> None:
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--areas", nargs="+", default=["VIS"])
    asking.add_argument("--window-ms", type=float, default=400.0)
    asking.add_argument("--splits", type=int, nargs="+", default=[6, 7, 8, 9, 10])
    asking.add_argument("words", nargs="+", help="recordings, and name=value of [teacher]")
    asked = asking.parse_args()
    paths = [word for word in asked.words if "=" not in word]
    table = {
        word.split("=")[0]: json.loads(word.split("=")[1]) for word in asked.words if "=" in word
    }
    settings = TeacherSettings.model_validate(table)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="sklearn")
    heads = [f"{target}: {code}" for target in TARGETS for code in CODES]
    print("| recording | units | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 2) + "|")
    ahead = dict.fromkeys(TARGETS, 0)
    for path in paths:
        found = []
        for seed in asked.splits:
            shard = shard_of(path, asked, seed)
            found.append(scores(shard, settings, asked.window_ms))
        means = {target: np.mean([one[target] for one in found], axis=0) for target in TARGETS}
        for target, mean in means.items():
            ahead[target] += int(mean[0] >= max(mean[1:3]))
        cells = [f"{value:.2f}" for mean in means.values() for value in mean]
        print(f"| {shard.session_id} | {shard.num_units} | " + " | ".join(cells) + " |", flush=True)
    told = ", ".join(f"{target} {count}" for target, count in ahead.items())
    print(f"\nThe teacher is at least level with CVA and PCA, of {len(paths)} recordings: {told}.")


if __name__ == "__main__":
    main()
