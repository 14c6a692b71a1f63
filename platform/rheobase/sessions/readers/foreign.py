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
from rheobase.core.digest import file_digest
from rheobase.core.errors import DataError, SessionError
from rheobase.sessions.readers.alf import ALF_CLUSTERS, ALF_TIMES, read_alf
from rheobase.sessions.readers.tool_session import digest_of_files, session_of_spikes
from rheobase.sessions.records.session import Intervals, Session

KILOSORT = ("spike_times.npy", "spike_clusters.npy", "params.py")


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
    fits = len(start_s) == len(stop_s) > 0 and bool(
        ((stop_s > start_s) & np.isfinite(stop_s) & np.isfinite(start_s)).all()
    )
    if not fits or not (start_s[1:] >= stop_s[:-1]).all():
        raise SessionError(
            f"{path}: the time support of a TsGroup must be epochs in order, each stopping after "
            f"it starts, but {len(start_s)} starts and {len(stop_s)} stops are not; save it again"
        )
    intervals = Intervals(start_s, stop_s, np.full(len(start_s), ""))
    return session_of_spikes(path, file_digest(path), times, unit, keys, metadata, intervals)


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
    return session_of_spikes(
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
            return read_alf(path)
    except DataError as error:
        raise SessionError(str(error)) from None
    raise SessionError(
        f"{path}: a folder must be one of Kilosort or phy ({', '.join(KILOSORT)}), or of ALF "
        f"({ALF_TIMES}, {ALF_CLUSTERS}), but holds neither; name a file, or 'folder/*.nwb'"
    )


def _of_kilosort(path: Path) -> Session:
    rate_hz = _sample_rate(path / "params.py")
    samples, clusters = (read_array(path / name).ravel() for name in KILOSORT[:2])
    if samples.dtype.kind == "f" and bool((samples != np.floor(samples)).any()):
        raise SessionError(
            f"{path / KILOSORT[0]}: it must hold whole samples, which params.py makes seconds, but "
            f"holds {samples[samples != np.floor(samples)][0]:g}; save it as the sorter did"
        )
    if samples.dtype.kind == "u":
        samples = samples.astype(np.int64)  # samples before 0 are wrapped
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
    return session_of_spikes(
        path, digest_of_files(used), samples / rate_hz, clusters, keys, metadata
    )


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
