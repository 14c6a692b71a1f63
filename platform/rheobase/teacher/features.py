"""What the teacher reads of a session: filtered counts of the past, summed counts of the future."""

# Shape legend: T bins, N units, F filters, H horizons.

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from rheobase.shards.shard import Segment, Shard

SMOOTH_MS = 80.0
"""Causal exponential filter of the smoothed counts: of 20 to 320 ms, the one from which most of
the true latents of planted sessions can be read out."""
MEMORY = 16
"""Time constants after which a filter has forgotten what float32 can hold, exp(-16) = 1e-7."""


def filtered_counts(
    shard: Shard,
    filters_ms: tuple[float, ...],
    begin: int = 0,
    end: int | None = None,
    kind: type[np.floating] = np.float32,
) -> npt.NDArray[np.floating]:
    """Return counts through causal exponential filters, (T, F * N), segment by segment.

    Each filter is ``y[t] = a y[t-1] + (1 - a) x[t]`` with ``a = exp(-bin / tau)``, started
    at rest: bin t sees bins <= t of its own segment only. They are of the bins `begin` to `end`
    of the timeline, all by default, each filter begun `MEMORY` time constants before them; `kind`
    is the type they are kept in.
    """
    units = shard.num_units
    end = shard.num_bins if end is None else end
    filtered = np.empty((end - begin, len(filters_ms) * units), kind)
    before = math.ceil(MEMORY * max(filters_ms) / shard.bin_ms)
    for segment, first, last, row in _parts(shard, begin, end):
        known = max(0, first - before)
        counts = segment.counts.dense(known, last).astype(np.float32)
        rows = filtered[row : row + last - first]
        for index, tau_ms in enumerate(filters_ms):
            decay = math.exp(-shard.bin_ms / tau_ms)
            b, a = np.array([[1 - decay, 0.0], [1.0, -decay]], np.float32)
            made = lfilter(b, a, counts, axis=0)
            rows[:, index * units : (index + 1) * units] = made[first - known :]
    return filtered


def silent_variance(
    filters_ms: tuple[float, ...], bin_ms: float, num_bins: int, num_each: int
) -> npt.NDArray[np.float64]:
    """Return the variances (F * num_each,) up to which filtered counts are those of silence.

    Half of what one spike among `num_bins` leaves in each filter. What varies by less carries only
    the tail of a spike before, against which the next would be thousands of deviations.
    """
    decay = np.exp(-bin_ms / np.array(filters_ms))
    return np.repeat((1 - decay) / (1 + decay) / max(1, num_bins) / 2, num_each)


def future_counts(
    shard: Shard, horizons_ms: tuple[float, ...], begin: int = 0, end: int | None = None
) -> npt.NDArray[np.uint16]:
    """Return each unit's spikes in the bins (t, t + horizon], (T, H, N), nearest horizon first.

    No spike of bin t or before is in them. Bins past a segment's end count nothing. `begin` and
    `end` are those of `filtered_counts`.
    """
    end = shard.num_bins if end is None else end
    ahead = horizon_bins(horizons_ms, shard.bin_ms)
    future = np.empty((end - begin, len(ahead), shard.num_units), np.uint16)
    for segment, first, last, row in _parts(shard, begin, end):
        stop = min(len(segment), last + ahead[-1])
        total = np.cumsum(segment.counts.dense(first, stop), axis=0, dtype=np.int32)
        bins = np.arange(last - first)
        for index, num_bins in enumerate(ahead):
            until = np.minimum(bins + num_bins, len(total) - 1)
            future[row : row + last - first, index] = total[until] - total[: last - first]
    return future


def horizon_bins(horizons_ms: tuple[float, ...], bin_ms: float) -> list[int]:
    """Return the horizons in bins, at least one each, nearest first."""
    return [max(1, round(ms / bin_ms)) for ms in sorted(horizons_ms)]


def _parts(shard: Shard, begin: int, end: int) -> Iterator[tuple[Segment, int, int, int]]:
    """Yield each segment that holds some of the bins: its first and last of them, and their row."""
    offset = 0
    for segment in shard.segments:
        first, last = max(begin - offset, 0), min(end - offset, len(segment))
        if first < last:
            yield segment, first, last, offset + first - begin
        offset += len(segment)
