"""Whether two shards of one session hold out the same stretches of time."""

# Shape legend: T bins, I held-out blocks.

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.shard import TEST, VALIDATION
from rheobase.shards.timeline import Timeline


def held_out_blocks(timeline: Timeline) -> npt.NDArray[np.float64]:
    """Return the blocks or trials that a session holds out.

    Parameters
    ----------
    timeline
        Labels (T,), test open.

    Returns
    -------
    (I, 4) of each in order of its number: its part, its number, and the seconds at which it opens
    and closes, gaps left out.

    Examples
    --------
    >>> line = Timeline.of(np.arange(100) >= 60, group=np.arange(100) // 20)
    >>> held_out_blocks(line)[:, 1:].tolist()
    [[3.0, 0.6, 0.8], [4.0, 0.8, 1.0]]
    """
    rows = []
    for part in (VALIDATION, TEST):
        here = timeline.split == part
        for group in np.unique(timeline.group[here]):
            time_s = timeline.time_s[here & (timeline.group == group)]
            rows.append((part, group, time_s.min(), time_s.max() + timeline.bin_ms / 1000))
    return np.array(rows, np.float64).reshape(-1, 4)


def refuse_other_blocks(session: str, own: Timeline, other: Timeline, what: str) -> None:
    """Refuse bins that hold out other stretches of time than the study's: nothing would compare.

    Parameters
    ----------
    session
        Named in the error.
    own, other
        Labels of its bins in the study and in an arm, test open.
    what
        What the arm sets.

    Raises
    ------
    DataError
        They do, by more than a bin.
    """
    ours, theirs = held_out_blocks(own), held_out_blocks(other)
    bin_s = max(own.bin_ms, other.bin_ms) / 1000
    same = ours.shape == theirs.shape and (ours[:, :2] == theirs[:, :2]).all()
    if not same or np.abs(ours[:, 2:] - theirs[:, 2:]).max(initial=0.0) > bin_s * (1 + 1e-6):
        raise DataError(
            f"{session}: an arm must hold out the stretches of time that the study holds out, but "
            f"with {what} it holds out others; use a data.bin_ms that divides data.split.block_s "
            "and data.split.gap_ms, or units that were recorded as long"
        )
