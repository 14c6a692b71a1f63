"""A recording out of what other tools keep: a time and a unit for each spike, columns of units."""

# Shape legend: N units, S spikes.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.digest import digest, file_digest
from rheobase.core.errors import SessionError
from rheobase.sessions.readers.columns import NO_NAME
from rheobase.sessions.readers.extent import whole_of
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import (
    Floats,
    Intervals,
    Presentations,
    Session,
    Strings,
    Units,
)

CLOCK_BACK_S = 1.0
"""Times of a unit that fall by so much are not sorted, which would hide a clock that goes back."""
AREA_KEYS = ("brain_area", "location", "area", "structure", "acronym")


def session_of_spikes(
    path: Path,
    data_digest: str,
    times: Floats,
    unit: npt.NDArray[Any],
    keys: npt.NDArray[Any],
    metadata: dict[str, npt.NDArray[Any]],
    intervals: Intervals | None = None,
) -> Session:
    """Return the recording of spikes (S,) with the unit of each, which `keys` (N,) name."""
    if len(times) != len(unit):
        raise SessionError(
            f"{path}: each of {len(times)} spikes must name its unit, but {len(unit)} do; save it "
            "again"
        )
    order = np.argsort(keys, kind="stable")
    at = np.searchsorted(keys[order], unit)
    known = keys[order][np.minimum(at, max(len(keys) - 1, 0))] == unit if len(keys) else unit < unit
    if len(np.unique(keys)) < len(keys) or not np.all(known):
        raise SessionError(
            f"{path}: each spike must name one of the {len(keys)} units, each of which has a name "
            "of its own, but some do not; save it again"
        )
    index = order[at] if len(unit) else np.zeros(0, np.int64)
    by_unit = np.argsort(index, kind="stable")
    falls = (np.diff(times[by_unit]) <= -CLOCK_BACK_S) & (np.diff(index[by_unit]) == 0)
    if not falls.any():  # else the file's order tells whether its clock began again
        by_unit = np.lexsort((times, index))
    counts = np.bincount(index, minlength=len(keys))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    spikes_s = times[by_unit]
    told: list[Finding] = []
    if intervals is None:
        intervals, told = whole_of(spikes_s, offsets)
    words = {name: array for name, array in metadata.items() if array.dtype.kind in "SUb"}
    area = _first(words, AREA_KEYS, len(keys))
    ids = keys.astype(np.int64) if keys.dtype.kind in "iuf" else np.arange(len(keys))
    return Session(
        session_id=path.stem if path.is_file() else path.name,
        source=str(path),
        data_digest=data_digest,
        units=Units(
            ids,
            area,
            _first(words, ("probe",), len(keys)),
            {
                name: array.astype(np.float64)
                for name, array in metadata.items()
                if array.dtype.kind in "fiu"
            },
            {name: np.char.lower(_text(array)) if array.dtype.kind == "b" else _text(array)
             for name, array in words.items()},
        ),
        spike_times_s=spikes_s,
        spike_offsets=offsets,
        intervals=intervals,
        presentations=Presentations.none(),
        remarks=tuple(told),
    )  # fmt: skip


def _text(array: npt.NDArray[Any]) -> Strings:
    text = np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array
    named: Strings = text.astype(np.str_)
    return np.where(np.isin(named, NO_NAME), "", named)


def _first(words: dict[str, npt.NDArray[Any]], names: Sequence[str], num: int) -> Strings:
    return next((_text(words[name]) for name in names if name in words), np.full(num, ""))


def digest_of_files(files: Sequence[Path]) -> str:
    """Return a digest of the names and bytes of files."""
    return digest({file.name: file_digest(file) for file in files})
