"""What the teacher reads of a session: filtered counts of the past, summed counts of the future."""

# Shape legend: T bins, N units, F filters, H horizons.

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from rheobase.shards.shard import Shard


def filtered_counts(
    shard: Shard, filters_ms: tuple[float, ...], kind: type[np.floating] = np.float32
) -> npt.NDArray[np.floating]:
    """Return counts through causal exponential filters, (T, F * N), segment by segment.

    Each filter is ``y[t] = a y[t-1] + (1 - a) x[t]`` with ``a = exp(-bin / tau)``, started
    at rest: bin t sees bins <= t of its own segment only. `kind` is the type they are kept in.
    """
    units = shard.num_units
    filtered = np.empty((shard.num_bins, len(filters_ms) * units), kind)
    begin = 0
    for segment in shard.segments:
        counts = segment.counts.dense().astype(np.float32)
        rows = filtered[begin : begin + len(counts)]
        for index, tau_ms in enumerate(filters_ms):
            decay = math.exp(-shard.bin_ms / tau_ms)
            b, a = np.array([[1 - decay, 0.0], [1.0, -decay]], np.float32)
            rows[:, index * units : (index + 1) * units] = lfilter(b, a, counts, axis=0)
        begin += len(counts)
    return filtered


def future_counts(shard: Shard, horizons_ms: tuple[float, ...]) -> npt.NDArray[np.uint16]:
    """Return each unit's spikes in the bins (t, t + horizon], (T, H, N).

    No spike of bin t or before is in them. Bins past a segment's end count nothing.
    """
    future = np.empty((shard.num_bins, len(horizons_ms), shard.num_units), np.uint16)
    begin = 0
    for segment in shard.segments:
        total = np.cumsum(segment.counts.dense(), axis=0, dtype=np.int32)
        bins = np.arange(len(total))
        for index, ahead in enumerate(horizon_bins(horizons_ms, shard.bin_ms)):
            last = np.minimum(bins + ahead, len(total) - 1)
            future[begin : begin + len(total), index] = total[last] - total
        begin += len(total)
    return future


def horizon_bins(horizons_ms: tuple[float, ...], bin_ms: float) -> list[int]:
    """Return the horizons in bins, at least one each, nearest first."""
    return [max(1, round(ms / bin_ms)) for ms in sorted(horizons_ms)]
