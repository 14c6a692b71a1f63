"""Any NWB 2.x file, read with pynwb."""

# Shape legend: N units, S spikes.

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pynwb
from hdmf.common import DynamicTable, DynamicTableRegion, VectorIndex
from pynwb.epoch import TimeIntervals

from rheobase.core.errors import SessionError
from rheobase.sessions.readers.columns import NOT_METRICS, offsets_of, strings, text_of
from rheobase.sessions.readers.events import Table
from rheobase.sessions.records.session import Floats, Ints, Strings, Units
from rheobase.sessions.visual_behavior import PEAK_CHANNEL

AREA_COLUMNS = ("brain_area", "brain_region", "location", "structure_acronym", "area")
PROBE_COLUMNS = ("probe", "probe_name", "probe_id")


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds: units, their spikes (S,) and offsets (N + 1,), interval tables."""

    identifier: str
    units: Units
    spike_times_s: Floats
    spike_offsets: Ints
    tables: dict[str, Table]


def read_contents(path: Path) -> Contents:
    """Read units and every interval table of an NWB file.

    A unit's area and probe are those its own columns name; else those of its peak channel, of
    its first electrode, or of its electrode group. Metrics are the numeric columns of the units'
    table.

    Raises
    ------
    SessionError
        The file is damaged or holds no sorted units.
    """
    with _opened(path) as file:
        table = file.units
        if table is None or "spike_times" not in table.colnames:
            raise SessionError(
                f"{path}: an NWB file must hold units with spike times, but this one has none; "
                "use one with sorted units"
            )
        unit_id = np.asarray(table.id.data[:], np.int64)
        spikes_s = np.asarray(table["spike_times"].target.data[:], np.float64)
        offsets = offsets_of(table["spike_times"].data[:], len(unit_id), len(spikes_s), path)
        units = Units(
            unit_id,
            _named(file, table, AREA_COLUMNS, "location", lambda group: group.location),
            _named(file, table, PROBE_COLUMNS, "group_name", lambda group: group.name),
            {
                name: values.astype(np.float64)
                for name, values in _plain(table).items()
                if values.dtype.kind in "fiu"
                and name not in NOT_METRICS
                and name not in PROBE_COLUMNS
            },
        )
        tables = {
            held.name: _plain(held)
            for held in file.objects.values()
            if isinstance(held, TimeIntervals)
        }
        return Contents(str(file.identifier), units, spikes_s, offsets, tables)


@contextmanager
def _opened(path: Path) -> Iterator[pynwb.NWBFile]:
    """Yield a file's contents, any failure to read it told in one line."""
    try:
        # Cached specifications of extensions differ from the installed ones without harm.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pynwb.NWBHDF5IO(path, "r") as io:
                yield io.read()
    except SessionError:
        raise
    except Exception as error:  # whatever pynwb, hdmf or h5py makes of a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip("'\"")
        raise SessionError(
            f"{path}: a whole NWB 2.x file must be given, but pynwb cannot read it: {reason}; "
            "copy it again, or see what 'python -m pynwb.validate' says of it"
        ) from None


def _plain(table: DynamicTable) -> Table:
    """Return the columns of a table that hold one number, flag or text a row."""
    columns = {}
    for name in table.colnames:
        column = table[name]
        if isinstance(column, VectorIndex | DynamicTableRegion):
            continue
        values = np.asarray(column.data[:])
        if values.ndim == 1 and len(values) == len(table.id) and values.dtype.kind in "biufSUO":
            columns[name] = values
    return columns


def _named(
    file: pynwb.NWBFile,
    table: DynamicTable,
    own: tuple[str, ...],
    of_electrode: str,
    of_group: Callable[[Any], str],
) -> Strings:
    """Return what each unit (N,) is called by its own columns, its electrode or its group."""
    for name in own:
        if name in table.colnames:
            return strings(_plain(table).get(name, np.full(len(table.id), "")))
    electrodes = file.electrodes
    if PEAK_CHANNEL in table.colnames and electrodes is not None:
        row_of = {int(channel): row for row, channel in enumerate(electrodes.id.data[:])}
        rows = [row_of.get(int(channel)) for channel in table[PEAK_CHANNEL].data[:]]
        return _of_rows(electrodes, of_electrode, rows)
    if "electrodes" in table.colnames:
        column = table["electrodes"]
        if isinstance(column, VectorIndex):
            ends = np.asarray(column.data[:]).astype(np.int64)
            begins = np.concatenate([[0], ends[:-1]])
            flat = column.target.data[:]
            rows = [
                int(flat[begin]) if end > begin else None
                for begin, end in zip(begins, ends, strict=True)
            ]
            return _of_rows(column.target.table, of_electrode, rows)
        return _of_rows(column.table, of_electrode, [int(row) for row in column.data[:]])
    if "electrode_group" in table.colnames:
        return np.array(
            [text_of(of_group(group)) for group in table["electrode_group"].data[:]], np.str_
        )
    return np.full(len(table.id), "")


def _of_rows(electrodes: DynamicTable, column: str, rows: list[int | None]) -> Strings:
    """Return an electrodes' column at each row, ``""`` where a unit has none."""
    if column not in electrodes.colnames:
        return np.full(len(rows), "")
    named = strings(np.asarray(electrodes[column].data[:]))
    return np.array(["" if row is None else named[row] for row in rows], np.str_)
