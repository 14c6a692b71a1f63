"""Visual Behavior Neuropixels NWB files, read with h5py alone."""

# Shape legend: N units, S spikes, P presentations, B blocks.

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from rheobase.core.digest import file_digest
from rheobase.core.errors import SessionError
from rheobase.sessions.session import (
    ACTIVE,
    PASSIVE,
    Bools,
    Floats,
    Intervals,
    Presentations,
    Session,
    Strings,
    Units,
)

STRIDE_S = 0.75
"""From one flash's onset to the next one's."""
NO_IMAGE = ("", "nan", "NaN", "N/A")
NOT_METRICS = frozenset({"id", "peak_channel_id", "cluster_id", "local_index"})


def read_nwb(path: Path) -> Session:
    """Read units, spikes and image presentations of an NWB file.

    Metrics are all numeric columns of the units table. Presentations are the rows of
    ``intervals/*_presentations`` that name an image (gabors and full-field flashes do not).
    Each block of them is one interval, active or passive, from its first onset to one flash
    period after its last: nothing between blocks is binned. A file without presentations is
    one interval of no named state, from 0 to its last spike.

    Raises
    ------
    SessionError
        The file is missing, is not HDF5, is damaged, or holds no units table.
    """
    if not path.is_file():
        raise SessionError(f"{path}: an NWB file must be there, but there is none; check the path")
    try:
        with h5py.File(path) as file:
            units, spikes_s, offsets = _read_units(file, path)
            presentations = _read_presentations(file)
            name = _text(file["identifier"][()]) if "identifier" in file else path.stem
    except (OSError, KeyError, RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0].strip("'\"")
        raise SessionError(
            f"{path}: a whole NWB (HDF5) file must be given, but reading it failed: {reason}; "
            "copy or download it again"
        ) from None
    return Session(
        re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or path.stem,
        str(path),
        file_digest(path),
        units,
        spikes_s,
        offsets,
        intervals_of(presentations, spikes_s),
        presentations,
    )


def intervals_of(presentations: Presentations, spikes_s: Floats) -> Intervals:
    """Return one interval a stimulus block (B), or the whole recording without presentations."""
    if not len(presentations):
        last = float(np.max(spikes_s, initial=0.0, where=np.isfinite(spikes_s)))
        whole = np.nextafter(last, np.inf)
        return Intervals(np.zeros(1), np.array([whole]), np.array([""]))
    blocks = np.unique(presentations.block)
    rows = [np.flatnonzero(presentations.block == block) for block in blocks]
    rows.sort(key=lambda row: float(presentations.start_s[row].min()))
    return Intervals(
        np.array([presentations.start_s[row].min() for row in rows]),
        np.array([presentations.start_s[row].max() + STRIDE_S for row in rows]),
        np.array([ACTIVE if presentations.active[row[0]] else PASSIVE for row in rows]),
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _strings(values: Any) -> Strings:
    return np.array([_text(value) for value in values], dtype=np.str_)


def _flags(values: npt.NDArray[Any]) -> Bools:
    """Return bool, int or float {0, 1, NaN} as bool: NaN, a row to which it does not apply, no."""
    if values.dtype.kind in "OS":
        return np.isin(_strings(values), ["True", "true", "1", "1.0"])
    return np.nan_to_num(values.astype(np.float64)) > 0


def _read_units(file: h5py.File, path: Path) -> tuple[Units, Floats, npt.NDArray[np.int64]]:
    if "units" not in file or "spike_times" not in file["units"]:
        raise SessionError(
            f"{path}: an NWB file must hold 'units/spike_times', but holds {sorted(file)}; "
            "use one with sorted units"
        )
    table = file["units"]
    unit_id = table["id"][:].astype(np.int64)
    ends = table["spike_times_index"][:].astype(np.int64)
    offsets = np.concatenate([[0], ends])
    spikes_s = table["spike_times"][:].astype(np.float64)
    if len(ends) != len(unit_id) or offsets[-1] != len(spikes_s) or (np.diff(offsets) < 0).any():
        raise SessionError(
            f"{path}: units/spike_times_index must rise to the number of spikes "
            f"({len(spikes_s)}), one entry for each of {len(unit_id)} units, but has {len(ends)} "
            f"and ends at {int(offsets[-1])}; write the file again"
        )
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
    area = _of_electrodes(file, table, "location")
    probe = _of_electrodes(file, table, "group_name")
    return Units(unit_id, area, probe, metrics), spikes_s, offsets


def _of_electrodes(file: h5py.File, table: h5py.Group, column: str) -> Strings:
    """Return a column of the electrodes' table at each unit's peak or first channel, (N,)."""
    where = "general/extracellular_ephys/electrodes"
    num_units = len(table["id"])
    if where not in file or column not in file[where]:
        return np.full(num_units, "")
    named = _strings(file[where][column][:])
    named[named == "None"] = ""  # how Allen's writer says that a channel lies in no structure
    if "peak_channel_id" not in table:
        # NWB's own column: for each unit a list of rows of the electrodes' table.
        if "electrodes" not in table or "electrodes_index" not in table:
            return np.full(num_units, "")
        ends = table["electrodes_index"][:].astype(np.int64)
        begins = np.concatenate([[0], ends[:-1]])
        rows = table["electrodes"][:].astype(np.int64)
        return np.array(
            [named[rows[b]] if e > b else "" for b, e in zip(begins, ends, strict=True)],
            dtype=np.str_,
        )
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
    return Presentations(start_s, stop_s, image, is_change, omitted, block, active)


def _presentations_of(table: h5py.Group) -> Presentations:
    image = _strings(table["image_name"][:])
    named = ~np.isin(image, NO_IMAGE)
    start_s = table["start_time"][:].astype(np.float64)[named]
    num = len(start_s)

    def column(name: str, absent: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(table[name][:])[named] if name in table else absent

    no = np.zeros(num, bool)
    return Presentations(
        start_s,
        table["stop_time"][:].astype(np.float64)[named],
        image[named],
        _flags(column("is_change", no)),
        _flags(column("omitted", image[named] == "omitted")),
        column("stimulus_block", np.zeros(num)).astype(np.int64),
        _flags(column("active", no)),
    )
