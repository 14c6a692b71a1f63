"""What an NWB file says beside spikes: presentations, behaviour, and times not to be used."""

# Shape legend: P presentations, L samples of a signal.

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError, SessionError
from rheobase.sessions.readers.columns import flags, strings
from rheobase.sessions.readers.hdf5 import array_of, columns_of, dataset
from rheobase.sessions.readers.path_settings import PathSettings
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.series import events_of, measured, series_of
from rheobase.sessions.records.session import OMITTED, Floats, Presentations, Signal
from rheobase.sessions.visual_behavior import (
    IMAGE_NAME,
    IS_ACTIVE,
    IS_CHANGE,
    IS_OMITTED,
    LIKELY_BLINK,
    PRESENTATIONS,
    PUPIL,
    RUNNING,
    STIMULUS_BLOCK,
    STRIDE_S,
)

COLUMNS = ("start_s", "stop_s", "image", "is_change", "omitted", "block", "active")
"""Of `Presentations`, one value a presentation."""
USUAL = {"running": RUNNING, "pupil": PUPIL}
"""Paths of behaviour in files of the Allen Institute."""
INVALID = "intervals/invalid_times"
"""The table of stretches of which nothing may be used."""
CM_PER_UNIT = {"m/s": 100.0, "meters/second": 100.0, "mm/s": 0.1}
"""Of a speed that is not stated in cm/s."""


def read_presentations(file: h5py.File, path: Path) -> Presentations:
    """Return the rows (P,) of ``intervals/*_presentations`` that name an image.

    Raises
    ------
    SessionError
        A column is missing, damaged, or of another length than the others.
    """
    tables = [
        table
        for name, table in _children(file, "intervals")
        if name.endswith(PRESENTATIONS) and IMAGE_NAME in table
    ]
    parts = [_presentations_of(table, path) for table in tables]
    # Within a table the file's order is kept for the checks.
    parts = sorted((part for part in parts if len(part)), key=lambda part: part.start_s[0])
    if not parts:
        return Presentations.none()
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    known = all(part.states_known for part in parts)
    return Presentations(**columns, stride_s=STRIDE_S, states_known=known)


def _children(file: h5py.File, where: str) -> Iterator[tuple[str, h5py.Group]]:
    parent = file.get(where)
    if isinstance(parent, h5py.Group):
        for name in parent:
            node = parent.get(name)
            if isinstance(node, h5py.Group):
                yield name, node


def _presentations_of(table: h5py.Group, path: Path) -> Presentations:
    columns, damaged = columns_of(table)
    where = table.name[1:]
    missing = [name for name in (IMAGE_NAME, "start_time", "stop_time") if name not in columns]
    if missing:
        why = damaged[0] if damaged else f"it has {', '.join(columns) or 'none of one length'}"
        raise SessionError(
            f"{path}: '{where}' must have the columns {', '.join(missing)}, one entry a row, but "
            f"{why}; write the file again, or name its tables with data.events"
        )
    short = [
        name
        for name in (IS_CHANGE, IS_OMITTED, STIMULUS_BLOCK, IS_ACTIVE)
        if name in table and name not in columns
    ]
    if short:
        raise SessionError(
            f"{path}: '{where}/{short[0]}' must have a value for each of "
            f"{len(columns['start_time'])} rows, but has not; write the file again"
        )
    image = strings(columns[IMAGE_NAME])
    named = image != ""
    num = int(named.sum())

    def column(name: str, absent: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return columns[name][named] if name in columns else absent

    def seconds(name: str) -> Floats:
        try:
            values: Floats = columns[name].astype(np.float64)[named]
        except ValueError:
            raise SessionError(
                f"{path}: '{where}/{name}' must be seconds, but holds words; write the file again"
            ) from None
        return values

    no = np.zeros(num, bool)
    block = column(STIMULUS_BLOCK, np.zeros(num)).astype(np.float64)
    return Presentations(
        start_s=seconds("start_time"),
        stop_s=seconds("stop_time"),
        image=image[named],
        is_change=flags(column(IS_CHANGE, no)),
        omitted=flags(column(IS_OMITTED, image[named] == OMITTED)),
        block=np.where(np.isfinite(block), block, -1).astype(np.int64),
        active=flags(column(IS_ACTIVE, no)),
        states_known=IS_ACTIVE in columns,
    )


def read_signals(
    file: h5py.File, path: Path, paths: PathSettings
) -> tuple[dict[str, Signal], list[Finding]]:
    """Return running, pupil and series of a user's own where the file has them, blinks as NaN.

    Parameters
    ----------
    file, path
        The file, open, and its name for errors.
    paths
        Where the user says that series lie; running and pupil by default where the Allen
        Institute has them.

    Raises
    ------
    SessionError
        The file has nothing at a path that the user has given.
    """
    signals: dict[str, Signal] = {}
    told: list[Finding] = []
    for name, given in ({name: getattr(paths, name) for name in USUAL} | paths.series).items():
        where = given or USUAL[name]
        key = name if name in USUAL else f"series.{name}"
        series = file.get(where)
        if not isinstance(series, h5py.Group):
            if given:
                raise SessionError(
                    f"{path}: data.paths.{key} must name a time series of the file, but there is "
                    f"nothing at '{where}'; check the path"
                )
            continue
        try:
            if name in USUAL:
                signals[name] = _signal(file, series, name)
            else:
                signals |= _series(series, name)
        except (OSError, RuntimeError, ValueError, TypeError, KeyError, DataError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].strip("'\"")
            detail = f"{name}: '{where}' cannot be used: {reason}; it is left out"
            told.append(Finding("signal-unusable", "warning", 1, detail))
    return signals, told


def _signal(file: h5py.File, series: h5py.Group, name: str) -> Signal:
    node = dataset(series, "area") if name == "pupil" else None
    node = node or series["data"]
    values = array_of(node).astype(np.float64)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(f"its samples are of shape {values.shape}, not one number each")
    values = values * float(node.attrs.get("conversion", 1.0)) + float(node.attrs.get("offset", 0))
    unit = node.attrs.get("unit", "")
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    if name == "running":
        values = values * CM_PER_UNIT.get(unit, 1.0)
    values = measured(values)
    time_s = _times_of(series, len(values))
    if len(time_s) != len(values):
        raise ValueError(f"it has {len(values)} samples at {len(time_s)} times")
    if series.name == f"/{PUPIL}" and f"{LIKELY_BLINK}/data" in file:
        blink = flags(array_of(file[f"{LIKELY_BLINK}/data"]))
        if len(blink) == len(values):
            values[blink] = np.nan
    return Signal(time_s, values)


def _series(series: h5py.Group, name: str) -> dict[str, Signal]:
    """Return the signals of a series of a user's own, or the one of its events."""
    node = dataset(series, "data")
    if node is None and dataset(series, "timestamps") is None:
        raise ValueError(
            f"it must have data or timestamps, but holds {', '.join(series) or 'none'}"
        )
    values = None if node is None else array_of(node)
    if values is None or (
        len(values) > 1 and values.ndim == 1 and bool((values == values[0]).all())
    ):
        return events_of(name, _times_of(series, 0 if values is None else len(values)))
    assert node is not None
    if values.dtype.kind in "fiu":
        scale, offset = (float(node.attrs.get(k, v)) for k, v in (("conversion", 1), ("offset", 0)))
        values = values * scale + offset
    return series_of(name, _times_of(series, len(values)), values)


def _times_of(series: h5py.Group, num: int) -> Floats:
    """Return the times (L,) of a series: stated, or counted from its start at its rate."""
    if dataset(series, "timestamps") is not None:
        time_s = np.asarray(array_of(series["timestamps"]), np.float64)
        if time_s.ndim != 1:
            raise ValueError(f"its times are of shape {time_s.shape}, not one number each")
        return time_s
    start = series["starting_time"]
    start_s, rate_hz = float(start[()]), float(start.attrs["rate"])
    if not (np.isfinite(start_s) and 0 < rate_hz < np.inf):
        raise ValueError(f"it starts at {start_s:g} s with {rate_hz:g} samples a second")
    return start_s + np.arange(num) / rate_hz


def read_invalid_times(file: h5py.File) -> tuple[list[tuple[float, float, str]], list[Finding]]:
    """Return each stretch of which nothing may be used, in seconds, and what its tags say."""
    table = file.get(INVALID)
    if not isinstance(table, h5py.Group):
        return [], []
    columns, damaged = columns_of(table)
    told = [Finding("column-unreadable", "warning", 1, one) for one in damaged]
    if not {"start_time", "stop_time"} <= columns.keys():
        return [], told
    kinds = {columns[name].dtype.kind for name in ("start_time", "stop_time")}
    if not kinds <= set("fiu"):
        why = f"'{INVALID}' must start and stop in seconds, but holds words; it is not read"
        return [], [*told, Finding("column-unreadable", "warning", 1, why)]
    tags = (
        strings(columns["tags"]) if "tags" in columns else np.full(len(columns["start_time"]), "")
    )
    rows = zip(
        columns["start_time"].astype(np.float64).tolist(),
        columns["stop_time"].astype(np.float64).tolist(),
        tags.tolist(),
        strict=True,
    )
    return [row for row in rows if row[1] > row[0]], told
