"""The teacher's latents of every session, trained for and stored once."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from rheobase import __version__
from rheobase.core.artifacts import (
    MANIFEST,
    home,
    is_published,
    read_json,
    whole_folder,
    write_json,
)
from rheobase.core.digest import code_digest, digest
from rheobase.distributed.lock import sole_use
from rheobase.distributed.train import train_teacher
from rheobase.shards.latents import write_latents
from rheobase.shards.store import read_shard
from rheobase.study.spec import StudySpec
from rheobase.teacher.encode import encode
from rheobase.teacher.evaluate import evaluate
from rheobase.teacher.flash import write_flash

TEACHER = "teacher.pt"
REPORT, FLASH = "report.json", "flash.npz"


def pretrain(spec: StudySpec, shard_paths: Sequence[Path]) -> Path:
    """Return the folder of the teacher's latents, training the teacher if it is not there.

    Parameters
    ----------
    spec
        The study: its [teacher] table and the window.
    shard_paths
        Binned sessions.

    Returns
    -------
    ``$RHEOBASE_HOME/latents/<digest>`` with ``teacher.pt``, ``<session>.npy``,
    ``report.json``, ``flash.npz`` and ``manifest.json``. The digest names shards, settings and
    code, so that no other change of a study trains a teacher again.

    Raises
    ------
    DataError
        The teacher cannot be trained on these sessions, or its loss is no longer finite.
    ClusterError
        Its workers died again and again.

    Notes
    -----
    The number of workers is a setting of the study, not of the machine. Training that was
    interrupted goes on from its last checkpoint.
    """
    parents = [read_json(path.parent / MANIFEST)["digest"] for path in shard_paths]
    made_of = {
        "shards": sorted(parents),
        "settings": spec.teacher.model_dump(mode="json"),
        "window_ms": spec.data.window_ms,
        "code": code_digest("teacher", "measures", "shards", "core"),
    }
    name = digest(made_of)
    folder = home() / "latents" / name
    training = home() / "latents" / ".train" / name
    with sole_use(training.with_suffix(".lock"), wait=True):
        if is_published(folder):
            return folder
        teacher = train_teacher(shard_paths, spec.teacher, spec.data.window_ms, training)
        torch.set_num_threads(1)
        shards = [read_shard(path) for path in shard_paths]
        manifest = {
            **made_of,
            "digest": name,
            "parents": parents,
            "sessions": sorted(shard.session_id for shard in shards),
            "versions": {"rheobase": __version__, "torch": version("torch"), "ray": version("ray")},
        }
        with whole_folder(folder, manifest) as partial:
            torch.save(teacher.state(), partial / TEACHER)
            latents = {shard.session_id: encode(teacher, shard) for shard in shards}
            write_latents(partial, latents)
            write_json(partial / REPORT, evaluate(teacher, shards, latents))
            write_flash(partial / FLASH, latents, shards)
        shutil.rmtree(training, ignore_errors=True)
    return folder
