"""Time that was not observed: what a file calls invalid, and what units were not recorded in."""

# Shape legend: N units.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rheobase.core.errors import SessionError
from rheobase.sessions.readers.units import merged
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import Floats, Intervals, Observed, Strings

Invalid = tuple[float, float, str]
EVERY_PROBE = ("", "all_probes", "all", "EcephysSession")
"""How tags of invalid times say that they are of every probe."""


def what_was_observed(
    where: str,
    probe: Strings,
    intervals: Intervals,
    observed: Observed | None,
    invalid: Sequence[Invalid],
) -> tuple[Intervals, Observed | None, list[Finding]]:
    """Return what of the intervals was observed, when each unit was where they differ, and holes.

    Parameters
    ----------
    where
        What errors name.
    probe
        (N,) of the units.
    intervals
        What could be binned.
    observed
        When each unit was recorded, where the file says so.
    invalid
        Stretches of which nothing may be used: start and stop in seconds, and tags, joined by
        commas, which may name a probe.

    Raises
    ------
    SessionError
        Nothing is left.
    """
    told: list[Finding] = []
    probes = {str(name) for name in probe}
    of_probe: dict[str, list[tuple[float, float]]] = {}
    of_all: list[tuple[float, float]] = []
    for start_s, stop_s, tags in invalid:
        named = [tag for tag in tags.split(", ") if tag in probes and tag not in EVERY_PROBE]
        for name in named:
            of_probe.setdefault(name, []).append((start_s, stop_s))
        if not named:
            of_all.append((start_s, stop_s))
    before = intervals
    if of_all:
        intervals = intervals.within(*rest_of(of_all))
    observed = _without(probe, observed, of_probe, intervals)
    if observed is not None and _is_same_of_all(observed):
        intervals, observed = intervals.within(*observed.of(0)), None
    if not len(intervals):
        raise SessionError(
            f"{where}: some time must be left that obs_intervals and invalid_times admit, "
            "but none is; repair the tables"
        )
    lost_s = float(
        (before.stop_s - before.start_s).sum() - (intervals.stop_s - intervals.start_s).sum()
    )
    if lost_s > 0:
        told.append(_hole(before, intervals, lost_s))
    return intervals, observed, told


def _hole(before: Intervals, after: Intervals, lost_s: float) -> Finding:
    """Tell of the first stretch that lies in an interval and was not observed."""
    edges = [(float(b), float(e)) for b, e in zip(after.start_s, after.stop_s, strict=True)]
    start_s, stop_s = float(before.start_s[0]), float(before.stop_s[-1])
    for begin, end in edges:
        if begin > start_s:
            stop_s = begin
            break
        start_s = end
    return Finding(
        "time-not-observed",
        "warning",
        1,
        f"{lost_s:g} s are left out, which obs_intervals or invalid_times exclude: the first from "
        f"{start_s:g} s to {stop_s:g} s",
    )


def _without(
    probe: Strings,
    observed: Observed | None,
    of_probe: Mapping[str, list[tuple[float, float]]],
    intervals: Intervals,
) -> Observed | None:
    """Return when each unit was observed, without what is invalid of its probe."""
    num = len(probe)
    if not of_probe:
        return observed
    if observed is None:
        ends = np.arange(num + 1, dtype=np.int64)
        first_s, last_s = intervals.start_s.min(), intervals.stop_s.max()
        observed = Observed(np.full(num, first_s), np.full(num, last_s), ends)
    starts, stops, counts = [], [], []
    for unit in range(num):
        begin, end = observed.of(unit)
        own = Intervals(begin, end, np.full(len(begin), ""))
        if invalid := of_probe.get(str(probe[unit])):
            own = own.within(*rest_of(invalid))
        starts.append(own.start_s)
        stops.append(own.stop_s)
        counts.append(len(own))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return replace(
        observed,
        start_s=np.concatenate(starts),
        stop_s=np.concatenate(stops),
        offsets=offsets,
    )


def _is_same_of_all(observed: Observed) -> bool:
    first = tuple(map(tuple, observed.of(0))) if len(observed.offsets) > 1 else ()
    num = len(observed.offsets) - 1
    return num > 0 and all(tuple(map(tuple, observed.of(n))) == first for n in range(1, num))


def rest_of(stretches: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    """Return the starts and stops of all time that lies in none of the stretches."""
    taken = merged(np.array(stretches, np.float64).reshape(-1, 2))
    return np.append(-np.inf, taken[:, 1]), np.append(taken[:, 0], np.inf)
