"""The frozen record of one binned session."""

# Shape legend: T bins, N units, P presentations, C covariates.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.shards.counts import SparseCounts

TRAIN, TEST, VALIDATION = 0, 1, 2
GAP = -1  # thrown away at a border between two of them
NONE = -1  # no presentation has begun, or none in this recording


@dataclass(frozen=True, eq=False, kw_only=True)
class Segment:
    """Consecutive bins without a gap in the recording and in one brain state.

    Attributes
    ----------
    counts
        (T, N) spikes in half-open bins [t, t + bin).
    start_s
        Start of the first bin in session time.
    state
        ``active``, ``passive``, ``sleep``, …; ``""`` where the recording names none.
    split
        (T,) int8: ``TRAIN``, ``VALIDATION``, ``TEST`` or ``GAP`` (thrown away between any two).
    group
        (T,) int32 number of the block or behaviour trial that is split as a whole.
    presentation
        (T,) int32 index of the latest presentation, or ``NONE``.
    phase
        (T,) int32 bins since its onset, or ``NONE``.
    covariates
        Pieces (C, …) float32, T bins together, of what `Shard.covariate_names` names; NaN where
        it is not known.
    """

    counts: SparseCounts
    start_s: float
    state: str
    split: npt.NDArray[np.int8]
    group: npt.NDArray[np.int32]
    presentation: npt.NDArray[np.int32]
    phase: npt.NDArray[np.int32]
    covariates: tuple[npt.NDArray[np.float32], ...] = ()

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True, eq=False, kw_only=True)
class Shard:
    """One binned session.

    Attributes
    ----------
    session_id, data_digest
        The recording's own name, and the digest of its file's bytes.
    kind
        ``"continuous"`` or ``"trials"``.
    bin_ms
        Width of a bin in milliseconds.
    unit_id, area
        (N,) identifier and structure acronym of each unit.
    segments
        Its bins, in order of time.
    image, is_change, omitted
        (P,) what each presentation showed, whether it was another image than before, and whether
        nothing was shown; false where nothing is known.
    period_s
        Seconds from one presentation's onset to the next one's; None where onsets come
        irregularly, where there are none, and of trials.
    labels
        (P,) each, by name: what a recording by trial says of its trials.
    covariate_names
        (C,) ``running``, ``pupil``, other signals of the recording, and of a simulated one
        ``true:<latent>``: what nothing may be trained on and a teacher is judged by.
    unit_columns
        (N,) each, by name: what the units' table tells of its units, numbers or words.
    """

    session_id: str
    data_digest: str
    kind: str
    bin_ms: float
    unit_id: npt.NDArray[np.int64]
    area: npt.NDArray[np.str_]
    segments: tuple[Segment, ...]
    image: npt.NDArray[np.str_]
    is_change: npt.NDArray[np.bool_]
    omitted: npt.NDArray[np.bool_]
    period_s: float | None = None
    labels: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    covariate_names: tuple[str, ...] = ()
    unit_columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def num_units(self) -> int:
        """Number of units (N)."""
        return len(self.unit_id)

    @property
    def num_bins(self) -> int:
        """Number of bins of all segments, gaps between splits included."""
        return sum(len(segment) for segment in self.segments)
