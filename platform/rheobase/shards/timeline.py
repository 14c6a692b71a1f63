"""The per-bin labels of a shard, its segments one after another."""

# Shape legend: T bins of all segments.

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from rheobase.shards.counts import dense_rows
from rheobase.shards.shard import TEST, TRAIN, VALIDATION, Shard

SEALED = -2  # a test bin of a timeline in which test is not open


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
        (T,) those of `Segment`. Where test is not open its bins are ``SEALED``: no measure that
        goes by these labels can reach them.
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
    scored_split: int = TEST
    """Label of the bins to score on: ``VALIDATION`` until test is opened."""

    def __len__(self) -> int:
        return len(self.segment)

    @property
    def train(self) -> npt.NDArray[np.bool_]:
        """Bins to fit on (T,)."""
        chosen: npt.NDArray[np.bool_] = self.split == TRAIN
        return chosen

    @property
    def scored(self) -> npt.NDArray[np.bool_]:
        """Bins to score on (T,)."""
        chosen: npt.NDArray[np.bool_] = self.split == self.scored_split
        return chosen

    @property
    def sealed(self) -> npt.NDArray[np.bool_]:
        """Test bins (T,) that are not open."""
        chosen: npt.NDArray[np.bool_] = self.split == SEALED
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
            if field.name not in ("kind", "bin_ms", "period_s", "scored_split")
        }
        return replace(self, **labels)


def timeline_of(shard: Shard, *, open_test: bool = False) -> Timeline:
    """Return the labels of a shard's bins.

    Parameters
    ----------
    shard
        The session.
    open_test
        Whether what is measured is scored on test. The report stage alone does that; everything
        that chooses is scored on validation, and finds test ``SEALED``.
    """
    segments = shard.segments
    bin_s = shard.bin_ms / 1000
    split = np.concatenate([s.split for s in segments])
    if not open_test:
        split = np.where(split == TEST, np.int8(SEALED), split)
    return Timeline(
        kind=shard.kind,
        bin_ms=shard.bin_ms,
        time_s=np.concatenate([s.start_s + bin_s * np.arange(len(s)) for s in segments]),
        segment=np.repeat(np.arange(len(segments), dtype=np.int32), [len(s) for s in segments]),
        split=split,
        group=np.concatenate([s.group for s in segments]),
        state=np.repeat([s.state for s in segments], [len(s) for s in segments]),
        presentation=np.concatenate([s.presentation for s in segments]),
        phase=np.concatenate([s.phase for s in segments]),
        period_s=shard.period_s,
        scored_split=TEST if open_test else VALIDATION,
    )


def stacked_counts(shard: Shard) -> npt.NDArray[np.uint8]:
    """Return the counts of all segments as dense (T, N), in the order of the timeline."""
    pieces = (chunk for segment in shard.segments for chunk in segment.counts.chunks)
    return dense_rows(pieces, shard.num_units, np.uint8)
