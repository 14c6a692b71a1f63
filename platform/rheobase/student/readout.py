"""What a student is compared with: its own input through the same causal filter."""

# Shape legend: T bins, R replicates, B windows, N units.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rheobase.shards.timeline import Timeline
from rheobase.student.inputs import Windows
from rheobase.student.lif import membrane_decay, smoothed
from rheobase.student.students import Replicate, Students


def smoothed_counts(
    counts: npt.NDArray[np.uint8], timeline: Timeline, tau_ms: float
) -> npt.NDArray[np.float64]:
    """Return counts (T, N) through the readout's exponential filter, at rest in each segment.

    Parameters
    ----------
    counts
        (T, N) in the order of the timeline.
    timeline
        Labels (T,).
    tau_ms
        Time constant of the filter.
    """
    decay = torch.tensor([membrane_decay(timeline.bin_ms, tau_ms)], dtype=torch.float64)
    parts = [
        torch.from_numpy(part) for part in np.split(counts.astype(np.float64), timeline.borders)
    ]
    return np.concatenate([smoothed(part[None, :, None], decay)[0][0, :, 0] for part in parts])


def counts_as_activity(
    students: Students, windows: Windows, replicates: Sequence[Replicate], bin_ms: float
) -> Tensor:
    """Return the counts (R, T, B, N) of windows: the linear readout has no neurons of its own.

    Parameters
    ----------
    students
        Whose device the counts are brought to.
    windows
        B windows of T bins for each replicate.
    replicates, bin_ms
        Settings and width of a bin, which change nothing here.
    """
    return windows.dense(students.input_weights.device)


def session_readout(
    counts: npt.NDArray[np.uint8], timeline: Timeline, replicates: Sequence[Replicate]
) -> npt.NDArray[np.float32]:
    """Return a session's counts through each replicate's readout filter, (R, T, N).

    Parameters
    ----------
    counts
        (T, N) in the order of the timeline.
    timeline
        Labels (T,); filters are at rest at the start of every segment.
    replicates
        Whose time constants they are.
    """
    taus = [own.tau_readout_ms for _, own in replicates]
    each = {tau: smoothed_counts(counts, timeline, tau) for tau in set(taus)}
    return np.stack([each[tau] for tau in taus]).astype(np.float32)
