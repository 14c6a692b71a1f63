"""The teacher's latents of every session, trained for and stored once."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rheobase.core.artifacts import MANIFEST, home, read_json, write_json
from rheobase.core.digest import code_digest, digest
from rheobase.core.errors import DataError
from rheobase.core.folders import is_published, whole_folder
from rheobase.core.store import remove
from rheobase.core.versions import deciding_versions
from rheobase.distributed.lock import sole_use
from rheobase.distributed.train import CHECKPOINT, REPORTS, train_teacher
from rheobase.shards.latents import write_latents
from rheobase.shards.states import fitted_in
from rheobase.shards.store import read_shard
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.listener import Listener
from rheobase.study.run_folder import TEACHER_REPORT
from rheobase.teacher.encode import encode, foretold
from rheobase.teacher.evaluate import evaluate
from rheobase.teacher.flash import write_flash
from rheobase.teacher.predictability import ordered

TEACHER = "teacher.pt"
FLASH = "flash.npz"
CURVES = "tensorboard"


def training_folder(spec: StudySpec, shard_paths: Sequence[Path]) -> Path:
    """Return where `pretrain` keeps what a teacher needs to go on: ``latents/.train/<digest>``.

    A listener may write a folder ``tensorboard`` there, which is published with the latents.
    """
    return home() / "latents" / ".train" / digest(_made_of(spec, shard_paths))


def pretrain(spec: StudySpec, shard_paths: Sequence[Path], listener: Listener) -> Path:
    """Return the folder of the teacher's latents, training the teacher if it is not there.

    Parameters
    ----------
    spec
        The study: its [teacher] table and the window.
    shard_paths
        Binned sessions.
    listener
        Hears of the teacher's progress, in this process.

    Returns
    -------
    ``$RHEOBASE_HOME/latents/<digest>`` with ``teacher.pt``, ``<session>.npy``,
    ``<session>.future.npy``, ``report.json``, ``flash.npz`` and ``manifest.json``. The
    digest names shards, settings and code, so that no other change of a study trains a teacher
    again.

    Raises
    ------
    DataError
        The teacher cannot be trained on these sessions, or its loss is no longer finite; or
        `latent_dim` is auto and nothing predicts.
    ArtifactError
        The disk is full.
    ClusterError
        Its workers died again and again.

    Notes
    -----
    The number of workers is a setting of the study, not of the machine. Training that was
    interrupted goes on from its last checkpoint.
    """
    made_of = _made_of(spec, shard_paths)
    states = spec.data.fit_states_for("teacher")
    training = training_folder(spec, shard_paths)
    folder = home() / "latents" / training.name
    with sole_use(training.with_suffix(".lock"), wait=True):
        if is_published(folder):
            return folder
        try:
            teacher = train_teacher(
                shard_paths, spec.teacher, spec.data.window_ms, training, listener, states
            )
        finally:
            listener.teacher_ended()
        torch.set_num_threads(1)
        shards = [read_shard(path) for path in shard_paths]
        teacher, told = ordered(teacher, [fitted_in(shard, states) for shard in shards])
        kept = _kept(spec, told)
        manifest = {
            **made_of,
            "digest": folder.name,
            "parents": _parents(shard_paths),
            "sessions": sorted(shard.session_id for shard in shards),
            "dims": told["dims"],
            "versions": dict(deciding_versions()),
        }
        with whole_folder(folder, manifest) as partial:
            torch.save(teacher.state(), partial / TEACHER)
            latents = {shard.session_id: encode(teacher, shard) for shard in shards}
            report = {**evaluate(teacher, shards, latents, kept), **told}
            if states:
                report["notes"] = [*report["notes"], _learnt_in(states)]
            future = {
                session: foretold(teacher, whole)[:, :kept] for session, whole in latents.items()
            }
            latents = {session: whole[:, :kept] for session, whole in latents.items()}
            write_latents(partial, latents, future)
            write_json(partial / TEACHER_REPORT, report)
            write_flash(partial / FLASH, latents, shards)
            if (training / CURVES).exists():
                shutil.move(training / CURVES, partial / CURVES)
        for name in (REPORTS, CHECKPOINT):
            remove(training / name)
        shutil.rmtree(training, ignore_errors=True)
    return folder


def _kept(spec: StudySpec, told: Mapping[str, Any]) -> int | None:
    """Return how many of the teacher's latents are kept, the first; None: all of them."""
    if spec.teacher.latent_dim != "auto":
        return None
    if not told["dims"]:
        why = told.get("predictability_note") or "none exceeds its null"
        raise DataError(
            f"{spec.name}: teacher.latent_dim = auto keeps the dimensions that predict the future "
            f"above chance, but there is none: {why}; use a number, a longer recording, more units "
            "or more teacher.steps"
        )
    return int(told["dims"])


def _learnt_in(states: Sequence[str]) -> str:
    return (
        f"the teacher was fitted in state {' and '.join(states)} alone (data.fit_states); readouts "
        "and what stands beside it were fitted in all"
    )


def _made_of(spec: StudySpec, shard_paths: Sequence[Path]) -> dict[str, Any]:
    # Absent where all states are fitted, so that such a teacher keeps its digest.
    states = spec.data.fit_states_for("teacher")
    return {
        **({"fit_states": sorted(states)} if states else {}),
        "shards": sorted(_parents(shard_paths)),
        "settings": spec.teacher.model_dump(mode="json"),
        "window_ms": spec.data.window_ms,
        "code": code_digest("teacher", "measures", "shards", "core"),
    }


def _parents(shard_paths: Sequence[Path]) -> list[str]:
    return [read_json(path.parent / MANIFEST)["digest"] for path in shard_paths]
