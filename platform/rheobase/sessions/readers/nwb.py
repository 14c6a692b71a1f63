"""NWB files: Visual Behavior Neuropixels with h5py, every other one with pynwb."""

# Shape legend: N units, S spikes, P presentations, B blocks, L samples.

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from rheobase.core.digest import file_digest
from rheobase.core.errors import SessionError
from rheobase.sessions.readers.columns import NOT_METRICS, flags, offsets_of, strings, text_of
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.events import read_events
from rheobase.sessions.records.session import (
    ACTIVE,
    PASSIVE,
    Floats,
    Intervals,
    Ints,
    Presentations,
    Session,
    Signal,
    Strings,
    Units,
)

STRIDE_S = 0.75
"""From one flash's onset to the next one's."""
RUNNING = "processing/running/speed"
EYE = "acquisition/EyeTracking"


def read_nwb(path: Path, events: EventSettings | None = None) -> Session:
    """Read units, spikes and presentations of an NWB file.

    A units table with `peak_channel_id` is the Allen Institute's layout: it is read with h5py,
    a quarter of pynwb's time. Presentations are then the rows of
    ``intervals/*_presentations`` that name an image (gabors and full-field flashes do not).
    Each block of them is one interval, active or passive, from its first onset to one flash
    period after its last: nothing between blocks is binned.

    Every other NWB 2.x file is read with pynwb. It is one interval of no named state, from 0 to
    its last spike, unless `events` says which of its tables are presentations and states. With
    `events` given, a file of the first kind is read the second way.

    Raises
    ------
    SessionError
        The file is missing, is not HDF5, is damaged, holds no units table, or not what `events`
        names.
    """
    if not path.is_file():
        raise SessionError(f"{path}: an NWB file must be there, but there is none; check the path")
    try:
        with h5py.File(path) as file:
            if "units" not in file or "spike_times" not in file["units"]:
                raise SessionError(
                    f"{path}: an NWB file must hold 'units/spike_times', but holds "
                    f"{sorted(file)}; use one with sorted units"
                )
            signals = _signals(file)
            fast = events is None and "peak_channel_id" in file["units"]
            if fast:
                name = text_of(file["identifier"][()]) if "identifier" in file else path.stem
                units, spikes_s, offsets = _read_units(file, path)
                presentations = _read_presentations(file)
    except SessionError:
        raise
    except Exception as error:  # whatever h5py makes of a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip("'\"")
        raise SessionError(
            f"{path}: a whole NWB (HDF5) file must be given, but reading it failed: {reason}; "
            "copy or download it again"
        ) from None
    if fast:
        intervals = intervals_of(presentations, spikes_s)
    else:
        # Importing pynwb takes longer than h5py takes to read a session.
        from rheobase.sessions.readers.general import read_contents

        contents = read_contents(path)
        name, units = contents.identifier, contents.units
        spikes_s, offsets = contents.spike_times_s, contents.spike_offsets
        presentations = Presentations.none()
        intervals = intervals_of(presentations, spikes_s)
        if events is not None:
            presentations, intervals = read_events(contents.tables, events, intervals, str(path))
    return Session(
        re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or path.stem,
        str(path),
        file_digest(path),
        units,
        spikes_s,
        offsets,
        intervals,
        presentations,
        signals,
    )


def intervals_of(presentations: Presentations, spikes_s: Floats) -> Intervals:
    """Return one interval a stimulus block (B), or the whole recording without presentations."""
    there = np.isfinite(presentations.start_s)  # a missing onset is a finding, not a border
    if not there.any():
        last = float(np.max(spikes_s, initial=0.0, where=np.isfinite(spikes_s)))
        whole = np.nextafter(last, np.inf)
        return Intervals(np.zeros(1), np.array([whole]), np.array([""]))
    blocks = np.unique(presentations.block[there])
    rows = [np.flatnonzero(there & (presentations.block == block)) for block in blocks]
    rows.sort(key=lambda row: float(presentations.start_s[row].min()))
    return Intervals(
        np.array([presentations.start_s[row].min() for row in rows]),
        np.array([presentations.start_s[row].max() + STRIDE_S for row in rows]),
        np.array([ACTIVE if presentations.active[row[0]] else PASSIVE for row in rows]),
    )


def _read_units(file: h5py.File, path: Path) -> tuple[Units, Floats, Ints]:
    table = file["units"]
    unit_id = table["id"][:].astype(np.int64)
    spikes_s = table["spike_times"][:].astype(np.float64)
    offsets = offsets_of(table["spike_times_index"][:], len(unit_id), len(spikes_s), path)
    metrics = {
        name: column[:].astype(np.float64)
        for name, column in table.items()
        if isinstance(column, h5py.Dataset)
        and name not in NOT_METRICS
        and not name.endswith("_index")
        and column.shape == unit_id.shape
        and column.dtype.kind in "fiu"
        and f"{name}_index" not in table
    }
    area = _of_peak_channel(file, table, "location")
    probe = _of_peak_channel(file, table, "group_name")
    return Units(unit_id, area, probe, metrics), spikes_s, offsets


def _of_peak_channel(file: h5py.File, table: h5py.Group, column: str) -> Strings:
    """Return a column of the electrodes' table at each unit's peak channel, (N,)."""
    where = "general/extracellular_ephys/electrodes"
    if where not in file or column not in file[where]:
        return np.full(len(table["id"]), "")
    named = strings(file[where][column][:])
    by_id = dict(zip(file[where]["id"][:].tolist(), named, strict=True))
    return np.array([by_id.get(int(c), "") for c in table["peak_channel_id"][:]], dtype=np.str_)


def _read_presentations(file: h5py.File) -> Presentations:
    tables = [
        table
        for name, table in file.get("intervals", {}).items()
        if name.endswith("_presentations") and "image_name" in table
    ]
    if not tables:
        return Presentations.none()
    parts = [_presentations_of(table) for table in tables]
    columns = [
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("start_s", "stop_s", "image", "is_change", "omitted", "block", "active")
    ]
    # Tables are one a stimulus set; within one, the file's order is kept for the checks.
    order = np.argsort([part.start_s[0] for part in parts if len(part)]) if len(parts) > 1 else [0]
    lengths = np.cumsum([0] + [len(part) for part in parts])
    index = np.concatenate([np.arange(lengths[p], lengths[p + 1]) for p in order])
    start_s, stop_s, image, is_change, omitted, block, active = (c[index] for c in columns)
    return Presentations(start_s, stop_s, image, is_change, omitted, block, active, STRIDE_S)


def _presentations_of(table: h5py.Group) -> Presentations:
    image = strings(table["image_name"][:])
    named = image != ""
    start_s = table["start_time"][:].astype(np.float64)[named]
    num = len(start_s)

    def column(name: str, absent: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(table[name][:])[named] if name in table else absent

    no = np.zeros(num, bool)
    return Presentations(
        start_s,
        table["stop_time"][:].astype(np.float64)[named],
        image[named],
        flags(column("is_change", no)),
        flags(column("omitted", image[named] == "omitted")),
        column("stimulus_block", np.zeros(num)).astype(np.int64),
        flags(column("active", no)),
    )


def _signals(file: h5py.File) -> dict[str, Signal]:
    """Return running speed and pupil area where the file has them, blinks as NaN."""
    signals = {}
    if RUNNING in file:
        speed = file[RUNNING]
        signals["running"] = Signal(_times_of(speed), speed["data"][:].astype(np.float64))
    if f"{EYE}/pupil_tracking/area" in file:
        pupil = file[f"{EYE}/pupil_tracking"]
        area = pupil["area"][:].astype(np.float64)
        if f"{EYE}/likely_blink/data" in file:
            area[flags(file[f"{EYE}/likely_blink/data"][:])] = np.nan
        signals["pupil"] = Signal(_times_of(pupil), area)
    for name, signal in signals.items():
        if len(signal.time_s) != len(signal.value):
            raise ValueError(
                f"{name} has {len(signal.value)} samples at {len(signal.time_s)} times"
            )
    return signals


def _times_of(series: h5py.Group) -> Floats:
    """Return the times (L,) of a series: stated, or counted from its start at its rate."""
    if "timestamps" in series:
        return np.asarray(series["timestamps"][:], np.float64)
    start = series["starting_time"]
    return float(start[()]) + np.arange(len(series["data"])) / float(start.attrs["rate"])
