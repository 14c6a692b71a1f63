"""Latents of a whole session from a trained teacher."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from rheobase.core.errors import DataError
from rheobase.shards.shard import Shard
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.features import filtered_counts

CHUNK_BINS = 32_768  # bounds the memory of filtered counts


def foretold(teacher: Teacher, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return what a teacher foretells at its longest horizon (T, D), in the order of latents.

    Parameters
    ----------
    teacher
        The teacher.
    latents
        (T, D) of a session, all that `encode` returns.
    """
    parts = []
    with torch.no_grad():
        for begin in range(0, len(latents), CHUNK_BINS):
            ahead = teacher.predict(torch.from_numpy(latents[begin : begin + CHUNK_BINS]))
            parts.append(teacher.order(ahead[:, -1]))
    return torch.cat(parts).numpy()


def encode(teacher: Teacher, shard: Shard) -> npt.NDArray[np.float32]:
    """Return the latents (T, D) of every bin of a shard, in the order of its timeline.

    Raises
    ------
    DataError
        The teacher has no read-in for this session, or was trained on bins of another length.
    """
    if shard.session_id not in teacher.num_units:
        raise DataError(
            f"the teacher must have been trained on session {shard.session_id}, but knows "
            f"{', '.join(sorted(teacher.num_units))}"
        )
    if shard.bin_ms != teacher.bin_ms:
        raise DataError(
            f"{shard.session_id}: bins must be the {teacher.bin_ms:g} ms the teacher was trained "
            f"on, but got {shard.bin_ms:g} ms; bin the session again"
        )
    parts = []
    begin = 0
    odds = teacher.odds(shard)
    with torch.no_grad():
        for segment in shard.segments:
            end = begin + len(segment)
            read = [
                teacher.read(
                    shard.session_id,
                    torch.from_numpy(
                        filtered_counts(
                            shard, teacher.settings.filters_ms, first, min(first + CHUNK_BINS, end)
                        )
                    ),
                    odds=None if odds is None else odds[first : min(first + CHUNK_BINS, end)],
                )
                for first in range(begin, end, CHUNK_BINS)
            ]
            parts.append(teacher.order(teacher.trunk.segment(torch.cat(read))))
            begin = end
    return torch.cat(parts).numpy()
