"""The units table of an NWB file: who was recorded, when, where, and their spikes."""

# Shape legend: N units, S spikes.

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError, SessionError
from rheobase.sessions.readers.columns import NOT_METRICS, offsets_of, strings
from rheobase.sessions.readers.hdf5 import Table, array_of, columns_of, dataset, numbers_of, told_of
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import Floats, Ints, Observed, Strings, Units
from rheobase.sessions.visual_behavior import ELECTRODES, PEAK_CHANNEL

AREA_COLUMNS = ("brain_area", "brain_region", "location", "structure_acronym", "area")
PROBE_COLUMNS = ("probe", "probe_name", "probe_id")
NOWHERE = ("unknown", "none", "null", "n/a", "na", "nan", "?")
"""How files write that a unit's area, or its probe, is not known, in small letters."""
SPIKES, INDEX = "spike_times", "spike_times_index"
EDGE_SPIKES = 20_000
"""Spikes at most that tell how long a recording is, where its spikes are not read."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Recorded:
    """Units, their spikes (S,) and offsets (N + 1,), when each was recorded, and what is amiss.

    Of an outline, `spike_times_s` are some of them, and `some_offsets` theirs.
    """

    units: Units
    spike_times_s: Floats
    spike_offsets: Ints
    some_offsets: Ints
    observed: Observed | None = None
    remarks: list[Finding] = field(default_factory=list)


def read_units(file: h5py.File, path: Path, where: str, *, spikes: bool = True) -> Recorded:
    """Read the units table that lies at `where` in a file.

    A unit's area and probe are those its own columns name; else those of its peak channel, of
    its first electrode, or of its electrode group. Metrics are the numeric columns, labels those
    of words and flags.

    Parameters
    ----------
    file, path
        The file, open, and its name for errors.
    where
        Path of the table in the file.
    spikes
        Whether spikes are read, or some alone that tell how long the recording is.

    Raises
    ------
    SessionError
        There is no such table, or its ids or spikes are missing, damaged or do not fit.
    """
    table = file.get(where)
    if not isinstance(table, h5py.Group) or dataset(table, SPIKES) is None:
        raise SessionError(
            f"{path}: an NWB file must hold '{where}/{SPIKES}', but it has {_held(file, where)}; "
            "use one with sorted units, or name where they lie with data.paths.units"
        )
    if dataset(table, "id") is None and "id" not in table:
        raise SessionError(
            f"{path}: '{where}/id' must be there, which numbers the units, but the table has "
            f"{', '.join(sorted(table)[:9])}; write the file again with it"
        )
    unit_id = numbers_of(table, "id", "which numbers the units", path).astype(np.int64)
    ends = numbers_of(table, INDEX, "which tells whose spikes are whose", path, len(unit_id))
    num_spikes = _num_spikes(table, path)
    offsets = offsets_of(ends, len(unit_id), num_spikes, path)
    if spikes:
        what = "the seconds at which units fire"
        times = numbers_of(table, SPIKES, what, path).astype(np.float64, copy=False)
        some_offsets = offsets
    else:
        times, some_offsets = _some_spikes(table[SPIKES], offsets)
    columns, damaged = columns_of(table, frozenset({SPIKES, "obs_intervals"}))
    remarks = [Finding("column-unreadable", "warning", 1, one) for one in damaged]
    observed = _observed(table, len(unit_id), remarks)
    units = Units(
        unit_id,
        _named(file, table, columns, AREA_COLUMNS, "location"),
        _named(file, table, columns, PROBE_COLUMNS, "group_name"),
        {
            name: values.astype(np.float64)
            for name, values in columns.items()
            if values.dtype.kind in "fiu" and name not in NOT_METRICS and name not in PROBE_COLUMNS
        },
        {
            name: strings(values)
            for name, values in columns.items()
            if values.dtype.kind not in "fiu"
        },
    )
    return Recorded(
        units=units,
        spike_times_s=times,
        spike_offsets=offsets,
        some_offsets=some_offsets,
        observed=observed,
        remarks=remarks,
    )


def _held(file: h5py.File, where: str) -> str:
    table = file.get(where)
    if isinstance(table, h5py.Group):
        return f"there {', '.join(sorted(table)[:9]) or 'nothing'}"
    link = file.get(where, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        return f"there a link to '{link.path}' of '{link.filename}', which leads nowhere"
    if isinstance(link, h5py.SoftLink):
        return f"there a link to '{link.path}', which leads nowhere"
    return ", ".join(sorted(file)) or "nothing"


def _num_spikes(table: h5py.Group, path: Path) -> int:
    node = table[SPIKES]
    if node.ndim != 1 or node.dtype.kind not in "fiu":
        raise SessionError(
            f"{path}: '{table.name[1:]}/{SPIKES}' must be a row of numbers, unit after unit, but "
            f"is {node.dtype} of shape {node.shape}; write one time a spike and '{INDEX}'"
        )
    return len(node)


def _some_spikes(node: h5py.Dataset, offsets: Ints) -> tuple[Floats, Ints]:
    """Return the first and the last spikes of each unit and some between, and their offsets."""
    num_units = len(offsets) - 1
    each = max(2, EDGE_SPIKES // max(num_units, 1))
    rows = [
        np.unique(np.linspace(begin, end - 1, min(each, end - begin)).round().astype(np.int64))
        for begin, end in itertools.pairwise(offsets)
    ]
    at = np.concatenate([np.zeros(0, np.int64), *rows])
    times = node[at] if len(at) else np.zeros(0)
    counts = [len(row) for row in rows]
    return times.astype(np.float64), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _observed(table: h5py.Group, num_units: int, remarks: list[Finding]) -> Observed | None:
    """Return when each unit was recorded, as ``obs_intervals`` say; None where they do not."""
    node, index = dataset(table, "obs_intervals"), dataset(table, "obs_intervals_index")
    if node is None or index is None:
        return None
    try:
        stretches = array_of(node).astype(np.float64)
        offsets = np.concatenate([[0], array_of(index).astype(np.int64)])
        fits = (
            stretches.ndim == 2
            and stretches.shape[1] == 2
            and len(offsets) == num_units + 1
            and offsets[-1] == len(stretches)
            and bool((np.diff(offsets) >= 0).all())
        )
        if not fits:
            raise ValueError("it does not fit the units")
    except (OSError, RuntimeError, ValueError, TypeError, DataError) as error:
        told = told_of(f"{table.name[1:]}/obs_intervals", error)
        remarks.append(Finding("column-unreadable", "warning", 1, told))
        return None
    parts = [merged(stretches[b:e]) for b, e in itertools.pairwise(offsets)]
    empty = [n for n, part in enumerate(parts) if not len(part)]
    if empty:
        told = (
            f"{len(empty)} of {num_units} units have no obs_intervals: they are taken as observed "
            "whenever any other was"
        )
        remarks.append(Finding("observed-unknown", "warning", len(empty), told))
        if len(empty) == num_units:
            return None
        anyone = merged(np.concatenate(parts))
        parts = [part if len(part) else anyone for part in parts]
    rows = np.concatenate([np.zeros((0, 2)), *parts])
    ends = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Observed(rows[:, 0], rows[:, 1], ends)


def merged(stretches: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return stretches (I, 2) in order, those that touch or overlap as one."""
    there = stretches[np.isfinite(stretches).all(axis=1) & (stretches[:, 1] > stretches[:, 0])]
    joined: list[list[float]] = []
    for begin, end in there[np.argsort(there[:, 0], kind="stable")].tolist():
        if joined and begin <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([begin, end])
    return np.array(joined, np.float64).reshape(-1, 2)


def _named(
    file: h5py.File, table: h5py.Group, columns: Table, own: tuple[str, ...], of_electrode: str
) -> Strings:
    """Return what each unit (N,) is called by its own columns, its electrode or its group."""
    num = len(table["id"])
    named: npt.NDArray[Any] = np.full(num, "", dtype=object)
    for name in own:
        if name in columns:
            _fill(named, strings(columns[name]))
    if not (named == "").any():
        return named.astype(np.str_)
    electrodes = file.get(ELECTRODES)
    if isinstance(electrodes, h5py.Group):
        _fill(named, _of_peak_channels(columns, electrodes, of_electrode, num))
        _fill(named, _of_first_electrodes(table, electrodes, of_electrode, num))
    _fill(named, _of_groups(file, table, of_electrode, num))
    return named.astype(np.str_)


def _fill(named: npt.NDArray[Any], others: Strings) -> None:
    others = np.char.strip(others)
    empty = (named == "") & ~np.isin(np.char.lower(others), NOWHERE)
    named[empty] = others[empty]


def _column(table: h5py.Group, name: str) -> npt.NDArray[Any] | None:
    node = dataset(table, name)
    if node is None or node.ndim != 1:
        return None
    try:
        return array_of(node)
    except (OSError, RuntimeError, ValueError, TypeError, DataError):
        return None


def _of_peak_channels(columns: Table, electrodes: h5py.Group, column: str, num: int) -> Strings:
    """Return an electrodes' column at each unit's peak channel, by its id or its name."""
    named = _column(electrodes, column)
    if PEAK_CHANNEL not in columns or named is None:
        return np.full(num, "")
    by_id: dict[str, str] = {}
    for names in ("channel_name", "id"):
        keys = _column(electrodes, names)
        if keys is not None and len(keys) == len(named):
            by_id.update(zip(strings(keys).tolist(), strings(named).tolist(), strict=True))
    return np.array([by_id.get(str(c), "") for c in strings(columns[PEAK_CHANNEL])], np.str_)


def _of_first_electrodes(
    table: h5py.Group, electrodes: h5py.Group, column: str, num: int
) -> Strings:
    """Return an electrodes' column at the first electrode that each unit names."""
    named, rows, ends = (
        _column(electrodes, column),
        _column(table, "electrodes"),
        _column(table, "electrodes_index"),
    )
    if named is None or rows is None or rows.dtype.kind not in "iu":
        return np.full(num, "")
    words = strings(named)
    if ends is None:
        begins, stops = np.arange(len(rows)), np.arange(len(rows)) + 1
    else:
        stops = ends.astype(np.int64)
        begins = np.concatenate([[0], stops[:-1]])
    if len(begins) != num:
        return np.full(num, "")
    at = [int(rows[b]) if b < e <= len(rows) else -1 for b, e in zip(begins, stops, strict=True)]
    return np.array([words[row] if 0 <= row < len(words) else "" for row in at], np.str_)


def _of_groups(file: h5py.File, table: h5py.Group, column: str, num: int) -> Strings:
    """Return the location, or the name, of each unit's electrode group."""
    references = _column(table, "electrode_group")
    if references is None or len(references) != num:
        return np.full(num, "")
    names = []
    for one in references.tolist():
        try:
            group = file[one]
            value = group.attrs.get("location", "") if column == "location" else group.name
            names.append(str(value).rsplit("/", 1)[-1] if column != "location" else str(value))
        except (ValueError, KeyError, TypeError, RuntimeError):
            names.append("")
    return strings(np.array(names, object))
