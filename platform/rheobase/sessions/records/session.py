"""The frozen records of one recording: units, spikes, presentations, states."""

# Shape legend: N units, S spikes, P presentations, I intervals, K true latents,
# L samples of a signal, T bins.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rheobase.sessions.records.finding import Finding

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]
TrialCounts = npt.NDArray[np.uint8]

ACTIVE, PASSIVE = "active", "passive"
OMITTED = "omitted"
"""The image of a presentation that was left out."""
REGULAR_SHARE, REGULAR_STEP = 0.9, 0.1
"""Onsets have a period where this share of the steps between them lies this close to a whole
number of periods, as a share of one."""


@dataclass(frozen=True, eq=False)
class Units:
    """Recorded clusters.

    `unit_id` (N,); `area` (N,) structure acronym and `probe` (N,) name of the probe, ``""``
    where the file names none; `metrics` maps a quality metric's name to (N,) values, NaN where
    the file has none; `labels` maps the name of a column of words to (N,) of them, ``""`` where a
    unit has none.
    """

    unit_id: Ints
    area: Strings
    probe: Strings
    metrics: Mapping[str, Floats] = field(default_factory=dict)
    labels: Mapping[str, Strings] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.unit_id)

    def take(self, kept: Bools) -> Units:
        """Return the units where `kept` (N,) is true."""
        return Units(
            self.unit_id[kept],
            self.area[kept],
            self.probe[kept],
            {k: v[kept] for k, v in self.metrics.items()},
            {k: v[kept] for k, v in self.labels.items()},
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
        (P,) number of the stretch of presentations in one state; -1 where a row has none.
    active
        (P,) whether the mouse did the task.
    stride_s
        Seconds from onset to onset that the layout promises, the passive block replaying the
        active one; None where none is promised. What the onsets say is `period_s`.
    states_known
        Whether the file says of presentations whether they are active.
    """

    start_s: Floats
    stop_s: Floats
    image: Strings
    is_change: Bools
    omitted: Bools
    block: Ints
    active: Bools
    stride_s: float | None = None
    states_known: bool = True

    def __len__(self) -> int:
        return len(self.start_s)

    def take(self, kept: Bools) -> Presentations:
        """Return the presentations where `kept` (P,) is true."""
        columns = ("start_s", "stop_s", "image", "is_change", "omitted", "block", "active")
        return replace(self, **{name: getattr(self, name)[kept] for name in columns})

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

    def within(self, start_s: Floats, stop_s: Floats) -> Intervals:
        """Return what of them lies in the stretches (I,), which are in order and apart.

        Examples
        --------
        >>> whole = Intervals(np.array([0.0]), np.array([9.0]), np.array(["a"]))
        >>> whole.within(np.array([1.0, 5.0]), np.array([3.0, 99.0])).stop_s.tolist()
        [3.0, 9.0]
        """
        rows = [
            (max(begin, first), min(end, last), state)
            for begin, end, state in zip(self.start_s, self.stop_s, self.state, strict=True)
            for first, last in zip(start_s, stop_s, strict=True)
            if max(begin, first) < min(end, last)
        ]
        starts, stops, states = ([row[n] for row in rows] for n in range(3))
        return Intervals(
            np.array(starts, np.float64), np.array(stops, np.float64), np.array(states, np.str_)
        )


@dataclass(frozen=True, eq=False)
class Observed:
    """When each unit was recorded, where units differ in it.

    The stretches of unit n are `start_s` and `stop_s` from ``offsets[n]`` to ``offsets[n + 1]``,
    in order and apart; `offsets` (N + 1,).
    """

    start_s: Floats
    stop_s: Floats
    offsets: Ints

    def of(self, unit: int) -> tuple[Floats, Floats]:
        """Return the starts and the stops of the unit at index `unit`, in seconds."""
        rows = slice(self.offsets[unit], self.offsets[unit + 1])
        return self.start_s[rows], self.stop_s[rows]

    @property
    def seconds(self) -> Floats:
        """How long each unit (N,) was recorded."""
        ends = np.concatenate([[0.0], np.cumsum(self.stop_s - self.start_s)])
        return np.diff(ends[self.offsets])

    def take(self, kept: Bools) -> Observed:
        """Return that of the units where `kept` (N,) is true."""
        lengths = np.diff(self.offsets)
        rows = np.repeat(kept, lengths)
        offsets = np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64)
        return Observed(self.start_s[rows], self.stop_s[rows], offsets)


@dataclass(frozen=True, eq=False)
class Signal:
    """A measure of behaviour over time, or events such as licks.

    `time_s` (L,) seconds; `value` (L,) samples, NaN where lost. Of events `is_events` is true, and
    the values are ones: what is read of them is how many there are in a second.
    """

    time_s: Floats
    value: Floats
    is_events: bool = False

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
        Behaviour by name: ``running`` in cm/s, ``pupil`` area in the file's unit, and whatever
        else the user names.
    true_latents
        Of a simulated recording; None where nobody knows them.
    observed
        When each unit was recorded; None where `intervals` say it for all.
    remarks
        What reading it found amiss.
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
    observed: Observed | None = None
    remarks: tuple[Finding, ...] = ()

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
            observed=None if self.observed is None else self.observed.take(kept),
        )

    def observed_by_all(self) -> Intervals:
        """Return what of the intervals every unit was recorded in."""
        intervals = self.intervals
        if self.observed is not None:
            for stretches in {
                tuple(map(tuple, self.observed.of(unit)))
                for unit in range(len(self.observed.offsets) - 1)
            }:
                intervals = intervals.within(*(np.array(ends) for ends in stretches))
        return intervals


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
