"""A trained teacher's read-in of a session it has not seen, fitted for and stored once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from rheobase.core.artifacts import MANIFEST, home, read_json, write_json
from rheobase.core.digest import code_digest, digest
from rheobase.core.folders import is_published, whole_folder
from rheobase.core.integrity import check_published
from rheobase.distributed.lock import sole_use
from rheobase.distributed.pretrain import TEACHER
from rheobase.shards.latents import write_latents
from rheobase.shards.store import read_shard
from rheobase.shards.timeline import timeline_of
from rheobase.study.file.spec import StudySpec
from rheobase.study.run_folder import TEACHER_REPORT
from rheobase.teacher.adapt import adapt, train_minutes
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.stored import read_state

DEFAULT_MINUTES = (1.0, 2.0, 5.0, 10.0, 20.0)


def adapt_session(
    spec: StudySpec,
    latents: Path,
    shard_path: Path,
    minutes: Sequence[float] | None,
    on_code: Callable[[str], None] = lambda name: None,
) -> Path:
    """Return the folder of a session's adapted latents, fitting its read-in if it is not there.

    Parameters
    ----------
    spec
        The study whose teacher it is.
    latents
        Folder of the teacher, as `pretrain` returns it.
    shard_path
        The unseen session.
    minutes
        Amounts of train to try; those of `DEFAULT_MINUTES` that the session has by default.
    on_code
        Called with the name of each code as it is made.

    Returns
    -------
    ``$RHEOBASE_HOME/adapted/<digest>`` with ``teacher.pt``, whose trunk and predictor are the
    study's, ``<session>.npy``, ``report.json`` and ``manifest.json``.

    Raises
    ------
    DataError
        As `rheobase.teacher.adapt.adapt`.
    """
    shard = read_shard(shard_path)
    if minutes is None:
        there = train_minutes(timeline_of(shard))
        minutes = [one for one in DEFAULT_MINUTES if one < there]
    manifests = [read_json(folder / MANIFEST) for folder in (latents, shard_path.parent)]
    parents = [one["digest"] for one in manifests]
    made_of = {
        "parents": parents,
        "minutes": sorted({*minutes}),
        "window_ms": spec.data.window_ms,
        "code": code_digest("teacher", "measures", "shards", "core"),
    }
    name = digest(made_of)
    folder = home() / "adapted" / name
    with sole_use(home() / "adapted" / ".locks" / f"{name}.lock", wait=True):
        if is_published(folder):
            return folder
        torch.set_num_threads(1)
        check_published(latents, TEACHER)
        state = read_state(latents / TEACHER, f"delete {latents}, and the same command makes it")
        teacher = Teacher.from_state(state)
        adapted, own, report = adapt(teacher, shard, minutes, spec.data.window_ms, on_code)
        manifest = {
            **made_of,
            "digest": name,
            "sessions": [shard.session_id],
            "dims": manifests[0].get("dims"),
        }
        with whole_folder(folder, manifest) as partial:
            torch.save(adapted.state(), partial / TEACHER)
            kept = manifests[0].get("dims") if spec.teacher.latent_dim == "auto" else None
            write_latents(partial, {shard.session_id: own[:, :kept]})
            write_json(partial / TEACHER_REPORT, report)
    return folder
