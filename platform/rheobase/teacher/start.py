"""A teacher before its first step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rheobase.core.errors import DataError
from rheobase.core.seeds import child_seed
from rheobase.shards.shard import Shard
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.source import train_moments
from rheobase.teacher.state_gate import states_of


def start_teacher(
    shards: Sequence[Shard], settings: TeacherSettings, name: str = "init"
) -> Teacher:
    """Return a teacher before its first step, its read-ins standardised on the shards' train bins.

    Parameters
    ----------
    shards
        Binned sessions; each gets its own read-in.
    settings
        The [teacher] table.
    name
        Of the draw of its weights.

    Raises
    ------
    DataError
        The sessions do not go together.
    """
    for shard in shards:
        if settings.num_dims > shard.num_units:
            raise DataError(
                f"{shard.session_id}: teacher.latent_dim must be at most its {shard.num_units} "
                f"units, but got {settings.num_dims}; use fewer dimensions or more units"
            )
    states = {shard.session_id: {one.state for one in shard.segments} for shard in shards}
    if not set.intersection(*states.values()):
        states_of_each = "; ".join(
            f"{session}: {', '.join(sorted(state or 'none named' for state in known))}"
            for session, known in states.items()
        )
        raise DataError(
            "sessions of one teacher must have a brain state in common, or it takes the session "
            f"for the state; but got {states_of_each}; train on those that share one"
        )
    bin_ms = {shard.bin_ms for shard in shards}
    if len(bin_ms) > 1:
        raise DataError(
            "sessions of one teacher must have bins of one length, but got "
            f"{', '.join(f'{ms:g}' for ms in sorted(bin_ms))} ms; bin them again"
        )
    seed = torch.Generator().manual_seed(child_seed(settings.seed, "teacher", name))
    num_units = {shard.session_id: shard.num_units for shard in shards}
    own = {shard.session_id: states_of(shard) for shard in shards if settings.views == "replay"}
    teacher = Teacher(settings, num_units, bin_ms.pop(), seed, own)
    for shard in shards:
        teacher.prepare(shard.session_id, *train_moments(shard, settings))
    return teacher
