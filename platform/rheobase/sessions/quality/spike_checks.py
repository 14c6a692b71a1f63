"""What is wrong with a recording's units and spikes."""

# Shape legend: N units, S spikes, T seconds.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from rheobase.sessions.quality.tally import DUPLICATE_S, Tally
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import Bools, Floats, Ints, Session

SILENT_S = 5.0
"""All units of a probe silent for this long inside an interval: the probe was, not the mouse."""
MIN_RATE_FOR_SILENCE_HZ = 20.0
"""Summed rate of a probe, in its median second with spikes, below which silence may be chance
unless it lasts half an interval: then one absurd time has stretched the recording."""
MIN_SPIKES_FOR_SILENCE = 100
"""Of a probe in all, below which nothing is said of its silence."""
LOST_HZ = 0.5
"""Mean rate from which a unit's silence over a whole interval is no chance."""
LOST_SPIKES = 30.0
"""So many must be expected there: 30 of a Poisson unit fail to come once in 10^13 times."""
PRESENCE_GAP = 0.2
"""A unit may be this much less present in a block than its `presence_ratio` says."""
PRESENCE_SPIKES = 10.0
"""Expected in a presence bin, below which it may be empty by chance."""
MIN_PRESENCE_BINS = 5
"""A block of fewer presence bins says nothing of presence."""

METRIC_RANGES: Mapping[str, tuple[float, float]] = {
    "firing_rate": (0.0, 1000.0),
    "isi_violations": (0.0, np.inf),
    "presence_ratio": (0.0, 1.0),
    "amplitude_cutoff": (0.0, 1.0),
}


def check_spikes(session: Session, tally: Tally) -> Iterator[Finding]:
    """Find what is wrong with units and spikes, given their tally."""
    yield from _units(session)
    yield from _times(session, tally)
    yield from _rates(session, tally)
    yield from _silence(session, tally)
    yield from _units_lost(session, tally)
    yield from _presence(session, tally)


def _units(session: Session) -> Iterator[Finding]:
    units = session.units
    _, counts = np.unique(units.unit_id, return_counts=True)
    if (counts > 1).any():
        yield Finding(
            "unit-ids-repeated",
            "fatal",
            int((counts - 1).sum()),
            f"{len(units)} units share {len(counts)} ids",
        )
    without = np.diff(session.spike_offsets) == 0
    if without.any():
        yield Finding(
            "units-without-spikes",
            "warning",
            int(without.sum()),
            f"first is unit {units.unit_id[np.argmax(without)]}",
        )
    for name, (low, high) in METRIC_RANGES.items():
        values = units.metrics.get(name)
        if values is None:
            continue
        outside = (values < low) | (values > high)  # NaN is neither: it means not measured
        if outside.any():
            unit = int(np.argmax(outside))
            yield Finding(
                "metric-out-of-range",
                "warning",
                int(outside.sum()),
                f"{name} must lie in [{low:g}, {high:g}]; unit {units.unit_id[unit]} has "
                f"{values[unit]:g}",
            )


def _first(session: Session, amiss: Ints, wrong: Callable[[Floats], Bools]) -> str:
    """Name the first wrong spike of the first unit that has any."""
    unit = int(np.argmax(amiss > 0))
    times = session.spikes_of(unit)
    return f"first in unit {session.units.unit_id[unit]} at {times[np.argmax(wrong(times))]:g} s"


def _times(session: Session, tally: Tally) -> Iterator[Finding]:
    if num := int(tally.num_not_finite.sum()):
        where = _first(session, tally.num_not_finite, lambda times: ~np.isfinite(times))
        yield Finding("spikes-not-finite", "fatal", num, where)
    if num := int(tally.num_negative.sum()):
        where = _first(session, tally.num_negative, lambda times: times < 0)
        yield Finding("spikes-negative", "fatal", num, where)
    if num := int(tally.num_unsorted.sum()):
        where = _first(
            session, tally.num_unsorted, lambda times: np.diff(times, prepend=-np.inf) < 0
        )
        yield Finding("spikes-unsorted", "warning", num, where)
    if num := int(tally.num_duplicate.sum()):
        unit = int(np.argmax(tally.num_duplicate > 0))
        times = np.sort(session.spikes_of(unit))
        at_s = times[np.argmax(np.diff(times, prepend=-np.inf) < DUPLICATE_S)]
        yield Finding(
            "duplicate-spikes",
            "warning",
            num,
            f"closer than {DUPLICATE_S * 1000:g} ms, first in unit "
            f"{session.units.unit_id[unit]} at {at_s:g} s",
        )
    if num := int(tally.num_outside.sum()):
        unit = int(np.argmax(tally.num_outside > 0))
        times, middle_s = session.spikes_of(unit), tally.start_s + tally.duration_s / 2
        farthest_s = times[np.nanargmax(np.abs(times - middle_s))]
        yield Finding(
            "spikes-outside-session",
            "warning",
            num,
            f"the recording lasts from {tally.start_s:.10g} s to "
            f"{tally.start_s + tally.duration_s:.10g} s; unit {session.units.unit_id[unit]} fires "
            f"at {farthest_s:.10g} s",
        )


def _rates(session: Session, tally: Tally) -> Iterator[Finding]:
    stated = session.units.metrics.get("firing_rate")
    if stated is None:
        return
    counted = np.diff(session.spike_offsets) / tally.duration_s
    with np.errstate(invalid="ignore"):
        # Stated rates may leave out spikes at the ends: a tenth, or a tenth of a hertz, is close.
        wrong = np.abs(stated - counted) > np.maximum(0.1 * counted, 0.1)
    if wrong.any():
        unit = int(np.argmax(wrong))
        yield Finding(
            "firing-rate-disagrees",
            "warning",
            int(wrong.sum()),
            f"unit {session.units.unit_id[unit]} states {stated[unit]:.2f} Hz, its spikes say "
            f"{counted[unit]:.2f} Hz",
        )


def runs_of(flags: Bools) -> Ints:
    """Return (num, 2) first and past-the-last index of each run of true flags (T,)."""
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def _silence(session: Session, tally: Tally) -> Iterator[Finding]:
    """Find whole seconds in which no unit of a probe fires."""
    for probe, counts in tally.of_probe.items():
        if counts.sum() < MIN_SPIKES_FOR_SILENCE:
            continue
        busy = np.median(counts[counts > 0]) >= MIN_RATE_FOR_SILENCE_HZ * tally.width_s
        runs = []
        for start_s, stop_s in zip(
            session.intervals.start_s, session.intervals.stop_s, strict=True
        ):
            within = tally.bins_within(start_s, stop_s)
            silent = runs_of(counts[within] == 0)
            least_s = SILENT_S if busy else max(SILENT_S, (stop_s - start_s) / 2)
            long = (silent[:, 1] - silent[:, 0]) * tally.width_s >= least_s
            runs += (silent[long] + within.start).tolist()
        if runs:
            first, last = max(runs, key=lambda run: run[1] - run[0])
            yield Finding(
                "probe-silent",
                "warning",
                len(runs),
                f"no spike of any unit{f' of {probe}' if probe else ''} for "
                f"{(last - first) * tally.width_s:g} s at {tally.start_s + first * tally.width_s:g}"
                " s",
            )


def _units_lost(session: Session, tally: Tally) -> Iterator[Finding]:
    """Find units that fire in one stretch of the recording and not once in another."""
    rates, lengths = [], []
    for start_s, stop_s in zip(session.intervals.start_s, session.intervals.stop_s, strict=True):
        within = tally.bins_within(start_s, stop_s)
        lengths.append((within.stop - within.start) * tally.width_s)
        rates.append(tally.counts[:, within].sum(axis=1, dtype=np.int64))
    if not rates:  # no time that all units were recorded in
        return
    num, length_s = np.array(rates), np.array(lengths)
    silent_s = np.where(num == 0, length_s[:, None], 0.0).max(axis=0)
    elsewhere_s = length_s.sum() - silent_s
    rate_hz = num.sum(axis=0) / np.maximum(elsewhere_s, tally.width_s)
    lost = (rate_hz >= LOST_HZ) & (rate_hz * np.minimum(silent_s, elsewhere_s) >= LOST_SPIKES)
    if lost.any():
        unit = int(np.argmax(lost))
        yield Finding(
            "units-lost",
            "warning",
            int(lost.sum()),
            f"unit {session.units.unit_id[unit]} fires at {rate_hz[unit]:.1f} Hz in one interval "
            f"and never in another, of {silent_s[unit]:g} s",
        )


def _presence(session: Session, tally: Tally) -> Iterator[Finding]:
    """Find units that leave in a block although their stated presence says otherwise."""
    stated = session.units.metrics.get("presence_ratio")
    if stated is None:
        return
    wide = tally.presence_bins()
    rate_hz = tally.counts.sum(axis=1, dtype=np.int64) / tally.duration_s
    expected = rate_hz * wide * tally.width_s
    least = np.full(len(session.units), np.inf)
    for start_s, stop_s in zip(session.intervals.start_s, session.intervals.stop_s, strict=True):
        within = tally.bins_within(start_s, stop_s)
        if within.stop - within.start >= MIN_PRESENCE_BINS * wide:
            least = np.minimum(least, tally.presence(within))
    wrong = (expected >= PRESENCE_SPIKES) & (stated - least > PRESENCE_GAP)
    if wrong.any():
        unit = int(np.argmax(wrong * (stated - least)))
        yield Finding(
            "presence-disagrees",
            "warning",
            int(wrong.sum()),
            f"unit {session.units.unit_id[unit]} states a presence ratio of {stated[unit]:.2f} "
            f"and fires in {least[unit]:.0%} of a block's stretches of {wide * tally.width_s:g} s",
        )
