"""When a recording begins and ends, from its spikes or its blocks."""

# Shape legend: N units, S spikes, P presentations, I blocks.

from __future__ import annotations

import itertools
import math

import numpy as np

from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import (
    ACTIVE,
    PASSIVE,
    Floats,
    Intervals,
    Ints,
    Presentations,
)
from rheobase.sessions.visual_behavior import STRIDE_S

SAMPLED = 100_000
"""Spikes, evenly taken, that tell where most of a recording lies."""
LEAST_SPIKES = 100
"""Of a recording, below which none is called far from the others."""
FAR_SHARE = 1e-2
"""So few of all spikes at most, or one, may be left out for being far from all others."""
BULK = (0.015, 0.985)
"""Shares of all spikes between which the time that all of them take is told."""
LEAST_EMPTY_S = 60.0
"""Without a spike between them and the others, and as long as all of the others take."""
OTHER_CLOCK = 100.0
"""A unit that lasts so many times as long as the median unit has another clock."""
OTHER_CLOCK_SHARE = 0.25
"""Of the spikes at most may be of such units; else nobody knows which clock is right."""
LATE_S, LATE_SPIKES = 10.0, 1000.0
"""A first spike later than this, where so many were due before it: recording began later."""


def extent_of(spikes_s: Floats, offsets: Ints) -> tuple[float, float, list[Finding]]:
    """Return when a recording begins and ends, in seconds, and what is told of it.

    It begins at 0, unless the silence before the first spike cannot be chance: then at the whole
    second before that. It ends with the last spike that is not absurdly far from the others.

    Parameters
    ----------
    spikes_s
        (S,) seconds, unit after unit.
    offsets
        (N + 1,) where each unit's spikes begin.

    Notes
    -----
    Spikes left out lie outside the interval, which the check ``spikes-outside-session`` tells.
    """
    inside = _bulk(spikes_s, offsets)
    first, last = (float(end) for end in (inside.min(initial=np.inf), inside.max(initial=0.0)))
    stop_s = float(np.nextafter(max(last, 0.0), np.inf))
    if not len(inside) or last <= first:
        return 0.0, stop_s, []
    due = first * len(inside) / (last - first)
    if first < LATE_S or due < LATE_SPIKES:
        return 0.0, stop_s, []
    start_s = float(math.floor(first))
    late = Finding(
        "clock-starts-late",
        "warning",
        1,
        f"the first spike is at {first:.10g} s: the recording is taken to begin at {start_s:.10g}"
        " s",
    )
    return start_s, stop_s, [late]


def _bulk(spikes_s: Floats, offsets: Ints) -> Floats:
    """Return the spikes that are finite and not far from all others."""
    least, most = float(spikes_s.min(initial=0.0)), float(spikes_s.max(initial=0.0))
    if not (math.isfinite(least) and math.isfinite(most)):
        lengths = np.diff(offsets)
        finite = np.isfinite(spikes_s)
        unit = np.repeat(np.arange(len(lengths)), lengths)[finite]
        spikes_s = spikes_s[finite]
        counts = np.bincount(unit, minlength=len(lengths))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if len(spikes_s) < LEAST_SPIKES:
        return spikes_s
    firing = np.flatnonzero(np.diff(offsets))
    lasts = np.maximum.reduceat(spikes_s, offsets[firing])
    typical = float(np.median(lasts))
    if lasts.max() > OTHER_CLOCK * typical > 0:
        of_others = np.zeros(len(offsets) - 1, bool)
        of_others[firing] = lasts > OTHER_CLOCK * typical
        ours = ~np.repeat(of_others, np.diff(offsets))
        if ours.mean() >= 1 - OTHER_CLOCK_SHARE:
            spikes_s = spikes_s[ours]
    sample = np.sort(spikes_s[:: max(1, len(spikes_s) // SAMPLED)])
    low, high = (float(np.quantile(sample, share, method="nearest")) for share in BULK)
    reach = max(high - low, LEAST_EMPTY_S)
    if spikes_s.max() <= high + reach and spikes_s.min() >= low - reach:
        return spikes_s
    ordered = np.sort(spikes_s)
    allowed = max(1, int(FAR_SHARE * len(ordered)))
    first, end = 0, len(ordered)
    wide = np.flatnonzero(np.diff(ordered) > reach) + 1  # the first spike after an empty stretch
    for border in wide:
        if border <= allowed:
            first = int(border)
        elif len(ordered) - border <= allowed:
            end = int(border)
            break
    return ordered[first:end]


def whole_of(spikes_s: Floats, offsets: Ints) -> tuple[Intervals, list[Finding]]:
    """Return a recording as one interval of no named state, and what is told of its ends."""
    start_s, stop_s, told = extent_of(spikes_s, offsets)
    return Intervals(np.array([start_s]), np.array([stop_s]), np.array([""])), told


def blocks_of(presentations: Presentations) -> Intervals:
    """Return one interval a stimulus block (I,), from its first onset to a stride after its last.

    A missing onset, and a row without a block, are findings and no border.
    """
    there = np.isfinite(presentations.start_s) & (presentations.block >= 0)
    blocks = np.unique(presentations.block[there])
    rows = [np.flatnonzero(there & (presentations.block == block)) for block in blocks]
    rows.sort(key=lambda row: float(presentations.start_s[row].min()))

    def state(first: int) -> str:
        if not presentations.states_known:
            return ""
        return ACTIVE if presentations.active[first] else PASSIVE

    return Intervals(
        np.array([presentations.start_s[row].min() for row in rows], np.float64),
        np.array([presentations.start_s[row].max() + STRIDE_S for row in rows], np.float64),
        np.array([state(row[0]) for row in rows], np.str_),
    )


def without_spurious_omissions(
    presentations: Presentations,
) -> tuple[Presentations, list[Finding]]:
    """Leave out omissions that come long before a block's first image (P), and count them.

    Some sessions of the Allen release begin with one (AllenSDK, issue 2577): nothing can be
    omitted before anything was shown.
    """
    keep = np.ones(len(presentations), bool)
    for block in np.unique(presentations.block):
        rows = np.flatnonzero(presentations.block == block)
        for row, following in itertools.pairwise(rows):
            step_s = presentations.start_s[following] - presentations.start_s[row]
            if not presentations.omitted[row] or not step_s > 1.5 * STRIDE_S:
                break
            keep[row] = False
    if keep.all():
        return presentations, []
    first = presentations.start_s[np.argmin(keep)]
    told = Finding(
        "omission-spurious",
        "warning",
        int((~keep).sum()),
        f"an omission at {first:g} s, before anything was shown in its block: left out",
    )
    return presentations.take(keep), [told]
