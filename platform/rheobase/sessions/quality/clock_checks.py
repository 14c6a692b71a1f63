"""Whether a recording's times can be seconds of one clock that never goes back."""

# Shape legend: N units, S spikes.

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from rheobase.sessions.quality.tally import DUPLICATE_S, Tally
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import Bools, Floats, Session

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
LEAST_LENGTH_S = 20.0
"""Of a recording, for its times to be taken for those of a finer unit: less cannot be split."""
BACK_S, BACK_SHARE = 1.0, 0.05
"""A step back of a unit's times, in seconds and as a share of all of them: a clock that began
again, not spikes out of order."""
MOST_STEPS_BACK, BACK_STEPS_SHARE = 5, 0.1
"""Of a unit, as a number or as a share of its steps; more are spikes in no order."""
LEAST_UNITS_BACK = 2
"""Units whose times fall, from which it is told where they are fewer than half."""
CLOCKS_APART, FEW_APART = 100.0, 0.25
"""Units that end so many times later than others have another clock; fewer than this share of all
are left alone by the others' times, and spoil nothing but themselves."""
EMPTY_TIMES, DUE_SPIKES = 10.0, 1000.0
"""Intervals so many times as long as the spikes in them, and so many due in the rest: the stated
length is wrong."""


def check_clock(session: Session, tally: Tally) -> Iterator[Finding]:
    """Find times that are no seconds, clocks of other units, and a clock that goes back."""
    yield from _clock_back(session, tally)
    yield from _clocks_apart(session)
    if session.num_spikes >= LEAST_SPIKES:
        yield from _unit_of_time(session)
    yield from _nothing_inside(session, tally)
    yield from _empty_length(session, tally)


def _clock_back(session: Session, tally: Tally) -> Iterator[Finding]:
    """Find units whose times fall by much, a few times at most: a clock that began again."""
    firing = np.diff(session.spike_offsets) >= 2
    fallen = np.zeros(len(firing), bool)
    last_s, first_s = -np.inf, np.inf
    for unit in np.flatnonzero((tally.num_unsorted > 0) & firing).tolist():
        times = session.spikes_of(unit)
        times = times[np.isfinite(times)]
        steps = np.diff(times)
        back = -steps >= max(BACK_S, BACK_SHARE * float(np.ptp(times)))
        num = int(back.sum())
        if not num or (
            tally.num_unsorted[unit] > MOST_STEPS_BACK and num > BACK_STEPS_SHARE * len(steps)
        ):
            continue
        at = int(np.argmin(steps))
        fallen[unit] = True
        last_s, first_s = max(last_s, float(times[at])), min(first_s, float(times[at + 1]))
    of_probes = [fallen[firing & (session.units.probe == name)] for name in
                 np.unique(session.units.probe[firing])]  # fmt: skip
    sure = 2 * fallen.sum() >= firing.sum() or any(
        len(one) >= LEAST_UNITS_BACK and one.all() for one in of_probes
    )
    if not fallen.any() or not (sure or fallen.sum() >= LEAST_UNITS_BACK):
        return
    likely = (
        "the clock began again, and two recordings lie over each other; write each as a file of "
        "its own"
        if sure
        else "a clock that began again, or units merged from several; write them again in order"
    )
    yield Finding(
        "clock-goes-back",
        "fatal" if sure else "warning",
        int(fallen.sum()),
        f"times of {int(fallen.sum())} of {int(firing.sum())} units fall from {last_s:.10g} s to "
        f"{first_s:.10g} s: {likely}",
    )


def _clocks_apart(session: Session) -> Iterator[Finding]:
    """Find units whose times are of another unit of time than the others'."""
    _, rates_hz, lasts_s = _rates_and_ends(session)
    there = np.isfinite(lasts_s) & (lasts_s > 0) & (rates_hz > 0)
    order = np.argsort(lasts_s[there])
    lasts_s, rates_hz = lasts_s[there][order], rates_hz[there][order]
    if len(lasts_s) < 2:
        return
    border = int(np.argmax(lasts_s[1:] / lasts_s[:-1])) + 1
    ratio = float(np.median(lasts_s[border:]) / np.median(lasts_s[:border]))
    if lasts_s[border] < CLOCKS_APART * lasts_s[border - 1]:
        return
    slow_hz, fast_hz = (float(np.median(r)) for r in (rates_hz[border:], rates_hz[:border]))
    name = min(SCALES, key=lambda one: abs(math.log(ratio / SCALES[one])))
    if (
        abs(ratio / SCALES[name] - 1) > CLOSE
        or slow_hz >= LIKELY_HZ[0]
        or not (LIKELY_HZ[0] <= slow_hz * SCALES[name] <= LIKELY_HZ[1] and fast_hz <= LIKELY_HZ[1])
    ):
        return
    num = len(lasts_s) - border
    yield Finding(
        "clocks-of-units-differ",
        "warning" if num < FEW_APART * len(lasts_s) else "fatal",
        num,
        f"times of {num} of {len(lasts_s)} units end at {np.median(lasts_s[border:]):.10g} s and "
        f"of the others at {np.median(lasts_s[:border]):.10g} s: those are likely {name}; divide "
        f"them by {SCALES[name]:g}, and write the file again",
    )


def _empty_length(session: Session, tally: Tally) -> Iterator[Finding]:
    """Find intervals that last many times as long as there are spikes in them."""
    per_bin = tally.counts.sum(axis=0, dtype=np.int64)
    busy = np.flatnonzero(per_bin)
    if not len(busy):
        return
    start_s, stop_s = session.intervals.start_s.min(), session.intervals.stop_s.max()
    first_s = tally.start_s + busy[0] * tally.width_s
    last_s = tally.start_s + (busy[-1] + 1) * tally.width_s
    length_s, spikes_s = float(stop_s - start_s), float(last_s - first_s)
    due = per_bin.sum() / spikes_s * (length_s - spikes_s)
    if length_s < EMPTY_TIMES * spikes_s or due < DUE_SPIKES:
        return
    inside = session.spike_times_s[np.isfinite(session.spike_times_s)]
    ends = inside[(inside >= first_s) & (inside <= last_s)]
    first_s, last_s = float(ends.min()), float(ends.max())
    name = min(SCALES, key=lambda one: abs(math.log(stop_s / max(last_s, 1e-9) / SCALES[one])))
    is_near = abs(stop_s / max(last_s, 1e-9) / SCALES[name] - 1) < CLOSE
    likely = f"; the ends are likely {name}" if is_near else ""
    yield Finding(
        "length-without-spikes",
        "fatal",
        1,
        f"the recording or its states are said to last from {start_s:.10g} s to {stop_s:.10g} s, "
        f"but its spikes lie from {first_s:.10g} s to {last_s:.10g} s{likely}; repair the stated "
        "ends, in seconds",
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
        ratio = events_s / max(last_s, 1e-9)
        name = min(SCALES, key=lambda one: abs(math.log(ratio / SCALES[one])))
        if abs(ratio / SCALES[name] - 1) < CLOSE:
            yield Finding(
                "events-not-in-seconds",
                "fatal",
                1,
                f"events, states or behaviour end at {events_s:.10g} s and spikes at {last_s:g} s: "
                f"their times are likely {name}; divide them, and write the file again",
            )


def _typical(session: Session) -> tuple[float, float]:
    """Return the median unit's rate, and about when its last spike comes."""
    rated, rates_hz, lasts_s = _rates_and_ends(session)
    if not rated.any():
        return np.nan, np.nan
    return float(np.median(rates_hz[rated])), float(np.nanmedian(lasts_s))


def _rates_and_ends(session: Session) -> tuple[Bools, Floats, Floats]:
    """Return of units with spikes enough which have a rate, their rates, and about their last.

    Both between shares of each unit's spikes: a few of another clock decide nothing.
    """
    counts = np.diff(session.spike_offsets)
    firing = np.flatnonzero(counts >= LEAST_OF_UNIT)
    begins, num = session.spike_offsets[firing], counts[firing]
    low, high = (
        session.spike_times_s[begins + (share * (num - 1)).astype(np.int64)] for share in ENDS
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        rates_hz = (ENDS[1] - ENDS[0]) * num / (high - low)
    return np.isfinite(rates_hz) & (rates_hz > 0), rates_hz, high


def _likely(rate_hz: float, last_s: float, events_s: float | None) -> str | None:
    """Return the unit in which the events end with the spikes, or else rates are most usual."""
    fitting = []
    for name, scale in SCALES.items():
        if not LIKELY_HZ[0] <= rate_hz * scale <= LIKELY_HZ[1]:
            continue
        off = abs(math.log(rate_hz * scale / USUAL_HZ))
        if events_s is None and (name not in WITHOUT_EVENTS or last_s / scale < LEAST_LENGTH_S):
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
