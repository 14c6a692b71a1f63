"""The per-bin labels of a shard, its segments one after another."""

# Shape legend: T bins of all segments.

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from rheobase.shards.counts import dense_rows
from rheobase.shards.shard import TEST, TRAIN, Shard


@dataclass(frozen=True, eq=False, kw_only=True)
class Timeline:
    """Labels of every bin; arrays over bins are in this order everywhere.

    Attributes
    ----------
    kind, bin_ms, period_s
        Those of the shard: ``"continuous"`` or ``"trials"``; milliseconds of a bin; seconds from
        onset to onset, None where there is no period.
    time_s
        (T,) seconds at which each bin opens.
    segment
        (T,) number of the shard's segment.
    split, group, presentation, phase
        (T,) those of `Segment`.
    state
        (T,) the segment's, repeated.
    """

    kind: str
    bin_ms: float
    time_s: npt.NDArray[np.float64]
    segment: npt.NDArray[np.int32]
    split: npt.NDArray[np.int8]
    group: npt.NDArray[np.int32]
    state: npt.NDArray[np.str_]
    presentation: npt.NDArray[np.int32]
    phase: npt.NDArray[np.int32]
    period_s: float | None = None

    def __len__(self) -> int:
        return len(self.segment)

    @property
    def train(self) -> npt.NDArray[np.bool_]:
        """Bins to fit on (T,)."""
        chosen: npt.NDArray[np.bool_] = self.split == TRAIN
        return chosen

    @property
    def test(self) -> npt.NDArray[np.bool_]:
        """Bins to score on (T,)."""
        chosen: npt.NDArray[np.bool_] = self.split == TEST
        return chosen

    @property
    def borders(self) -> npt.NDArray[np.int64]:
        """The first bin of every segment but the first."""
        return np.flatnonzero(np.diff(self.segment)) + 1

    def runs(self, split: int) -> list[npt.NDArray[np.int64]]:
        """Return the bins of each uninterrupted stretch of a split, in order.

        No stretch crosses the end of a segment. Without a bin of the split there is one, empty.
        """
        index = np.flatnonzero(self.split == split)
        breaks = np.flatnonzero((np.diff(index) != 1) | (np.diff(self.segment[index]) != 0)) + 1
        return np.split(index, breaks)

    def at(self, bins: npt.NDArray[np.int64]) -> Timeline:
        """Return the labels of some bins (B,), or of samples that begin with them."""
        labels = {
            field.name: getattr(self, field.name)[bins]
            for field in fields(self)
            if field.name not in ("kind", "bin_ms", "period_s")
        }
        return replace(self, **labels)


def timeline_of(shard: Shard) -> Timeline:
    """Return the labels of a shard's bins."""
    segments = shard.segments
    bin_s = shard.bin_ms / 1000
    return Timeline(
        kind=shard.kind,
        bin_ms=shard.bin_ms,
        time_s=np.concatenate([s.start_s + bin_s * np.arange(len(s)) for s in segments]),
        segment=np.repeat(np.arange(len(segments), dtype=np.int32), [len(s) for s in segments]),
        split=np.concatenate([s.split for s in segments]),
        group=np.concatenate([s.group for s in segments]),
        state=np.repeat([s.state for s in segments], [len(s) for s in segments]),
        presentation=np.concatenate([s.presentation for s in segments]),
        phase=np.concatenate([s.phase for s in segments]),
        period_s=shard.period_s,
    )


def stacked_counts(shard: Shard) -> npt.NDArray[np.uint8]:
    """Return the counts of all segments as dense (T, N), in the order of the timeline."""
    pieces = (chunk for segment in shard.segments for chunk in segment.counts.chunks)
    return dense_rows(pieces, shard.num_units, np.uint8)
