"""What is wrong with a recording's presentations, blocks and behaviour."""

# Shape legend: P presentations, I intervals, L samples of a signal.

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import ACTIVE, OMITTED, PASSIVE, Session, Signal

MAX_GAP_S: Mapping[str, float] = {"running": 1.0, "pupil": 5.0}
"""Longest stretch without a sample: the wheel is read at 60 Hz without pause, eyes blink."""


def check_events(session: Session) -> Iterator[Finding]:
    """Find what is wrong with presentations, blocks and signals of behaviour."""
    yield from _presentations(session)
    yield from _changes(session)
    yield from _intervals(session)
    yield from _blocks(session)
    for name, signal in session.signals.items():
        yield from _signal(session, name, signal)


def _presentations(session: Session) -> Iterator[Finding]:
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
    named = flashes.image != OMITTED
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
    if flashes.stride_s is None:
        return
    same_block = flashes.block[1:] == flashes.block[:-1]
    off = same_block & (np.abs(steps_s - flashes.stride_s) > 0.1 * flashes.stride_s)
    if off.any():
        yield Finding(
            "flash-stride",
            "warning",
            int(off.sum()),
            f"{flashes.stride_s} s from onset to onset must hold; {steps_s[np.argmax(off)]:.3f} s "
            f"at {flashes.start_s[np.argmax(off)]:g} s",
        )


def _changes(session: Session) -> Iterator[Finding]:
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


def _intervals(session: Session) -> Iterator[Finding]:
    intervals = session.intervals
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
    flashes = session.presentations
    without = flashes.block < 0
    if flashes.stride_s is not None and without.any():
        yield Finding(
            "presentations-without-block",
            "fatal",
            int(without.sum()),
            f"presentation {int(np.argmax(without))} names no block of the Visual Behavior layout",
        )
    mixed = [
        int(block)
        for block in np.unique(flashes.block[~without])
        if len(np.unique(flashes.active[flashes.block == block])) > 1
    ]
    if mixed:
        yield Finding(
            "block-of-two-states",
            "fatal",
            len(mixed),
            f"block {mixed[0]} holds active and passive presentations",
        )


def _blocks(session: Session) -> Iterator[Finding]:
    """Find an active or passive state that is missing, or a passive block that is no replay."""
    flashes = session.presentations
    if not len(flashes) or not np.isin(session.intervals.state, [ACTIVE, PASSIVE]).any():
        return
    missing = [name for name in (ACTIVE, PASSIVE) if name not in session.intervals.state]
    if missing:
        yield Finding(
            "active-passive-missing",
            "warning",
            len(missing),
            f"no {' and no '.join(missing)} block: nothing can be said across states",
        )
        return
    if flashes.stride_s is None:
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


def _signal(session: Session, name: str, signal: Signal) -> Iterator[Finding]:
    backward = np.diff(signal.time_s) < 0 if signal.is_events else ~(np.diff(signal.time_s) > 0)
    if backward.any():
        first = int(np.argmax(backward))
        yield Finding(
            "signal-unsorted",
            "warning",
            int(backward.sum()),
            f"{name}: sample {first + 1} is at {signal.time_s[first + 1]:g} s, not after the one "
            "before it",
        )
        return
    if name not in MAX_GAP_S:  # nobody knows how often a signal of a user's own is taken
        return
    there_s = signal.time_s[np.isfinite(signal.value)]
    longest_s, at_s, num = 0.0, 0.0, 0
    for start_s, stop_s in zip(session.intervals.start_s, session.intervals.stop_s, strict=True):
        inside = there_s[(there_s >= start_s) & (there_s <= stop_s)]
        edges = np.concatenate([[start_s], inside, [stop_s]])
        gaps = np.diff(edges)
        num += int((gaps > MAX_GAP_S[name]).sum())
        if gaps.max() > longest_s:
            longest_s, at_s = float(gaps.max()), float(edges[gaps.argmax()])
    if num:
        yield Finding(
            "signal-gap",
            "warning",
            num,
            f"no sample of {name} for {longest_s:.1f} s at {at_s:g} s; at most "
            f"{MAX_GAP_S[name]:g} s must hold inside an interval",
        )
