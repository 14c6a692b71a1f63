"""Which units are good enough, and what is wrong with a recording."""

# Shape legend: N units, S spikes, P presentations.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rheobase.core.errors import SessionError
from rheobase.sessions.nwb import STRIDE_S
from rheobase.sessions.session import Bools, Floats, Session, TrialSession

DUPLICATE_S = 0.0003
"""Two spikes of a unit closer than this are one spike found twice: no neuron is refractory less."""
SILENT_S = 5.0
"""All units together silent for this long inside an interval: the probe was, not the mouse."""
LOST_HZ = 0.5
"""Mean rate from which a unit's silence over a whole interval is no chance."""
MIN_RATE_FOR_SILENCE_HZ = 20.0
"""Summed rate below which a silence of `SILENT_S` may be chance."""


@dataclass(frozen=True)
class Threshold:
    """A metric must lie below or above a limit."""

    metric: str
    sense: Literal["<", ">"]
    limit: float

    def passes(self, values: Floats) -> Bools:
        """Tell which of the values (N,) pass; NaN never does."""
        return values < self.limit if self.sense == "<" else values > self.limit


PRESETS: Mapping[str, tuple[Threshold, ...]] = {
    # Allen Institute, Visual Behavior Neuropixels white paper: the SDK's default unit filter.
    "allen": (
        Threshold("isi_violations", "<", 0.5),
        Threshold("amplitude_cutoff", "<", 0.1),
        Threshold("presence_ratio", ">", 0.9),
    ),
    # Fabre et al., bombcell, bc_qualityParamValues: at most 20 % of spikes missing, amplitude
    # above 20 uV, trough to peak of 100 to 800 us. Its refractory estimate is not Allen's ratio
    # `isi_violations`, so that one is left out.
    "bombcell": (
        Threshold("amplitude_cutoff", "<", 0.2),
        Threshold("amplitude", ">", 20.0),
        Threshold("waveform_duration", ">", 0.1),
        Threshold("waveform_duration", "<", 0.8),
    ),
    # International Brain Laboratory, spike sorting pipeline (2022): median amplitude above
    # 50 uV, noise cutoff below 20, contamination by sliding refractory period below 10 %.
    "ibl": (
        Threshold("amplitude", ">", 50.0),
        Threshold("noise_cutoff", "<", 20.0),
        Threshold("sliding_rp_violation", "<", 0.1),
    ),
    "none": (),
}


METRIC_RANGES: Mapping[str, tuple[float, float]] = {
    "firing_rate": (0.0, 1000.0),
    "isi_violations": (0.0, np.inf),
    "presence_ratio": (0.0, 1.0),
    "amplitude_cutoff": (0.0, 1.0),
}


@dataclass(frozen=True)
class Finding:
    """Something wrong with a recording: how often, and where first."""

    check: str
    severity: Literal["fatal", "warning"]
    count: int
    detail: str


@dataclass(frozen=True, eq=False)
class Selection:
    """The session with its good units, and how many each rule dropped."""

    session: Session | TrialSession
    num_kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    not_applied: tuple[str, ...] = ()
    """Metrics of the preset that the file does not have."""


def select_units(session: Session | TrialSession, preset: str, areas: Sequence[str]) -> Selection:
    """Keep the units that pass a preset and lie in the named areas.

    A unit is counted under the first rule that drops it. A NaN metric drops its unit, counted
    as ``nan-metric``; a metric that the file does not have at all is not applied, and said.

    Parameters
    ----------
    session
        Recording with N units.
    preset
        ``allen``, ``bombcell``, ``ibl`` or ``none``.
    areas
        Prefixes of structure acronyms; empty keeps every area.

    Raises
    ------
    SessionError
        An area matches no unit of the file, or no unit is left.
    """
    units = session.units
    for area in areas:
        if not any(str(name).startswith(area) for name in units.area):
            known = ", ".join(sorted({str(name) for name in units.area if name})) or "no area"
            raise SessionError(
                f"{session.source}: data.areas must match the recording's areas, but '{area}' "
                f"matches none; it names {known}"
            )
    kept = np.ones(len(units), bool)
    dropped: dict[str, int] = {}

    def drop(rule: str, passes: Bools) -> None:
        num = int((kept & ~passes).sum())
        if num:
            dropped[rule] = dropped.get(rule, 0) + num
        np.logical_and(kept, passes, out=kept)

    not_applied: list[str] = []
    for threshold in PRESETS[preset]:
        values = units.metrics.get(threshold.metric)
        if values is None:
            not_applied.append(threshold.metric)
            continue
        drop("nan-metric", ~np.isnan(values))
        drop(
            f"{threshold.metric} not {threshold.sense} {threshold.limit:g}",
            threshold.passes(values),
        )
    if areas:
        in_area = np.array([str(name).startswith(tuple(areas)) for name in units.area], bool)
        drop("area", in_area)
    if not kept.any():
        told = ", ".join(f"{rule} {num}" for rule, num in dropped.items()) or "it has none"
        raise SessionError(
            f"{session.source}: at least 1 unit must be left by data.quality = '{preset}' and "
            f"data.areas, but 0 of {len(units)} are ({told}); loosen either"
        )
    return Selection(
        session.take_units(kept), int(kept.sum()), dropped, tuple(dict.fromkeys(not_applied))
    )


def check_session(session: Session | TrialSession) -> list[Finding]:
    """Return everything found wrong with a recording, fatal findings first.

    Fatal: no number from such a recording can be trusted. Warning: it can, once explained.
    """
    checks: tuple[Callable[[Session], Iterator[Finding]], ...] = (
        _check_units,
        _check_spikes,
        _check_rates,
        _check_silence,
        _check_units_lost,
        _check_presentations,
        _check_changes,
        _check_intervals,
        _check_blocks,
    )
    found = list(_check_emptiness(session))
    if isinstance(session, Session) and not found:
        found += [finding for check in checks for finding in check(session)]
    return sorted(found, key=lambda finding: finding.severity != "fatal")


def _check_emptiness(session: Session | TrialSession) -> Iterator[Finding]:
    if len(session.units) == 0:
        yield Finding("no-units", "fatal", 0, "the units table is empty")
    elif session.num_spikes == 0:
        yield Finding("no-spikes", "fatal", 0, f"{len(session.units)} units hold no spike")


def _check_units(session: Session) -> Iterator[Finding]:
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


def _first(session: Session, wrong: Bools) -> str:
    """Name the unit and place of the first wrong spike (S,)."""
    spike = int(np.argmax(wrong))
    unit = int(np.searchsorted(session.spike_offsets, spike, side="right") - 1)
    return f"first in unit {session.units.unit_id[unit]} at {session.spike_times_s[spike]:g} s"


def _check_spikes(session: Session) -> Iterator[Finding]:
    times = session.spike_times_s
    finite = np.isfinite(times)
    if not finite.all():
        yield Finding("spikes-not-finite", "fatal", int((~finite).sum()), _first(session, ~finite))
    negative = times < 0
    if negative.any():
        yield Finding("spikes-negative", "fatal", int(negative.sum()), _first(session, negative))

    steps = np.diff(times, prepend=-np.inf)
    steps[session.spike_offsets[:-1][np.diff(session.spike_offsets) > 0]] = np.inf
    unsorted = steps < 0
    if unsorted.any():
        yield Finding("spikes-unsorted", "warning", int(unsorted.sum()), _first(session, unsorted))
    duplicate = (steps >= 0) & (steps < DUPLICATE_S)
    if duplicate.any():
        yield Finding(
            "duplicate-spikes",
            "warning",
            int(duplicate.sum()),
            f"closer than {DUPLICATE_S * 1000:g} ms, {_first(session, duplicate)}",
        )
    if not len(session.presentations):
        # Intervals of a presented recording cover its blocks alone; elsewhere all of it.
        outside = times > session.intervals.stop_s.max()
        if outside.any():
            yield Finding(
                "spikes-outside-session", "warning", int(outside.sum()), _first(session, outside)
            )


def _check_rates(session: Session) -> Iterator[Finding]:
    stated = session.units.metrics.get("firing_rate")
    if stated is None:
        return
    times = session.spike_times_s[np.isfinite(session.spike_times_s)]
    span_s = float(times.max(initial=0) - min(times.min(initial=0), 0))
    counted = np.diff(session.spike_offsets) / max(span_s, 1e-9)
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


def _check_silence(session: Session) -> Iterator[Finding]:
    times = np.sort(session.spike_times_s[np.isfinite(session.spike_times_s)])
    longest, at_s, num = 0.0, 0.0, 0
    for start_s, stop_s in zip(session.intervals.start_s, session.intervals.stop_s, strict=True):
        inside = times[(times >= start_s) & (times < stop_s)]
        if len(inside) < MIN_RATE_FOR_SILENCE_HZ * (stop_s - start_s):
            continue
        edges = np.concatenate([[start_s], inside, [stop_s]])
        gaps = np.diff(edges)
        num += int((gaps > SILENT_S).sum())
        if gaps.max() > longest:
            longest, at_s = float(gaps.max()), float(edges[gaps.argmax()])
    if num:
        yield Finding(
            "probe-silent",
            "warning",
            num,
            f"no spike of any unit for {longest:.1f} s at {at_s:g} s",
        )


def _check_units_lost(session: Session) -> Iterator[Finding]:
    """Find units that fire in one stretch of the recording and not once in another."""
    rates = []
    for start_s, stop_s in zip(session.intervals.start_s, session.intervals.stop_s, strict=True):
        inside = (session.spike_times_s >= start_s) & (session.spike_times_s < stop_s)
        ends = np.concatenate([[0], np.cumsum(inside)])[session.spike_offsets]
        rates.append(np.diff(ends) / (stop_s - start_s))
    least, most = np.min(rates, axis=0), np.max(rates, axis=0)
    lost = (least == 0) & (most >= LOST_HZ)
    if lost.any():
        unit = int(np.argmax(lost))
        yield Finding(
            "units-lost",
            "warning",
            int(lost.sum()),
            f"unit {session.units.unit_id[unit]} fires at {most[unit]:.1f} Hz in one interval and "
            "never in another",
        )


def _check_presentations(session: Session) -> Iterator[Finding]:
    flashes = session.presentations
    if not len(flashes):
        return
    not_finite = ~np.isfinite(flashes.start_s)
    if not_finite.any():
        yield Finding(
            "presentations-not-finite",
            "fatal",
            int(not_finite.sum()),
            f"presentation {int(np.argmax(not_finite))} has no onset",
        )
        return
    backward = flashes.stop_s < flashes.start_s  # an omission may have no end: NaN
    if backward.any():
        yield Finding(
            "presentations-backward",
            "fatal",
            int(backward.sum()),
            f"presentation {int(np.argmax(backward))} stops before it starts",
        )
    named = flashes.image != "omitted"
    flagged = flashes.omitted == named
    if flagged.any():
        yield Finding(
            "omission-disagrees",
            "warning",
            int(flagged.sum()),
            f"presentation {int(np.argmax(flagged))} is '{flashes.image[np.argmax(flagged)]}' but "
            f"omitted is {bool(flashes.omitted[np.argmax(flagged)])}",
        )
    steps_s = np.diff(flashes.start_s)
    backward = ~(steps_s > 0)
    if backward.any():
        yield Finding(
            "presentations-unordered",
            "fatal",
            int(backward.sum()),
            f"presentation {int(np.argmax(backward)) + 1} starts at "
            f"{flashes.start_s[np.argmax(backward) + 1]:g} s, not after the one before it",
        )
        return
    overlap = flashes.stop_s[:-1] > flashes.start_s[1:]
    if overlap.any():
        yield Finding(
            "presentations-overlap",
            "fatal",
            int(overlap.sum()),
            f"presentation {int(np.argmax(overlap))} stops after the next one starts",
        )
    same_block = flashes.block[1:] == flashes.block[:-1]
    named = flashes.image[1:] != ""
    off = same_block & named & (np.abs(steps_s - STRIDE_S) > 0.1 * STRIDE_S)
    if off.any():
        yield Finding(
            "flash-stride",
            "warning",
            int(off.sum()),
            f"{STRIDE_S} s from onset to onset must hold; {steps_s[np.argmax(off)]:.3f} s at "
            f"{flashes.start_s[np.argmax(off)]:g} s",
        )


def _check_changes(session: Session) -> Iterator[Finding]:
    """Find flashes whose change flag is not what their block's images say."""
    flashes = session.presentations
    wrong = []
    for block in np.unique(flashes.block):
        shown = np.flatnonzero((flashes.block == block) & ~flashes.omitted & (flashes.image != ""))
        changes = flashes.image[shown[1:]] != flashes.image[shown[:-1]]
        wrong += shown[1:][flashes.is_change[shown[1:]] != changes].tolist()
    if wrong and flashes.is_change.any():
        yield Finding(
            "change-disagrees",
            "warning",
            len(wrong),
            f"presentation {wrong[0]} says is_change {bool(flashes.is_change[wrong[0]])}, its "
            "image and the one before say otherwise",
        )


def _check_intervals(session: Session) -> Iterator[Finding]:
    intervals = session.intervals
    if len(intervals) < 2:
        return
    overlap = intervals.start_s[1:] < intervals.stop_s[:-1]
    if overlap.any():
        first = int(np.argmax(overlap))
        yield Finding(
            "blocks-overlap",
            "fatal",
            int(overlap.sum()),
            f"one ends at {intervals.stop_s[first]:g} s, the next starts at "
            f"{intervals.start_s[first + 1]:g} s: spikes would be counted twice",
        )
    mixed = [
        int(block)
        for block in np.unique(session.presentations.block)
        if len(np.unique(session.presentations.active[session.presentations.block == block])) > 1
    ]
    if mixed:
        yield Finding(
            "block-of-two-states",
            "fatal",
            len(mixed),
            f"block {mixed[0]} holds active and passive presentations",
        )


def _check_blocks(session: Session) -> Iterator[Finding]:
    flashes = session.presentations
    if not len(flashes) or not (flashes.image != "").any():
        return
    missing = [
        name
        for name, there in (("active", flashes.active), ("passive", ~flashes.active))
        if not there.any()
    ]
    if missing:
        yield Finding(
            "active-passive-missing",
            "warning",
            len(missing),
            f"no {' and no '.join(missing)} block: nothing can be said across states",
        )
        return
    active, replay = flashes.image[flashes.active], flashes.image[~flashes.active]
    num = min(len(active), len(replay))
    differing = int((active[:num] != replay[:num]).sum()) + abs(len(active) - len(replay))
    if differing:
        yield Finding(
            "replay-differs",
            "warning",
            differing,
            f"{len(active)} active and {len(replay)} passive flashes are not the same images in "
            "the same order",
        )
