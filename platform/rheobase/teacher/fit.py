"""Training of the teacher from its first step to its last, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from rheobase.core.errors import DataError
from rheobase.shards.shard import Shard
from rheobase.teacher.closed_forms import closed_form_teacher
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.source import sources_of
from rheobase.teacher.training import advance, begun


def fit_teacher(
    shards: Sequence[Shard],
    settings: TeacherSettings,
    window_ms: float,
    *,
    shared: Teacher | None = None,
) -> Teacher:
    """Train a teacher on the train bins of all shards, or fit one in closed form.

    Parameters
    ----------
    shards
        Binned sessions; each gets its own read-in.
    settings
        The [teacher] table.
    window_ms
        Longest stretch that presents and their future may span.
    shared
        A teacher whose trunk and predictor are taken over and kept as they are, so that the
        read-ins alone are trained; of the same `settings` but for steps and seed.

    Returns
    -------
    The trained teacher, of the least held-out loss where there is one.

    Raises
    ------
    TrainingFailed
        The loss is no longer finite.
    DataError
        No window fits, there are more latent dimensions than a session has units, or the
        sessions have no brain state in common.
    """
    if settings.kind != "lejepa":
        if shared is not None:
            raise DataError(
                f"teacher.kind must be lejepa to share a trunk, but got {settings.kind}, which has "
                "none; fit it to the session itself"
            )
        return closed_form_teacher(shards, settings)
    sources = sources_of(shards, settings, window_ms)
    training = begun(shards, settings, shared)
    while not training.is_over:
        training, _ = advance(training, sources)
    return training.finished()
