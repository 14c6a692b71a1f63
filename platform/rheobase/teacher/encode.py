"""Latents of a whole session from a trained teacher."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from rheobase.core.errors import DataError
from rheobase.shards.shard import Shard
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.features import filtered_counts

CHUNK_BINS = 65_536  # bounds the memory of one matrix product, changes no number


def encode(teacher: Teacher, shard: Shard) -> npt.NDArray[np.float32]:
    """Return the latents (T, D) of every bin of a shard, in the order of its timeline.

    Raises
    ------
    DataError
        The teacher has no read-in for this session.
    """
    if shard.session_id not in teacher.num_units:
        raise DataError(
            f"the teacher must have been trained on session {shard.session_id}, but knows "
            f"{', '.join(sorted(teacher.num_units))}"
        )
    filtered = torch.from_numpy(filtered_counts(shard, teacher.settings.filters_ms))
    with torch.no_grad():
        parts = [teacher.encode(shard.session_id, part) for part in filtered.split(CHUNK_BINS)]
    return torch.cat(parts).numpy()
