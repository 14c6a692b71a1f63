"""What a student is compared with: its own input through the same causal filter."""

# Shape legend: T bins, N units.

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from rheobase.shards.timeline import Timeline
from rheobase.student.lif import membrane_decay


def smoothed_counts(
    counts: npt.NDArray[np.uint8], timeline: Timeline, tau_ms: float
) -> npt.NDArray[np.float64]:
    """Return counts (T, N) through the readout's exponential filter, at rest in each segment."""
    decay = membrane_decay(timeline.bin_ms, tau_ms)
    borders = np.flatnonzero(np.diff(timeline.segment)) + 1
    parts = np.split(counts.astype(np.float64), borders)
    return np.concatenate([lfilter([1 - decay], [1, -decay], part, axis=0) for part in parts])
