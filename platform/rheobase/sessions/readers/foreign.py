"""Archives and folders that other tools write: pynapple, spikeinterface, Kilosort and phy, ALF."""

# Shape legend: N units, S spikes, E entries.

from __future__ import annotations

import ast
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.archives import Arrays, read_array
from rheobase.core.digest import digest, file_digest
from rheobase.core.errors import DataError, SessionError
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

AREA_KEYS = ("brain_area", "location", "area", "structure", "acronym")
KILOSORT = ("spike_times.npy", "spike_clusters.npy", "params.py")
ALF_TIMES, ALF_CLUSTERS = "spikes.times*.npy", "spikes.clusters*.npy"


def session_of_other_tools(path: Path, arrays: Arrays) -> Session | None:
    """Return the recording in an archive of pynapple or spikeinterface; None of any other.

    Raises
    ------
    SessionError
        It is one of theirs that holds no units, several segments, or arrays that do not fit.
    """
    kind = str(arrays["type"].ravel()[0]) if "type" in arrays and arrays["type"].size else ""
    if kind == "TsGroup":
        return _of_pynapple(path, arrays)
    if kind in ("Ts", "Tsd", "TsdFrame", "TsdTensor", "IntervalSet"):
        raise SessionError(
            f"{path}: units must be saved as a TsGroup, but this archive of pynapple holds a "
            f"{kind}; save nap.TsGroup({{unit: times, …}})"
        )
    if {"unit_ids", "num_segment", "sampling_frequency"} <= arrays.keys():
        return _of_spikeinterface(path, arrays)
    return None


def _of_pynapple(path: Path, arrays: Arrays) -> Session:
    _need(path, arrays, ("t", "index", "keys", "start", "end"), "a TsGroup of pynapple")
    times, unit = arrays["t"].astype(np.float64).ravel(), arrays["index"].ravel()
    keys = arrays["keys"].ravel()
    start_s, stop_s = (arrays[name].astype(np.float64).ravel() for name in ("start", "end"))
    metadata = {
        name: array
        for name, array in arrays.items()
        if array.shape == keys.shape and name not in ("t", "index", "keys", "start", "end", "type")
    }
    metadata.pop("rate", None)  # pynapple's own count
    fits = len(start_s) == len(stop_s) > 0 and bool((stop_s > start_s).all())
    if not fits or not (start_s[1:] >= stop_s[:-1]).all():
        raise SessionError(
            f"{path}: the time support of a TsGroup must be epochs in order, each stopping after "
            f"it starts, but {len(start_s)} starts and {len(stop_s)} stops are not; save it again"
        )
    intervals = Intervals(start_s, stop_s, np.full(len(start_s), ""))
    return _session(path, file_digest(path), times, unit, keys, metadata, intervals)


def _of_spikeinterface(path: Path, arrays: Arrays) -> Session:
    num_segments = int(arrays["num_segment"].ravel()[0])
    if num_segments != 1:
        raise SessionError(
            f"{path}: a sorting must have one segment, whose clock is one, but has {num_segments}; "
            "save each with sorting.select_segments"
        )
    names = ("spike_indexes_seg0", "spike_labels_seg0")
    _need(path, arrays, names, "a sorting of spikeinterface")
    rate_hz = float(arrays["sampling_frequency"].ravel()[0])
    _positive(path, rate_hz)
    times = arrays[names[0]].astype(np.float64).ravel() / rate_hz
    return _session(
        path, file_digest(path), times, arrays[names[1]].ravel(), arrays["unit_ids"].ravel(), {}
    )


def is_folder_of_units(path: Path) -> bool:
    """Tell whether a folder is one of Kilosort or phy, or holds ALF spikes."""
    return path.is_dir() and (
        all((path / name).is_file() for name in KILOSORT) or bool(list(path.glob(ALF_TIMES)))
    )


def read_folder(path: Path) -> Session:
    """Read the units in a folder of Kilosort or phy, or of ALF files.

    Kilosort and phy: times are ``spike_times.npy`` in samples by ``sample_rate`` of ``params.py``,
    labels the columns of ``cluster_*.tsv``. ALF: ``spikes.times`` in seconds,
    ``spikes.clusters``, and areas ``clusters.acronym`` or ``clusters.brainLocationAcronyms…``.

    Raises
    ------
    SessionError
        It is no such folder, or its files are damaged or do not fit each other.
    """
    try:
        if all((path / name).is_file() for name in KILOSORT):
            return _of_kilosort(path)
        if list(path.glob(ALF_TIMES)):
            return _of_alf(path)
    except DataError as error:
        raise SessionError(str(error)) from None
    raise SessionError(
        f"{path}: a folder must be one of Kilosort or phy ({', '.join(KILOSORT)}), or of ALF "
        f"({ALF_TIMES}, {ALF_CLUSTERS}), but holds neither; name a file, or 'folder/*.nwb'"
    )


def _of_kilosort(path: Path) -> Session:
    rate_hz = _sample_rate(path / "params.py")
    samples, clusters = (read_array(path / name).ravel() for name in KILOSORT[:2])
    labels: dict[int, dict[str, str]] = {}
    used = [path / name for name in KILOSORT]
    for table in sorted(path.glob("cluster_*.tsv")):
        used.append(table)
        for row in _rows(table):
            number = row.pop("cluster_id", "") or row.pop("id")
            labels.setdefault(int(number), {}).update(row)
    keys = np.unique(clusters)
    columns = sorted({name for row in labels.values() for name in row})
    metadata: dict[str, npt.NDArray[Any]] = {
        name: _typed([labels.get(int(key), {}).get(name, "") for key in keys]) for name in columns
    }
    return _session(path, _digest(used), samples / rate_hz, clusters, keys, metadata)


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = [dict(row) for row in csv.DictReader(file, delimiter="\t")]
        for row in rows:
            int(row.get("cluster_id") or row["id"])  # phy 2 before its release: id
            if None in row or None in row.values():
                raise ValueError(f"a row has {len(row)} entries")
        return rows
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise SessionError(
            f"{table}: it must be a table with a column cluster_id, but reading it failed: "
            f"{error}; save it again with phy"
        ) from None


def _sample_rate(path: Path) -> float:
    """Return the sample rate that phy's settings state; they are parsed, never run."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            is_rate = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "sample_rate"
            if is_rate and isinstance(node, ast.Assign):
                rate_hz = float(ast.literal_eval(node.value))
                _positive(path, rate_hz)
                return rate_hz
    except (OSError, ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        pass
    raise SessionError(
        f"{path}: 'sample_rate = <Hz>' must be there, which makes samples seconds, but is not; add "
        "it"
    )


def _of_alf(path: Path) -> Session:
    found = [sorted(path.glob(pattern)) for pattern in (ALF_TIMES, ALF_CLUSTERS)]
    if not all(found):
        raise SessionError(
            f"{path}: ALF spikes must have times and clusters, but there is no {ALF_CLUSTERS}; "
            "download it beside the other"
        )
    used = [files[0] for files in found]
    times, clusters = (read_array(one).ravel() for one in used)
    columns: dict[str, npt.NDArray[Any]] = {}
    for file in sorted(path.glob("clusters.*.npy")):
        values = read_array(file)
        if values.ndim == 1:
            used.append(file)
            columns[file.name.split(".")[1]] = values
    num = max((len(values) for values in columns.values()), default=0)
    least, most = int(clusters.min(initial=0)), int(clusters.max(initial=0))
    if num and not 0 <= least <= most < num:
        raise SessionError(
            f"{path}: clusters of spikes must lie from 0 to {num - 1}, the rows of clusters.*.npy, "
            f"but lie from {least} to {most}; download both from one sorting"
        )
    keys = np.arange(num) if num else np.unique(clusters)
    metadata = {name: values for name, values in columns.items() if len(values) == num}
    for name in ("brainLocationAcronyms_ccf_2017", "acronyms", "atlas_acronym"):
        if name in metadata:
            metadata["acronym"] = metadata.pop(name)
    return _session(path, _digest(used), times.astype(np.float64), clusters, keys, metadata)


def _session(
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


def _typed(cells: list[str]) -> npt.NDArray[Any]:
    """Return a column as numbers where all that is there are, else as words."""
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return np.array(cells, np.str_)


def _need(path: Path, arrays: Arrays, names: Sequence[str], what: str) -> None:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise SessionError(
            f"{path}: {what} must hold {', '.join(names)}, but {', '.join(missing)} is missing; "
            "save it again"
        )


def _positive(path: Path, rate_hz: float) -> None:
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise SessionError(
            f"{path}: the sampling rate must be above 0 Hz, but is {rate_hz:g}; write the right one"
        )


def _digest(files: Sequence[Path]) -> str:
    return digest({file.name: file_digest(file) for file in files})
