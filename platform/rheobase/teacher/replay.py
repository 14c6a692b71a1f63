"""The bins of two states in which the same frames were shown."""

# Shape legend: T bins, P presentations, n pairs.

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import Timeline

Ints = npt.NDArray[np.int64]
LEAST_ALIKE = 0.9
"""Share of presentations, in order, that must show the same for a block to be a replay."""
LEAST_PRESENTATIONS = 10


def replayed_bins(
    shard: Shard, line: Timeline, one: str, other: str, usable: npt.NDArray[np.bool_]
) -> tuple[Ints, Ints]:
    """Return the bins of two states at the same moment of the same presentation, (n,) each.

    Parameters
    ----------
    shard
        The session.
    line
        Its labels (T,).
    one, other
        Names of the states.
    usable
        (T,) bins that may be taken.

    Raises
    ------
    DataError
        One state does not replay the other: presentations, paired in order, do not show the same.
    """
    first, second = (_presentations(line, state) for state in (one, other))
    num = min(len(first), len(second))
    shown = np.where(shard.omitted, "", shard.image)
    alike = shown[first[:num]] == shown[second[:num]]
    if num < LEAST_PRESENTATIONS or not (shard.image != "").any() or alike.mean() < LEAST_ALIKE:
        found = f"{alike.mean():.0%} of {num} pairs do" if num else "there are none"
        raise DataError(
            f"{shard.session_id}: teacher.views = 'replay' needs the presentations of state "
            f"{one} shown again in {other} in the same order, but {found}; leave views out"
        )
    moments = []
    for bins, own in ((line.state == one, first), (line.state == other, second)):
        place = np.full(int(line.presentation.max()) + 2, -1)
        place[own[:num][alike]] = np.flatnonzero(alike)
        which = np.where(bins & usable & (line.phase >= 0), place[line.presentation], -1)
        rows = np.flatnonzero(which >= 0)
        moments.append((rows, which[rows] * (int(line.phase.max()) + 1) + line.phase[rows]))
    (rows, key), (beside, key_beside) = moments
    _, at, at_beside = np.intersect1d(key, key_beside, return_indices=True)
    return rows[at], beside[at_beside]


def _presentations(line: Timeline, state: str) -> Ints:
    """Return the presentations (P,) of a state in order of time."""
    shown = line.presentation[(line.state == state) & (line.presentation >= 0)]
    return np.unique(shown).astype(np.int64)
