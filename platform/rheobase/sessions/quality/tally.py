"""One pass over a recording's spikes: how many in each second, and how many are amiss."""

# Shape legend: N units, T seconds, I intervals, S spikes.

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rheobase.sessions.records.session import Floats, Ints, Session

DUPLICATE_S = 0.0003
"""Two spikes of a unit closer than this are one spike found twice: no neuron is refractory less."""
MAX_BINS = 20_000
"""Bins a recording is tallied in: of 1 s up to 5.5 hours, wider for longer ones, so that one
spike with an absurd time costs no memory."""
MAX_AROUND = 100.0
"""Lengths of a user's stretches that may lie around them; a clock in samples is off by 30,000."""
NUM_PRESENCE_BINS = 100
"""Of a recording: the Allen Institute's `presence_ratio` is the share of these with a spike."""
MIN_PRESENCE_BIN_S = 10.0
"""Shorter bins of short recordings are empty by chance."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Tally:
    """Counts of a recording's spikes.

    Attributes
    ----------
    start_s, width_s
        When the first bin opens, and the width of all.
    counts
        (N, T) uint16 spikes of each unit, at most 65,535 a bin.
    of_probe
        Spikes (T,) of all units of each probe, by its name.
    num_not_finite, num_negative, num_unsorted, num_duplicate, num_outside
        (N,) spikes of each unit that are NaN or infinite; before 0 s; earlier than the one
        before them; closer than `DUPLICATE_S` to their neighbour; outside `reach_of`.
    """

    start_s: float
    width_s: float
    counts: npt.NDArray[np.uint16]
    of_probe: Mapping[str, Ints]
    num_not_finite: Ints
    num_negative: Ints
    num_unsorted: Ints
    num_duplicate: Ints
    num_outside: Ints

    @property
    def duration_s(self) -> float:
        """Seconds that were tallied."""
        return float(self.counts.shape[1] * self.width_s)

    def bins_within(self, start_s: float, stop_s: float) -> slice:
        """Return the bins that lie wholly in a stretch."""
        # A millionth of a bin forgives the rounding of starts that lie on an edge.
        first = math.ceil((start_s - self.start_s) / self.width_s - 1e-6)
        last = math.floor((stop_s - self.start_s) / self.width_s + 1e-6)
        first = min(max(first, 0), self.counts.shape[1])
        return slice(first, min(max(last, first), self.counts.shape[1]))

    def presence_bins(self) -> int:
        """Return how many bins make one of those that presence is counted in."""
        wide_s = max(self.duration_s / NUM_PRESENCE_BINS, MIN_PRESENCE_BIN_S)
        return math.ceil(wide_s / self.width_s)

    def presence(self, within: slice) -> Floats:
        """Return the share (N,) of presence bins inside `within` that hold a spike.

        NaN where the stretch is shorter than one of them.
        """
        wide = self.presence_bins()
        num = (within.stop - within.start) // wide
        if num == 0:
            return np.full(len(self.counts), np.nan)
        part = self.counts[:, within.start : within.start + num * wide]
        most = np.maximum.reduceat(part, np.arange(num) * wide, axis=1)
        return np.asarray((most > 0).mean(axis=1))


def reach_of(session: Session) -> tuple[float, float]:
    """Return the seconds in which a spike may lie.

    An interval without a state is all of a recording. Blocks and stretches of a state are not,
    and what was recorded around them is not stated: as much again on either side in the Visual
    Behavior layout, `MAX_AROUND` times as much where a user has named a few stretches.
    """
    first_s = float(session.intervals.start_s.min())
    last_s = float(session.intervals.stop_s.max())
    whole = not (session.intervals.state != "").any()
    around = 0.0 if whole else MAX_AROUND if session.presentations.stride_s is None else 1.0
    around_s = around * (last_s - first_s)
    return min(max(first_s - around_s, 0.0), first_s), last_s + around_s


def tally_spikes(session: Session) -> Tally:
    """Count the spikes of a recording, a unit at a time.

    Memory beyond the spikes themselves is that of `Tally.counts`, 2 bytes a unit and second.
    """
    num_units = len(session.units)
    start_s, reach_s = reach_of(session)
    intervals_stop_s = float(session.intervals.stop_s.max())
    ends = [_last_within(session.spikes_of(unit), reach_s) for unit in range(num_units)]
    span_s = max(max(ends, default=start_s), intervals_stop_s) - start_s
    width_s = float(max(1, math.ceil(span_s / MAX_BINS)))
    num_bins = max(1, math.ceil(span_s / width_s))

    counts = np.zeros((num_units, num_bins), np.uint16)
    of_probe = {str(name): np.zeros(num_bins, np.int64) for name in np.unique(session.units.probe)}
    amiss = np.zeros((5, num_units), np.int64)
    not_finite, negative, unsorted, duplicate, outside = amiss
    for unit in range(num_units):
        times = session.spikes_of(unit)
        if not len(times):
            continue
        if not (np.isfinite(times.min()) and np.isfinite(times.max())):
            finite = np.isfinite(times)
            not_finite[unit] = len(times) - finite.sum()
            times = times[finite]
        steps = np.diff(times)
        if steps.min(initial=np.inf) < DUPLICATE_S:
            unsorted[unit] = (steps < 0).sum()
            ordered = np.diff(np.sort(times)) if unsorted[unit] else steps
            duplicate[unit] = (ordered < DUPLICATE_S).sum()
        if times.min(initial=np.inf) < 0:
            negative[unit] = (times < 0).sum()
        if times.max(initial=start_s) > reach_s or times.min(initial=start_s) < start_s:
            inside = (times >= start_s) & (times <= reach_s)
            outside[unit] = len(times) - inside.sum() - negative[unit]
            times = times[inside]
        bins = times - start_s if start_s else times
        bins = (bins / width_s if width_s != 1 else bins).astype(np.int64)
        in_bin = np.bincount(np.minimum(bins, num_bins - 1, out=bins), minlength=num_bins)
        counts[unit] = np.minimum(in_bin, np.iinfo(np.uint16).max)
        of_probe[str(session.units.probe[unit])] += in_bin
    return Tally(
        start_s=start_s,
        width_s=width_s,
        counts=counts,
        of_probe=of_probe,
        num_not_finite=not_finite,
        num_negative=negative,
        num_unsorted=unsorted,
        num_duplicate=duplicate,
        num_outside=outside,
    )


def _last_within(times: Floats, reach_s: float) -> float:
    """Return the last spike at or before `reach_s`, or 0 where there is none."""
    last = float(times.max(initial=0.0))
    if not last <= reach_s:  # NaN included
        last = float(np.max(times, initial=0.0, where=times <= reach_s))
    return last
