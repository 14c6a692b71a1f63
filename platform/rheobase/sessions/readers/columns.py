"""Columns of an NWB table as arrays of one type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import SessionError
from rheobase.sessions.records.session import Bools, Ints, Strings
from rheobase.sessions.visual_behavior import PEAK_CHANNEL

NOT_METRICS = frozenset({"id", PEAK_CHANNEL, "cluster_id", "local_index"})
"""Numeric columns of a units table that name a unit rather than judge it."""
NO_NAME = ("", "nan", "NaN", "N/A", "None")
"""How files write that a row names nothing."""


def text_of(value: Any) -> str:
    """Return a cell as text: ``true``, ``false``, ``3`` rather than ``3.0``, ``""`` for NaN."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    elif isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    elif isinstance(value, (float, np.floating)):
        if np.isnan(value):
            return ""
        # Not '%g' of whole ones: it would round the ids of channels.
        return str(int(value)) if float(value).is_integer() else f"{value:g}"
    return "" if str(value) in NO_NAME else str(value)


def strings(values: npt.NDArray[Any]) -> Strings:
    """Return a column as text."""
    return np.array([text_of(value) for value in values.tolist()], dtype=np.str_)


def flags(values: npt.NDArray[Any]) -> Bools:
    """Return bool, int, float {0, 1, NaN} or text as bool; NaN, which does not apply, is no."""
    if values.dtype.kind in "OSU":
        return np.isin(strings(values), ["True", "true", "1", "1.0"])
    return np.nan_to_num(values.astype(np.float64)) > 0


def offsets_of(ends: npt.ArrayLike, num_units: int, num_spikes: int, path: Path) -> Ints:
    """Return the offsets (N + 1,) that an index column's ends make, if they fit the spikes."""
    offsets = np.concatenate([[0], np.asarray(ends).astype(np.int64)])
    if len(offsets) != num_units + 1 or offsets[-1] != num_spikes or (np.diff(offsets) < 0).any():
        raise SessionError(
            f"{path}: units/spike_times_index must rise to the number of spikes ({num_spikes}), "
            f"one entry for each of {num_units} units, but has {len(offsets) - 1} and ends at "
            f"{int(offsets[-1])}; write the file again"
        )
    return offsets
