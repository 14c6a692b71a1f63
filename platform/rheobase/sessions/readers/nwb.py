"""NWB 2.x files, read with h5py alone."""

# Shape legend: N units, S spikes, P presentations, I blocks.

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from rheobase.core.digest import digest
from rheobase.sessions.readers.behaviour import (
    INVALID,
    read_invalid_times,
    read_presentations,
    read_signals,
)
from rheobase.sessions.readers.columns import text_of
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.events import read_events
from rheobase.sessions.readers.extent import blocks_of, whole_of, without_spurious_omissions
from rheobase.sessions.readers.hdf5 import dataset, tables_of
from rheobase.sessions.readers.nwb_file import digest_of, opened
from rheobase.sessions.readers.observed import what_was_observed
from rheobase.sessions.readers.path_settings import PathSettings
from rheobase.sessions.readers.units import read_units
from rheobase.sessions.records.session import (
    Presentations,
    Session,
)
from rheobase.sessions.visual_behavior import PEAK_CHANNEL

LONGEST_NAME = 100
"""Letters of a session's id, which names files; the rest of a longer one is told by its digest."""


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
        signals, told = read_signals(file, path, paths)
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
        invalid, amiss = read_invalid_times(file)
        intervals, observed, holes = what_was_observed(
            str(path), recorded.units.probe, intervals, recorded.observed, invalid
        )
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
        remarks=tuple(told + amiss + holes),
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
