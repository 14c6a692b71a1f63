"""The per-bin labels of a shard, its segments one after another."""

# Shape legend: T bins of all segments.

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.counts import dense_rows
from rheobase.shards.shard import NONE, TEST, TRAIN, VALIDATION, Shard

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

    @classmethod
    def of(
        cls,
        split: npt.ArrayLike,
        *,
        group: npt.ArrayLike | None = None,
        state: npt.ArrayLike | None = None,
        segment: npt.ArrayLike | None = None,
        presentation: npt.ArrayLike | None = None,
        phase: npt.ArrayLike | None = None,
        bin_ms: float = 10.0,
        period_s: float | None = None,
    ) -> Timeline:
        """Return the labels of arrays in memory, of which no more is said than is known.

        Parameters
        ----------
        split
            (T,) ``TRAIN``, ``VALIDATION``, ``TEST`` or ``GAP`` of each bin; or whether it is of
            test, and else of train.
        group, state, segment
            (T,) block or trial, state, and uninterrupted stretch; one for all unless given.
        presentation, phase
            (T,) number of the presentation and bins since its onset; none unless given.
        bin_ms, period_s
            As the attributes.

        Raises
        ------
        DataError
            A label is not one for each bin.

        Examples
        --------
        >>> line = Timeline.of(np.arange(100) >= 80, group=np.arange(100) // 20)
        >>> int(line.train.sum()), int(line.scored.sum())
        (80, 20)
        """
        given = np.asarray(split)
        parts = np.where(given, TEST, TRAIN) if given.dtype == bool else given
        labels: dict[str, Any] = {
            "split": parts.astype(np.int8),
            "time_s": np.arange(given.size) * bin_ms / 1000,
        }
        for name, values, missing, kind in (
            ("group", group, 0, np.int32),
            ("state", state, "", np.str_),
            ("segment", segment, 0, np.int32),
            ("presentation", presentation, NONE, np.int32),
            ("phase", phase, NONE, np.int32),
        ):
            array = np.full(given.shape, missing) if values is None else np.asarray(values)
            labels[name] = array.astype(kind)
        wrong = [name for name, array in labels.items() if array.shape != (given.size,)]
        if wrong:
            raise DataError(
                f"{', '.join(wrong)} must be one label for each of the {given.size} bins of split, "
                f"but is of shape {labels[wrong[0]].shape}; give arrays of one axis, as long"
            )
        return cls(kind="continuous", bin_ms=bin_ms, period_s=period_s, **labels)

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
