"""Windows: where they may lie, and their counts; none crosses a gap, a split or a state change."""

# Shape legend: T bins, N units, B windows.

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.counts import Number, dense_rows
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import Timeline


def window_starts(
    timeline: Timeline, split: int, num_bins: int, stride_bins: int = 1
) -> npt.NDArray[np.int64]:
    """Return starts of `num_bins` consecutive bins of one segment with one split label.

    Parameters
    ----------
    timeline
        Labels (T,).
    split
        Label of the bins: ``TRAIN``, or `timeline.scored_split`.
    num_bins
        Length of a window in bins.
    stride_bins
        From one window's start to the next one's within a stretch: 1 gives every window
        there is, `num_bins` windows side by side.

    Returns
    -------
    (B,) indices into the timeline, rising.

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
    begins = index - run_start + 1 - num_bins  # of a window that ends here, in its stretch
    ends = np.flatnonzero(usable & (begins >= 0) & (begins % stride_bins == 0))
    if len(ends) == 0:
        raise DataError(
            f"a window of {num_bins * timeline.bin_ms:g} ms must fit between the borders of the "
            "split, but none does; use a smaller data.window_ms or a larger data.split.block_s"
        )
    return ends - num_bins + 1


def presentation_starts(timeline: Timeline, num_bins: int) -> npt.NDArray[np.int64]:
    """Return the onset bins of presentations whose first `num_bins` bins can be used, (B,).

    Those are the ones that stay in their segment, end before the next onset, and lie in train or
    in what is scored as a whole. There may be none.
    """
    starts = np.flatnonzero((timeline.phase == 0) & (timeline.train | timeline.scored))
    starts = starts[starts + num_bins <= len(timeline)]
    bins = starts[:, None] + np.arange(num_bins)
    whole = np.ones(len(starts), bool)
    for label in (timeline.segment, timeline.split, timeline.presentation):
        whole &= (label[bins] == label[starts][:, None]).all(axis=1)
    return starts[whole]


def window_means(
    values: npt.NDArray[np.floating], starts: npt.NDArray[np.int64], num_bins: int
) -> npt.NDArray[np.float64]:
    """Return the means (B, …) of values (T, …) over windows of `num_bins` bins.

    Examples
    --------
    >>> window_means(np.array([1.0, 3.0, 5.0, 9.0]), np.array([0, 2]), 2)
    array([2., 7.])
    """
    total = np.zeros((len(starts), *values.shape[1:]))
    for bin_ in range(num_bins):
        total += values[starts + bin_]
    return total / num_bins


def window_counts(
    shard: Shard, starts: npt.NDArray[np.int64], num_bins: int, kind: type[Number]
) -> npt.NDArray[Number]:
    """Return the counts of windows, (B, num_bins, N).

    Parameters
    ----------
    shard
        Binned session, whose bins are numbered in the order of its timeline.
    starts
        (B,) first bin of each window, as `window_starts` gives them, in any order.
    num_bins
        Length of a window in bins.
    kind
        Of the numbers: ``np.uint8``, or ``np.float32`` for a network, which costs no more.

    Raises
    ------
    IndexError
        A window leaves its segment.
    """
    ends = np.cumsum([len(segment) for segment in shard.segments])
    which = np.searchsorted(ends, starts, side="right")
    first = np.concatenate([[0], ends])[which]
    pieces = [
        piece
        for segment, begin in zip(which.tolist(), (starts - first).tolist(), strict=True)
        for piece in shard.segments[segment].counts.pieces(begin, begin + num_bins)
    ]
    dense = dense_rows(pieces, shard.num_units, kind)
    return dense.reshape(len(starts), num_bins, shard.num_units)
