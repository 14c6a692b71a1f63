"""NWB files: Visual Behavior Neuropixels with h5py, every other one with pynwb."""

# Shape legend: N units, S spikes, P presentations, I blocks, L samples of a signal.

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
    OMITTED,
    PASSIVE,
    SIGNALS,
    Floats,
    Intervals,
    Ints,
    Presentations,
    Session,
    Signal,
    Strings,
    Units,
)
from rheobase.sessions.records.session_size import SessionSize, silent_session
from rheobase.sessions.records.true_latents import names_beside
from rheobase.sessions.visual_behavior import (
    ELECTRODES,
    EYE,
    IMAGE_NAME,
    IS_ACTIVE,
    IS_CHANGE,
    IS_OMITTED,
    LIKELY_BLINK,
    PEAK_CHANNEL,
    PRESENTATIONS,
    PUPIL,
    RUNNING,
    STIMULUS_BLOCK,
    STRIDE_S,
    TYPICAL_RATE_HZ,
)

COLUMNS = ("start_s", "stop_s", "image", "is_change", "omitted", "block", "active")
"""Of `Presentations`, one value a presentation."""


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

    Parameters
    ----------
    path
        The ``.nwb`` file.
    events
        What its interval tables mean; None: the Visual Behavior layout, or nothing.

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
            fast = events is None and PEAK_CHANNEL in file["units"]
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
        session_id=re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or path.stem,
        source=str(path),
        data_digest=file_digest(path),
        units=units,
        spike_times_s=spikes_s,
        spike_offsets=offsets,
        intervals=intervals,
        presentations=presentations,
        signals=signals,
    )


def outline_nwb(path: Path) -> SessionSize:
    """Return how large the recording in an NWB file is, from shapes and names alone.

    Presentations are taken for two blocks of equal length, as Visual Behavior has them; a file
    without them for as long as its spikes take at the release's mean rate. Every unit counts
    as kept.

    Parameters
    ----------
    path
        The ``.nwb`` file.

    Raises
    ------
    OSError, KeyError, ValueError, RuntimeError
        The file is missing, is damaged, or holds no units.
    """
    with h5py.File(path) as file:
        num_units = len(file["units/id"])
        num_spikes = len(file["units/spike_times"])
        name = file["identifier"].asstr()[()] if "identifier" in file else path.stem
        num_presentations = sum(len(table[IMAGE_NAME]) for table in _presentation_tables(file))
        has = {"running": RUNNING in file, "pupil": EYE in file}
    basis = "shapes in the file; every unit counted as kept"
    if num_presentations:
        half_s = num_presentations * STRIDE_S / 2
        stretches = [(0.0, half_s, ACTIVE), (half_s, 2 * half_s, PASSIVE)]
    else:
        stretches = [(0.0, num_spikes / max(1, num_units) / TYPICAL_RATE_HZ, "")]
        basis += f", its length from {TYPICAL_RATE_HZ:.1f} Hz a unit"
    return SessionSize(
        address=str(path),
        silent=silent_session(
            name,
            str(path),
            stretches,
            num_presentations,
            [signal for signal in SIGNALS if has[signal]],
            names_beside(path),
        ),
        num_units=num_units,
        num_kept=num_units,
        num_spikes=num_spikes,
        duration_s=stretches[-1][1],
        basis=basis,
    )


def intervals_of(presentations: Presentations, spikes_s: Floats) -> Intervals:
    """Return one interval a stimulus block (I,), or the whole recording without presentations."""
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
    if ELECTRODES not in file or column not in file[ELECTRODES]:
        return np.full(len(table["id"]), "")
    named = strings(file[ELECTRODES][column][:])
    by_id = dict(zip(file[ELECTRODES]["id"][:].tolist(), named, strict=True))
    return np.array([by_id.get(int(c), "") for c in table[PEAK_CHANNEL][:]], dtype=np.str_)


def _presentation_tables(file: h5py.File) -> list[h5py.Group]:
    """Return the tables of presentations that name images, one a stimulus set."""
    return [
        table
        for name, table in file.get("intervals", {}).items()
        if name.endswith(PRESENTATIONS) and IMAGE_NAME in table
    ]


def _read_presentations(file: h5py.File) -> Presentations:
    parts = [_presentations_of(table) for table in _presentation_tables(file)]
    # Within a table the file's order is kept for the checks.
    parts = sorted((part for part in parts if len(part)), key=lambda part: part.start_s[0])
    if not parts:
        return Presentations.none()
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    return Presentations(**columns, stride_s=STRIDE_S)


def _presentations_of(table: h5py.Group) -> Presentations:
    image = strings(table[IMAGE_NAME][:])
    named = image != ""
    start_s = table["start_time"][:].astype(np.float64)[named]
    num = len(start_s)

    def column(name: str, absent: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(table[name][:])[named] if name in table else absent

    no = np.zeros(num, bool)
    return Presentations(
        start_s=start_s,
        stop_s=table["stop_time"][:].astype(np.float64)[named],
        image=image[named],
        is_change=flags(column(IS_CHANGE, no)),
        omitted=flags(column(IS_OMITTED, image[named] == OMITTED)),
        block=column(STIMULUS_BLOCK, np.zeros(num)).astype(np.int64),
        active=flags(column(IS_ACTIVE, no)),
    )


def _signals(file: h5py.File) -> dict[str, Signal]:
    """Return running speed and pupil area where the file has them, blinks as NaN."""
    signals = {}
    if RUNNING in file:
        speed = file[RUNNING]
        signals["running"] = Signal(_times_of(speed), speed["data"][:].astype(np.float64))
    if f"{PUPIL}/area" in file:
        pupil = file[PUPIL]
        area = pupil["area"][:].astype(np.float64)
        if f"{LIKELY_BLINK}/data" in file:
            area[flags(file[f"{LIKELY_BLINK}/data"][:])] = np.nan
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
