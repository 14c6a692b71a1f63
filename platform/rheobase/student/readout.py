"""What a student is compared with: its own input through the same causal filter."""

# Shape legend: T bins, N units.

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from rheobase.shards.timeline import Timeline
from rheobase.student.lif import membrane_decay, smoothed


def smoothed_counts(
    counts: npt.NDArray[np.uint8], timeline: Timeline, tau_ms: float
) -> npt.NDArray[np.float64]:
    """Return counts (T, N) through the readout's exponential filter, at rest in each segment."""
    decay = torch.tensor([membrane_decay(timeline.bin_ms, tau_ms)], dtype=torch.float64)
    parts = [
        torch.from_numpy(part) for part in np.split(counts.astype(np.float64), timeline.borders)
    ]
    return np.concatenate([smoothed(part[None, :, None], decay)[0][0, :, 0] for part in parts])
