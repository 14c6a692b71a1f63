"""NWB 2.x files, read with h5py alone."""

# Shape legend: N units, S spikes, P presentations, I blocks.

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from rheobase.core.digest import digest
from rheobase.core.errors import SessionError
from rheobase.sessions.readers.behaviour import (
    INVALID,
    read_invalid_times,
    read_presentations,
    read_signals,
    rest_of,
)
from rheobase.sessions.readers.columns import text_of
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.events import read_events
from rheobase.sessions.readers.extent import blocks_of, whole_of, without_spurious_omissions
from rheobase.sessions.readers.hdf5 import dataset, tables_of
from rheobase.sessions.readers.nwb_file import digest_of, opened
from rheobase.sessions.readers.path_settings import PathSettings
from rheobase.sessions.readers.units import Recorded, read_units
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import (
    Intervals,
    Observed,
    Presentations,
    Session,
)
from rheobase.sessions.visual_behavior import PEAK_CHANNEL

LONGEST_NAME = 100
"""Letters of a session's id, which names files; the rest of a longer one is told by its digest."""
EVERY_PROBE = ("", "all_probes", "all", "EcephysSession")
"""How tags of invalid times say that they are of every probe."""


def read_nwb(
    path: Path,
    events: EventSettings | None = None,
    paths: PathSettings | None = None,
    *,
    spikes: bool = True,
) -> Session:
    """Read units, spikes and presentations of an NWB file.

    A units table with `peak_channel_id` is the Allen Institute's layout: presentations are then
    the rows of ``intervals/*_presentations`` that name an image (gabors and full-field flashes do
    not). Each block of them is one interval, active or passive, from its first onset to one flash
    period after its last: nothing between blocks is binned.

    Every other file is one interval of no named state, as long as its spikes
    (`rheobase.sessions.readers.extent`), unless `events` says which of its tables are
    presentations and states. With `events` given, a file of the first kind is read the second
    way. In both, time that ``invalid_times`` or the units' ``obs_intervals`` leave out is in no
    interval.

    Parameters
    ----------
    path
        The ``.nwb`` file, or ``.nwb.gz``.
    events
        What its interval tables mean; None: the Visual Behavior layout, or nothing.
    paths
        Where it holds what; None: where the standard has it.
    spikes
        Whether spikes are read. Without them the session has the offsets of its spikes, and none
        of them: what tells how large it is.

    Raises
    ------
    SessionError
        The file is missing, is not NWB 2, is damaged, holds no units table, or not what `events`
        or `paths` name.
    """
    paths = paths or PathSettings()
    with opened(path) as file:
        where = paths.units or "units"
        recorded = read_units(file, path, where, spikes=spikes)
        signals, told = read_signals(file, path, {"running": paths.running, "pupil": paths.pupil})
        told = recorded.remarks + told
        presentations, intervals = Presentations.none(), None
        if events is None and PEAK_CHANNEL in file[where]:
            presentations, spurious = without_spurious_omissions(read_presentations(file, path))
            told += spurious
            if np.isfinite(presentations.start_s).any():
                intervals = blocks_of(presentations)
        if intervals is None:
            intervals, late = whole_of(recorded.spike_times_s, recorded.some_offsets)
            told += late
        if events is not None:
            groups = {name: one for name, one in tables_of(file).items() if name != INVALID}
            presentations, intervals = read_events(groups, events, intervals, str(path))
        intervals, observed, holes = _observed(file, path, recorded, intervals)
        identifier = dataset(file, "identifier")
        name = text_of(identifier[()]) if identifier is not None else ""
        data_digest = digest_of(path, file) if spikes else ""
    return Session(
        session_id=session_name(name) or session_name(path.name.partition(".")[0]) or "session",
        source=str(path),
        data_digest=data_digest,
        units=recorded.units,
        spike_times_s=recorded.spike_times_s if spikes else np.zeros(0),
        spike_offsets=recorded.spike_offsets,
        intervals=intervals,
        presentations=presentations,
        signals=signals,
        observed=observed,
        remarks=tuple(told + holes),
    )


def session_name(name: str) -> str:
    """Return a file's identifier as a session's id: letters that a file name may have.

    Examples
    --------
    >>> session_name("lab/7 b"), len(session_name("x" * 300))
    ('lab-7-b', 100)
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")
    if len(plain) > LONGEST_NAME:
        plain = f"{plain[: LONGEST_NAME - 17]}-{digest(name)}"
    return plain


def _observed(
    file: h5py.File, path: Path, recorded: Recorded, intervals: Intervals
) -> tuple[Intervals, Observed | None, list[Finding]]:
    """Return what of the intervals was observed, the same for each unit where they differ."""
    invalid, told = read_invalid_times(file)
    probes = {str(name) for name in recorded.units.probe}
    of_probe: dict[str, list[tuple[float, float]]] = {}
    of_all: list[tuple[float, float]] = []
    for start_s, stop_s, tags in invalid:
        named = [tag for tag in tags.split(", ") if tag in probes and tag not in EVERY_PROBE]
        for probe in named:
            of_probe.setdefault(probe, []).append((start_s, stop_s))
        if not named:
            of_all.append((start_s, stop_s))
    before = intervals
    if of_all:
        intervals = intervals.within(*rest_of(of_all))
    observed = _without(recorded, of_probe, intervals)
    if observed is not None and _is_same_of_all(observed):
        intervals, observed = intervals.within(*observed.of(0)), None
    if not len(intervals):
        raise SessionError(
            f"{path}: some time must be left that obs_intervals and invalid_times admit, "
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
    recorded: Recorded, of_probe: Mapping[str, list[tuple[float, float]]], intervals: Intervals
) -> Observed | None:
    """Return when each unit was observed, without what is invalid of its probe."""
    observed, num = recorded.observed, len(recorded.units)
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
        if invalid := of_probe.get(str(recorded.units.probe[unit])):
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
