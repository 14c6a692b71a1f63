"""One session out of several files: probes that were recorded together, on one clock."""

# Shape legend: N units, I intervals.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path

import numpy as np

from rheobase.core.digest import digest
from rheobase.core.errors import SessionError
from rheobase.sessions.records.session import (
    Floats,
    Intervals,
    Observed,
    Presentations,
    Session,
    Signal,
    Strings,
    Units,
)

SAME_S = 1e-3
"""Files of one session may state its presentations and states this far apart."""


def joined(sessions: Sequence[Session], address: str) -> Session:
    """Return the units of several files as one session.

    Parameters
    ----------
    sessions
        As each file's reader gave them, two at least.
    address
        What errors name.

    Returns
    -------
    Units stand one file after another, under their own ids where all differ, else numbered from 0
    with their ids as the metric ``id_in_file``; a unit without a probe has its file's name for one.
    Its time is what all files recorded. States, presentations and behaviour are those of the
    file that has them.

    Raises
    ------
    SessionError
        The files have no time in common, or do not say the same of states or presentations.
    """
    intervals = reduce(lambda a, b: _common(a, b, address), [one.intervals for one in sessions])
    if not len(intervals):
        spans = ", ".join(
            f"{Path(one.source).name} {one.intervals.start_s.min():g} to "
            f"{one.intervals.stop_s.max():g} s"
            for one in sessions
        )
        raise SessionError(
            f"{address}: files of one session must have recorded at the same time, on one clock, "
            f"but have no time in common: {spans}; recordings one after another are sessions of "
            "their own: name them apart"
        )
    signals: dict[str, Signal] = {}
    for one in sessions:
        signals = dict(one.signals) | signals
    ends = np.cumsum([0, *(one.num_spikes for one in sessions)])
    offsets = [one.spike_offsets[1:] + end for one, end in zip(sessions, ends, strict=False)]
    known = [one.true_latents for one in sessions if one.true_latents is not None]
    return Session(
        session_id=sessions[0].session_id,
        source=address,
        data_digest=digest([one.data_digest for one in sessions]),
        units=_units(sessions),
        spike_times_s=np.concatenate([one.spike_times_s for one in sessions]),
        spike_offsets=np.concatenate([[0], *offsets]).astype(np.int64),
        intervals=intervals,
        presentations=_presentations(sessions, address),
        signals=signals,
        true_latents=known[0] if known else None,
        observed=_observed(sessions),
        remarks=tuple(remark for one in sessions for remark in one.remarks),
    )


def _common(a: Intervals, b: Intervals, address: str) -> Intervals:
    """Return the time of both, in the states of whichever names any."""
    named_a, named_b = (bool(one.state.astype(bool).any()) for one in (a, b))
    if named_b and not named_a:
        a, b = b, a
    within = a.within(b.start_s, b.stop_s)
    if named_a and named_b:
        within, other = _longer(within), _longer(b.within(a.start_s, a.stop_s))
        if within.state.tolist() != other.state.tolist():
            raise SessionError(
                f"{address}: files of one session must name the same states at the same time, but "
                f"one names {_told(a.state)} and another {_told(b.state)}; repair one, or leave "
                "the states out of it"
            )
    return within


def _longer(intervals: Intervals) -> Intervals:
    """Return those that are no slivers between edges which two files state a little apart."""
    kept = intervals.stop_s - intervals.start_s > SAME_S
    return Intervals(intervals.start_s[kept], intervals.stop_s[kept], intervals.state[kept])


def _told(states: Strings) -> str:
    return ", ".join(dict.fromkeys(str(one) or "none" for one in states))


def _units(sessions: Sequence[Session]) -> Units:
    ids = np.concatenate([one.units.unit_id for one in sessions])
    metrics = _columns([one.units.metrics for one in sessions], sessions, np.nan)
    if len(np.unique(ids)) < len(ids):
        metrics["id_in_file"] = ids.astype(np.float64)
        ids = np.arange(len(ids))
    probes = []
    for one in sessions:
        name = Path(one.source).name.partition(".")[0]
        probes.append(np.where(one.units.probe == "", name, one.units.probe))
    return Units(
        ids,
        np.concatenate([one.units.area for one in sessions]),
        np.concatenate(probes),
        metrics,
        _columns([one.units.labels for one in sessions], sessions, ""),
    )


def _columns(
    tables: Sequence[Mapping[str, np.ndarray]], sessions: Sequence[Session], missing: float | str
) -> dict[str, np.ndarray]:
    """Return the columns (N,) of all files, `missing` where a file has none."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {
        name: np.concatenate(
            [
                table.get(name, np.full(len(one.units), missing))
                for table, one in zip(tables, sessions, strict=True)
            ]
        )
        for name in names
    }


def _presentations(sessions: Sequence[Session], address: str) -> Presentations:
    having = [one for one in sessions if len(one.presentations)]
    if not having:
        return sessions[0].presentations
    first = having[0].presentations
    for other in having[1:]:
        shown = other.presentations
        same = len(shown) == len(first) and bool(
            np.allclose(shown.start_s, first.start_s, rtol=0, atol=SAME_S, equal_nan=True)
            and (shown.image == first.image).all()
        )
        if not same:
            raise SessionError(
                f"{address}: files of one session must hold the same presentations, but "
                f"{Path(having[0].source).name} has {len(first)} and {Path(other.source).name} "
                f"{len(shown)}, or at other times; leave them out of one"
            )
    return first


def _observed(sessions: Sequence[Session]) -> Observed | None:
    """Return when each unit was recorded, where any file's units differ in it."""
    if all(one.observed is None for one in sessions):
        return None
    starts: list[Floats] = []
    stops: list[Floats] = []
    for one in sessions:
        for unit in range(len(one.units)):
            begin, end = (
                one.observed.of(unit)
                if one.observed is not None
                else (one.intervals.start_s, one.intervals.stop_s)
            )
            starts.append(begin)
            stops.append(end)
    offsets = np.cumsum([0, *map(len, starts)]).astype(np.int64)
    return Observed(np.concatenate(starts), np.concatenate(stops), offsets)
