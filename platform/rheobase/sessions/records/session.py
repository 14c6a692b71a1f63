"""The frozen records of one recording: units, spikes, presentations, states."""

# Shape legend: N units, S spikes, P presentations, I intervals, K true latents,
# L samples of a signal, T bins.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]
TrialCounts = npt.NDArray[np.uint8]

ACTIVE, PASSIVE = "active", "passive"
OMITTED = "omitted"
"""The image of a presentation that was left out."""
SIGNALS = ("running", "pupil")
"""Measures of behaviour that a recording may have beside its spikes."""
REGULAR_SHARE, REGULAR_STEP = 0.9, 0.1
"""Onsets have a period where this share of the steps between them lies this close to a whole
number of periods, as a share of one."""


@dataclass(frozen=True, eq=False)
class Units:
    """Recorded clusters.

    `unit_id` (N,); `area` (N,) structure acronym and `probe` (N,) name of the probe, ``""``
    where the file names none; `metrics` maps a quality metric's name to (N,) values, NaN where
    the file has none.
    """

    unit_id: Ints
    area: Strings
    probe: Strings
    metrics: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.unit_id)

    def take(self, kept: Bools) -> Units:
        """Return the units where `kept` (N,) is true."""
        return Units(
            self.unit_id[kept],
            self.area[kept],
            self.probe[kept],
            {k: v[kept] for k, v in self.metrics.items()},
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Presentations:
    """Stimulus flashes and omissions in order of time, each (P,).

    Attributes
    ----------
    start_s, stop_s
        (P,) onset and end in seconds; an omission may have no end: NaN.
    image
        (P,) name of what was shown, ``"omitted"`` for an omission, ``""`` where the file names
        none.
    is_change
        (P,) whether another image was shown than the time before.
    omitted
        (P,) whether nothing was shown where an image was due.
    block
        (P,) number of the stretch of presentations in one state.
    active
        (P,) whether the mouse did the task.
    stride_s
        Seconds from onset to onset that the layout promises, the passive block replaying the
        active one; None where none is promised. What the onsets say is `period_s`.
    """

    start_s: Floats
    stop_s: Floats
    image: Strings
    is_change: Bools
    omitted: Bools
    block: Ints
    active: Bools
    stride_s: float | None = None

    def __len__(self) -> int:
        return len(self.start_s)

    @classmethod
    def none(cls) -> Presentations:
        """Return the presentations of a recording without stimuli."""
        time_s, flag = np.zeros(0), np.zeros(0, bool)
        return cls(
            start_s=time_s,
            stop_s=time_s,
            image=np.zeros(0, "U1"),
            is_change=flag,
            omitted=flag,
            block=np.zeros(0, np.int64),
            active=flag,
        )

    @property
    def period_s(self) -> float | None:
        """Seconds from onset to onset as the onsets themselves have it, None without a period.

        Steps are taken within blocks; one of several periods, where rows are missing, counts as
        so many. The mean over all regular steps keeps the phase over an hour, for which a median
        of times that a screen rounds to its frames is too coarse.
        """
        there = np.isfinite(self.start_s)
        start_s, block = self.start_s[there], self.block[there]
        steps_s = np.diff(start_s)[block[1:] == block[:-1]]
        steps_s = steps_s[steps_s > 0]  # an onset out of order is a finding
        if not len(steps_s):
            return self.stride_s
        ratio = steps_s / np.median(steps_s)
        num_periods = np.round(ratio)
        regular = (num_periods >= 1) & (np.abs(ratio - num_periods) <= REGULAR_STEP)
        if regular.mean() < REGULAR_SHARE:
            return None
        return float(steps_s[regular].sum() / num_periods[regular].sum())


@dataclass(frozen=True, eq=False)
class Intervals:
    """Stretches of gap-free recording in one brain state, each (I,), in seconds."""

    start_s: Floats
    stop_s: Floats
    state: Strings

    def __len__(self) -> int:
        return len(self.start_s)

    def index_at(self, time_s: Floats) -> Ints:
        """Return the interval that holds each time, -1 where none does; intervals in order."""
        index = np.searchsorted(self.start_s, time_s, side="right") - 1
        inside = (index >= 0) & (time_s < np.append(self.stop_s, -np.inf)[index])
        return np.where(inside, index, -1)


@dataclass(frozen=True, eq=False)
class Signal:
    """A measure of behaviour over time: `time_s` (L,) seconds, `value` (L,), NaN where lost."""

    time_s: Floats
    value: Floats

    def __len__(self) -> int:
        return len(self.time_s)


@dataclass(frozen=True, eq=False)
class TrueLatents:
    """What a simulated recording was made from.

    `names` (K,); `time_s` (L,) seconds at which each sample's bin opens; `value` (L, K);
    `digest` of the bytes of their file; `about` says how units carry them, where the file does.
    """

    names: Strings
    time_s: Floats
    value: npt.NDArray[np.float32]
    digest: str
    about: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Session:
    """A continuous recording.

    Attributes
    ----------
    session_id
        The recording's own name.
    source
        Path or address it was read from.
    data_digest
        Digest of the file's bytes.
    units
        Recorded clusters (N).
    spike_times_s
        (S,) float64 seconds, unit after unit, in the file's order within a unit.
    spike_offsets
        (N + 1,) spikes of unit n are ``spike_times_s[spike_offsets[n]:spike_offsets[n + 1]]``.
    intervals
        What may be binned: windows never leave an interval.
    presentations
        Flashes and omissions.
    signals
        Behaviour by name: ``running`` in cm/s, ``pupil`` area in the file's unit.
    true_latents
        Of a simulated recording; None where nobody knows them.
    """

    session_id: str
    source: str
    data_digest: str
    units: Units
    spike_times_s: Floats
    spike_offsets: Ints
    intervals: Intervals
    presentations: Presentations
    signals: Mapping[str, Signal] = field(default_factory=dict)
    true_latents: TrueLatents | None = None

    @property
    def num_spikes(self) -> int:
        """Number of spikes of all units."""
        return int(self.spike_offsets[-1])

    @property
    def duration_s(self) -> float:
        """Seconds from the first interval's start to the last one's end."""
        return float(self.intervals.stop_s.max() - self.intervals.start_s.min())

    def spikes_of(self, unit: int) -> Floats:
        """Return the spike times of the unit at index `unit`, in seconds."""
        return self.spike_times_s[self.spike_offsets[unit] : self.spike_offsets[unit + 1]]

    def take_units(self, kept: Bools) -> Session:
        """Return the same session with the units where `kept` (N,) is true."""
        lengths = np.diff(self.spike_offsets)
        return replace(
            self,
            units=self.units.take(kept),
            spike_times_s=self.spike_times_s[np.repeat(kept, lengths)],
            spike_offsets=np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class TrialSession:
    """A recording that exists only as counts around each presentation.

    One behaviour trial is one presentation.

    Attributes
    ----------
    session_id
        The recording's own name.
    source
        Path or address it was read from.
    data_digest
        Digest of the file's bytes.
    units
        Recorded clusters (N).
    counts
        (P, N, T) uint8 spikes.
    bin_ms
        Width of the bins in milliseconds.
    trial_start_s
        (P,) seconds at which each trial's first bin opens.
    labels
        What is known of the trials, (P,) each, by name.
    """

    session_id: str
    source: str
    data_digest: str
    units: Units
    counts: TrialCounts
    bin_ms: float
    trial_start_s: Floats
    labels: Mapping[str, Floats]

    @property
    def num_spikes(self) -> int:
        """Number of spikes in all bins."""
        return int(self.counts.sum(dtype=np.int64))

    @property
    def duration_s(self) -> float:
        """Seconds of recording inside the trials' windows."""
        return float(self.counts.shape[0] * self.counts.shape[2] * self.bin_ms / 1000)

    def take_units(self, kept: Bools) -> TrialSession:
        """Return the same session with the units where `kept` (N,) is true."""
        return replace(self, units=self.units.take(kept), counts=self.counts[:, kept])
