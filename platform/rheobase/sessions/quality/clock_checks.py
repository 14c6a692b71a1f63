"""Whether a recording's times can be seconds of one clock that never goes back."""

# Shape legend: N units, S spikes.

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from rheobase.sessions.quality.tally import DUPLICATE_S, Tally
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import Floats, Session

LEAST_SPIKES = 100
"""Of a recording, below which nothing is said of its clock."""
SAMPLED = 20_000
"""Spikes, evenly taken, that are looked at for whole numbers."""
LEAST_OF_UNIT = 20
"""Spikes of a unit, below which it does not tell of rates."""
ENDS = (0.02, 0.98)
"""Shares of a unit's spikes between which its rate is taken."""
SLOW_HZ, FAST_HZ = 0.02, 300.0
"""Median rate of the units that fire: no sorted recording lies outside."""
LIKELY_HZ = (0.1, 100.0)
"""In seconds, the median unit fires so."""
SCALES = {
    "milliseconds": 1e3,
    "samples at 20 kHz": 2e4,
    "samples at 24,414 Hz": 24_414.0,
    "samples at 25 kHz": 2.5e4,
    "samples at 30 kHz": 3e4,
    "samples at 32 kHz": 3.2e4,
    "microseconds": 1e6,
}
"""In how many of a unit a second is told."""
WITHOUT_EVENTS = ("milliseconds", "samples at 30 kHz", "microseconds")
"""The likeliest of them, where no other clock tells between rates of sampling."""
USUAL_HZ = 5.0
"""What the median unit fires in most recordings."""
CLOSE = 0.15
"""Two clocks' ends lie so close to a whole ratio of units, as a share of it."""
BACK_S, BACK_SHARE = 1.0, 0.05
"""A step back of a unit's times, in seconds and as a share of all of them: a clock that began
again, not spikes out of order."""
MOST_STEPS_BACK = 5
"""Of a unit; more are spikes in no order."""


def check_clock(session: Session, tally: Tally) -> Iterator[Finding]:
    """Find times that are no seconds, clocks of other units, and a clock that goes back."""
    yield from _clock_back(session, tally)
    if session.num_spikes >= LEAST_SPIKES:
        yield from _unit_of_time(session)
    yield from _nothing_inside(session, tally)


def _clock_back(session: Session, tally: Tally) -> Iterator[Finding]:
    """Find units whose times fall once by much: a recording whose clock began again."""
    firing = np.diff(session.spike_offsets) >= 2
    suspects = np.flatnonzero(
        (tally.num_unsorted > 0) & (tally.num_unsorted <= MOST_STEPS_BACK) & firing
    )
    falls: list[tuple[float, float]] = []
    for unit in suspects.tolist():
        times = session.spikes_of(unit)
        times = times[np.isfinite(times)]
        steps = np.diff(times)
        at = int(np.argmin(steps))
        least_s = max(BACK_S, BACK_SHARE * float(np.ptp(times)))
        if -steps[at] >= least_s:
            falls.append((float(times[at]), float(times[at + 1])))
    if falls and 2 * len(falls) >= firing.sum():
        last_s, first_s = max(fall[0] for fall in falls), min(fall[1] for fall in falls)
        yield Finding(
            "clock-goes-back",
            "fatal",
            len(falls),
            f"times of {len(falls)} of {int(firing.sum())} units fall from {last_s:g} s to "
            f"{first_s:g} s: the clock began again, and two recordings lie over each other; write "
            "each as a file of its own",
        )


def _unit_of_time(session: Session) -> Iterator[Finding]:
    spikes_s = session.spike_times_s
    sample = spikes_s[:: max(1, len(spikes_s) // SAMPLED)]
    sample = sample[np.isfinite(sample)]
    rate_hz, last_s = _typical(session)
    if not len(sample) or not np.isfinite(rate_hz):
        return
    events_s = _last_event_s(session)
    if bool((sample == np.floor(sample)).all()) and len(np.unique(sample)) > 1:
        name = _likely(rate_hz, last_s, events_s) or "samples at 30 kHz"
        yield Finding(
            "times-not-in-seconds",
            "fatal",
            session.num_spikes,
            f"every spike time is a whole number, up to {last_s:g}: they are likely {name}, not "
            f"seconds; divide them by {SCALES[name]:g} and write the file again",
        )
        return
    if rate_hz < SLOW_HZ:
        likely = _likely(rate_hz, last_s, events_s)
        if likely is None:
            return
        sure = events_s is not None or _is_too_regular(session, SCALES[likely])
        why = f"the median unit would fire {rate_hz:.2g} times a second up to {last_s:.3g} s"
        if events_s is not None:
            why += f", and events end at {events_s:g} s"
        yield Finding(
            "times-not-in-seconds",
            "fatal" if sure else "warning",
            session.num_spikes,
            f"{why}: spike times are likely {likely}; divide them by {SCALES[likely]:g}, and write "
            "the file again",
        )
    elif rate_hz > FAST_HZ:
        yield Finding(
            "times-not-in-seconds",
            "warning",
            session.num_spikes,
            f"the median unit would fire {rate_hz:.3g} times a second up to {last_s:.3g} s: spike "
            "times are likely hours, minutes or thousands of seconds; multiply them, and write "
            "the file again",
        )
    elif events_s is not None:
        for name, scale in SCALES.items():
            if abs(events_s / max(last_s, 1e-9) / scale - 1) < CLOSE:
                yield Finding(
                    "events-not-in-seconds",
                    "fatal",
                    1,
                    f"events end at {events_s:g} s and spikes at {last_s:g} s: times of events are "
                    f"likely {name}; divide them, and write the file again",
                )
                return


def _typical(session: Session) -> tuple[float, float]:
    """Return the median unit's rate, and about when its last spike comes.

    Both between shares of each unit's spikes: a few of another clock decide nothing.
    """
    counts = np.diff(session.spike_offsets)
    firing = np.flatnonzero(counts >= LEAST_OF_UNIT)
    if not len(firing):
        return np.nan, np.nan
    begins, num = session.spike_offsets[firing], counts[firing]
    low, high = (
        session.spike_times_s[begins + (share * (num - 1)).astype(np.int64)] for share in ENDS
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        rates_hz = (ENDS[1] - ENDS[0]) * num / (high - low)
    rates_hz = rates_hz[np.isfinite(rates_hz) & (rates_hz > 0)]
    if not len(rates_hz):
        return np.nan, np.nan
    return float(np.median(rates_hz)), float(np.nanmedian(high))


def _likely(rate_hz: float, last_s: float, events_s: float | None) -> str | None:
    """Return the unit in which the events end with the spikes, or else rates are most usual."""
    fitting = []
    for name, scale in SCALES.items():
        if not LIKELY_HZ[0] <= rate_hz * scale <= LIKELY_HZ[1]:
            continue
        off = abs(math.log(rate_hz * scale / USUAL_HZ))
        if events_s is None and name not in WITHOUT_EVENTS:
            continue
        if events_s is not None:
            off = abs(last_s / events_s / scale - 1)
            if off > CLOSE:
                continue
        fitting.append((off, name))
    return min(fitting)[1] if fitting else None


def _last_event_s(session: Session) -> float | None:
    """Return when the last of what has times of its own ends; None where nothing has."""
    ends: list[float] = []
    onsets = session.presentations.start_s
    ends += [float(np.max(onsets[np.isfinite(onsets)], initial=0.0))] if len(onsets) else []
    stated = session.intervals.state != ""
    ends += session.intervals.stop_s[stated].tolist()
    for signal in session.signals.values():
        there: Floats = signal.time_s[np.isfinite(signal.time_s)]
        ends += [float(there.max())] if len(there) else []
    return max(ends) if ends and max(ends) > 0 else None


def _is_too_regular(session: Session, scale: float) -> bool:
    """Tell whether no two spikes of a unit come within a time in which many must by chance.

    In a slower unit of time, the refractory period is seconds long.
    """
    refractory_s = DUPLICATE_S * scale
    due, least = 0.0, np.inf
    for unit in range(len(session.units)):
        times = session.spikes_of(unit)
        if len(times) < 2:
            continue
        steps = np.diff(times)
        steps = steps[steps > 0]
        least = min(least, float(steps.min(initial=np.inf)))
        due += len(times) ** 2 / max(float(np.ptp(times)), 1e-9) * refractory_s
    return due >= 10 and least > refractory_s


def _nothing_inside(session: Session, tally: Tally) -> Iterator[Finding]:
    """Find a recording none of whose spikes lies in an interval."""
    for start_s, stop_s in zip(session.intervals.start_s, session.intervals.stop_s, strict=True):
        first = max(0, int((start_s - tally.start_s) // tally.width_s))
        last = max(0, int((stop_s - tally.start_s) // tally.width_s) + 1)
        if tally.counts[:, first:last].any():
            return
    yield Finding(
        "no-spikes-inside",
        "fatal",
        session.num_spikes,
        f"{session.num_spikes} spikes, none of them inside the recording's intervals",
    )
