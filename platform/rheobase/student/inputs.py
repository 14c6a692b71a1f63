"""The counts that networks are fed: those of a session, kept sparse, and windows of it."""

# Shape legend: T bins, R replicates, B windows, N units, E counts that are not 0.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rheobase.core.seeds import generator
from rheobase.student.settings import InputKind


@dataclass(frozen=True, eq=False)
class PlacedCounts:
    """The arrays of `SparseCounts` on a device."""

    dense: Tensor
    ends: Tensor
    unit: Tensor
    count: Tensor


@dataclass(frozen=True, eq=False)
class SparseCounts:
    """SparseCounts (bins, N) of a session: dense, and the `unit` and `count` (E,) of each bin's.

    Those of bin t lie between `ends[t]` and `ends[t + 1]`.
    """

    dense: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]
    unit: npt.NDArray[np.int32]
    count: npt.NDArray[np.uint8]
    placed: dict[torch.device, PlacedCounts] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, dense: npt.NDArray[np.uint8]) -> SparseCounts:
        """Return both forms of counts (bins, N)."""
        bins, units = np.nonzero(dense)
        ends = np.zeros(len(dense) + 1, np.int64)
        np.cumsum(np.bincount(bins, minlength=len(dense)), out=ends[1:])
        return cls(dense, ends, units.astype(np.int32), dense[bins, units])

    @property
    def num_units(self) -> int:
        """N."""
        return int(self.dense.shape[1])

    def on(self, device: torch.device) -> PlacedCounts:
        """Return the arrays on a device, to which they are brought once."""
        if device not in self.placed:
            arrays = self.dense, self.ends, self.unit, self.count
            self.placed[device] = PlacedCounts(
                *(torch.from_numpy(array).to(device) for array in arrays)
            )
        return self.placed[device]


class Windows(NamedTuple):
    """Windows of `num_bins` bins: `starts` (R, B) are their first bins in the session."""

    counts: SparseCounts
    starts: npt.NDArray[np.int64]
    num_bins: int

    def dense(self, device: torch.device) -> Tensor:
        """Return the counts as (R, T, B, N) float32."""
        rows = self.starts[:, None, :] + np.arange(self.num_bins)[:, None]
        return self.counts.on(device).dense[torch.from_numpy(rows).to(device)].float()


def counts_for(
    kind: InputKind, counts: npt.NDArray[np.uint8], session: str, seed: int
) -> npt.NDArray[np.uint8]:
    """Return the counts (bins, N) that networks of an input are fed, the same for all of them.

    `shuffled`: the bins of each unit permuted, independently of the others. Every unit keeps its
    counts and loses their times, and so all that units tell together.
    """
    if kind == "counts":
        return counts
    draw = generator(seed, "student", "shuffled", session)
    permuted: npt.NDArray[np.uint8] = draw.permuted(counts, axis=0)
    return permuted
