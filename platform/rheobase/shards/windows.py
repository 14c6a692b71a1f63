"""Where windows may lie: never across a gap, a split or a state change."""

# Shape legend: T bins, W windows.

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.timeline import Timeline


def window_starts(timeline: Timeline, split: int, num_bins: int) -> npt.NDArray[np.int64]:
    """Return every start of `num_bins` consecutive bins of one segment with one split label.

    Parameters
    ----------
    timeline
        Labels (T,).
    split
        ``TRAIN`` or ``TEST``.
    num_bins
        Length of a window in bins.

    Returns
    -------
    (W,) indices into the timeline.

    Raises
    ------
    DataError
        No such window exists.
    """
    usable = timeline.split == split
    fresh = np.ones(len(timeline), bool)
    fresh[1:] = (np.diff(timeline.segment) != 0) | ~usable[:-1]
    index = np.arange(len(timeline))
    run_start = np.maximum.accumulate(np.where(fresh, index, 0))
    ends = np.flatnonzero(usable & (index - run_start + 1 >= num_bins))
    if len(ends) == 0:
        raise DataError(
            f"a window of {num_bins * timeline.bin_ms:g} ms must fit between the borders of the "
            "split, but none does; use a smaller data.window_ms or a larger data.split.block_s"
        )
    return ends - num_bins + 1
