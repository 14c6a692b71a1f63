"""Recordings out of other libraries and folders, by what their objects can do: none is imported."""

# Shape legend: N units, S spikes, I epochs.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rheobase.core.errors import SessionError
from rheobase.sessions.own.recording import Recording, recording
from rheobase.sessions.readers.foreign import is_folder_of_units, read_folder
from rheobase.sessions.readers.tool_session import AREA_KEYS

States = Mapping[str, Any]
"""Epochs of each state: an IntervalSet of pynapple, or rows of start and stop in seconds."""
CURATED, SORTED = "group", "KSLabel"
"""Columns of labels: that of a person with phy, and that of Kilosort."""
UNJUDGED = ("", "unsorted", "nan")


def from_pynapple(
    group: Any, *, name: str = "recording", states: States | None = None
) -> Recording:
    """Return the recording in a TsGroup of pynapple.

    Parameters
    ----------
    group
        A TsGroup; its index names the units, and its metadata come along.
    name
        What the session is called.
    states
        IntervalSets by state, as ``{"active": wake, "sleep": sleep}``; without any, the group's
        time support is what was recorded.

    Raises
    ------
    SessionError
        It is no TsGroup, or epochs overlap.

    Examples
    --------
    >>> import types
    >>> class Group(dict):  # stands for nap.TsGroup({3: nap.Ts([0.1, 0.4])})
    ...     metadata_columns, time_support = [], types.SimpleNamespace(
    ...         start=np.array([0.0]), end=np.array([1.0]))
    >>> from_pynapple(Group({3: types.SimpleNamespace(t=np.array([0.1, 0.4]))}))
    Recording('recording': 1 units, 2 spikes, 1 s)
    """
    _need(group, ("keys", "time_support"), "a TsGroup of pynapple", name)
    columns = {
        column: np.asarray(group.get_info(column))
        for column in getattr(group, "metadata_columns", ())
        if column != "rate"  # pynapple's own count
    }
    area = next((columns.pop(key) for key in AREA_KEYS if key in columns), ())
    support = _rows(group.time_support)
    return recording(
        group,
        name=name,
        area=area,
        units=columns,
        duration_s=max(stop for _, stop in support),
        epochs=_epochs(states) if states else [(start, stop, "") for start, stop in support],
    )


def from_neo(segment: Any, *, name: str = "recording", epochs: str | None = None) -> Recording:
    """Return the recording in a segment of Neo.

    Parameters
    ----------
    segment
        A Segment, or a Block of one.
    name
        What the session is called.
    epochs
        Name of the Epoch whose labels are states; without it all is of one state.

    Raises
    ------
    SessionError
        A block has several segments, whose clocks are several; there is no such epoch.

    Notes
    -----
    Where the segment starts before 0 all times are shifted so that it starts at 0. Annotations
    ``brain_area``, ``location`` or ``area`` of the trains name areas.

    Examples
    --------
    >>> import types
    >>> train = types.SimpleNamespace(  # stands for neo.SpikeTrain([100, 400], "ms", t_stop=1000)
    ...     rescale=lambda unit: types.SimpleNamespace(magnitude=np.array([0.1, 0.4])),
    ...     t_start=0.0, t_stop=1.0, annotations={"brain_area": "VISp"})
    >>> from_neo(types.SimpleNamespace(spiketrains=[train], epochs=[]))
    Recording('recording': 1 units, 2 spikes, 1 s)
    """
    segments = getattr(segment, "segments", None)
    if segments is not None and not hasattr(segment, "spiketrains"):
        if len(segments) != 1:
            raise SessionError(
                f"{name}: a block must have one segment, whose clock is one, but has "
                f"{len(segments)}; give block.segments[…]"
            )
        segment = segments[0]
    _need(segment, ("spiketrains", "epochs"), "a Segment of Neo", name)
    trains = list(segment.spiketrains)
    shift_s = max(0.0, -min((_in_seconds(train.t_start) for train in trains), default=0.0))
    areas = [
        next((str(train.annotations[key]) for key in AREA_KEYS if key in train.annotations), "")
        for train in trains
    ]
    rows: list[tuple[float, float, str]] = []
    if epochs is not None:
        found = [one for one in segment.epochs if one.name == epochs]
        if len(found) != 1:
            there = ", ".join(str(one.name) for one in segment.epochs) or "none"
            raise SessionError(
                f"{name}: one Epoch must be named '{epochs}', but {len(found)} are; there is "
                f"{there}"
            )
        starts = np.asarray(found[0].rescale("s").magnitude) + shift_s
        lasts = np.asarray(found[0].durations.rescale("s").magnitude)
        labels = [str(label) for label in found[0].labels]
        rows = list(zip(starts.tolist(), (starts + lasts).tolist(), labels, strict=True))
    return recording(
        [np.asarray(train.rescale("s").magnitude, np.float64) + shift_s for train in trains],
        name=name,
        area=areas if any(areas) else (),
        duration_s=max((_in_seconds(train.t_stop) for train in trains), default=0.0) + shift_s,
        epochs=rows,
    )


def from_dataframe(
    frame: Any,
    *,
    unit: str = "unit_id",
    time: str = "spike_time_s",
    name: str = "recording",
    **known: Any,
) -> Recording:
    """Return the recording in a table of pandas, polars or Arrow.

    Parameters
    ----------
    frame
        A row for each spike; or a row for each unit, whose column `time` holds arrays, and whose
        other columns are its area, probe, metrics and labels.
    unit, time
        Names of the columns.
    name
        What the session is called.
    known
        As `recording` takes it.

    Raises
    ------
    SessionError
        A column is missing, or holds no numbers.

    Examples
    --------
    >>> from_dataframe({"unit_id": [7, 9, 7], "spike_time_s": [0.1, 0.2, 0.3]}, duration_s=1)
    Recording('recording': 2 units, 3 spikes, 1 s)
    """
    if not hasattr(frame, "__getitem__") or isinstance(frame, str):
        raise SessionError(
            f"{name}: a table of pandas, polars or Arrow must be given, but this is a "
            f"{type(frame).__name__}; give spike times to recording() instead"
        )
    names = getattr(frame, "column_names", None) or getattr(frame, "columns", None)
    columns = [str(column) for column in (frame if names is None else names)]
    for column in (unit, time):
        if column not in columns:
            raise SessionError(
                f"{name}: the table must have a column '{column}', but has {', '.join(columns)}; "
                "name it with unit= and time="
            )
    of_unit, spikes = np.asarray(frame[unit]), np.asarray(frame[time])
    if len(spikes) and np.ndim(spikes[0]):
        own = {c: np.asarray(frame[c]) for c in columns if c not in (unit, time)}
        area = next((own.pop(key) for key in AREA_KEYS if key in own), ())
        known = {"area": area, "probe": own.pop("probe", ()), "units": own} | known
        return recording(dict(zip(of_unit.tolist(), spikes, strict=True)), name=name, **known)
    if spikes.dtype.kind not in "fiu":
        raise SessionError(
            f"{name}: column '{time}' must hold seconds, but holds {spikes.dtype}; convert it"
        )
    keys, index = np.unique(of_unit, return_inverse=True)
    by_unit = np.lexsort((spikes, index))
    ends = np.cumsum(np.bincount(index, minlength=len(keys)))[:-1]
    trains = np.split(spikes[by_unit], ends)
    return recording(dict(zip(keys.tolist(), trains, strict=True)), name=name, **known)


def from_phy(folder: str | Path, *, labels: Sequence[str] | None = None) -> Recording:
    r"""Return the recording in a folder of Kilosort or phy.

    Parameters
    ----------
    folder
        With ``spike_times.npy``, ``spike_clusters.npy`` and ``params.py``.
    labels
        Units to keep, as ``("good", "mua")``: by the column ``group``, which a person wrote with
        phy, and where that has no word by ``KSLabel``; None: all.

    Raises
    ------
    SessionError
        It is no such folder, its files do not fit each other, or no unit has such a label.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "sorted"
    >>> folder.mkdir()
    >>> np.save(folder / "spike_times.npy", np.array([3000, 6000, 9000]))
    >>> np.save(folder / "spike_clusters.npy", np.array([0, 2, 2]))
    >>> _ = (folder / "params.py").write_text("sample_rate = 30000.")
    >>> rows = "cluster_id\tKSLabel\n0\tmua\n2\tgood\n"
    >>> _ = (folder / "cluster_KSLabel.tsv").write_text(rows)
    >>> from_phy(folder, labels=["good"]).spike_times_s
    [array([0.2, 0.3])]
    """
    session = read_folder(_folder(folder, "Kilosort or phy"))
    if labels is not None:
        if not len(session.units):
            raise SessionError(f"{folder}: at least one unit must be there, but none is")
        none = np.full(len(session.units), "")
        by_hand, by_sorter = (session.units.labels.get(name, none) for name in (CURATED, SORTED))
        judged = np.where(np.isin(by_hand, UNJUDGED), by_sorter, by_hand)
        kept = np.isin(judged, list(labels))
        if not kept.any():
            there = ", ".join(sorted({str(label) for label in judged if label})) or "none"
            raise SessionError(
                f"{folder}: a unit must be labelled {' or '.join(labels)}, but none is; there is "
                f"{there}"
            )
        session = session.take_units(kept)
    return Recording.of_session(session)


def from_alf(folder: str | Path) -> Recording:
    """Return the recording in a folder of ALF files, as ONE downloads them.

    Parameters
    ----------
    folder
        With ``spikes.times.npy`` in seconds and ``spikes.clusters.npy``; ``clusters.*.npy`` are
        areas, metrics and labels.

    Raises
    ------
    SessionError
        It is no such folder, or its files do not fit each other.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "alf"
    >>> folder.mkdir()
    >>> np.save(folder / "spikes.times.npy", np.array([0.1, 0.2, 0.3]))
    >>> np.save(folder / "spikes.clusters.npy", np.array([0, 1, 1]))
    >>> np.save(folder / "clusters.acronym.npy", np.array(["VISp", "LGd"]))
    >>> from_alf(folder).session.units.area.tolist()
    ['VISp', 'LGd']
    """
    return Recording.of_session(read_folder(_folder(folder, "ALF")))


def from_spikeinterface(sorting: Any, *, name: str = "recording", **known: Any) -> Recording:
    """Return the recording in a sorting of spikeinterface.

    Parameters
    ----------
    sorting
        A BaseSorting of one segment; its properties come along.
    name
        What the session is called.
    known
        As `recording` takes it.

    Raises
    ------
    SessionError
        It is no sorting, or has several segments, whose clocks are several.

    Examples
    --------
    >>> import types
    >>> sorting = types.SimpleNamespace(  # stands for a BaseSorting
    ...     unit_ids=[4], sampling_frequency=1000.0, get_num_segments=lambda: 1,
    ...     get_unit_spike_train=lambda unit, segment_index: np.array([100, 400]),
    ...     get_property_keys=lambda: [])
    >>> from_spikeinterface(sorting, duration_s=1.0).spike_times_s
    [array([0.1, 0.4])]
    """
    _need(
        sorting,
        ("unit_ids", "get_unit_spike_train", "sampling_frequency"),
        "a sorting of spikeinterface",
        name,
    )
    num_segments = int(sorting.get_num_segments())
    if num_segments != 1:
        raise SessionError(
            f"{name}: a sorting must have one segment, whose clock is one, but has {num_segments}; "
            "take one with sorting.select_segments"
        )
    rate_hz = float(sorting.sampling_frequency)
    columns = {key: np.asarray(sorting.get_property(key)) for key in sorting.get_property_keys()}
    columns = {key: values for key, values in columns.items() if values.ndim == 1}
    area = next((columns.pop(key) for key in AREA_KEYS if key in columns), ())
    trains = {
        unit: np.asarray(sorting.get_unit_spike_train(unit, segment_index=0)) / rate_hz
        for unit in sorting.unit_ids
    }
    return recording(trains, name=name, **({"area": area, "units": columns} | known))


def _need(given: Any, names: Sequence[str], what: str, name: str) -> None:
    missing = [one for one in names if not hasattr(given, one)]
    if missing:
        raise SessionError(
            f"{name}: {what} must be given, but a {type(given).__name__} has no "
            f"{' and no '.join(missing)}; give spike times to recording() instead"
        )


def _folder(folder: str | Path, what: str) -> Path:
    path = Path(folder)
    if not is_folder_of_units(path):
        found = "it is none" if path.is_dir() else "there is no folder"
        raise SessionError(f"{path}: a folder of {what} must be there, but {found}; check the path")
    return path


def _in_seconds(time: Any) -> float:
    return float(time.rescale("s").magnitude) if hasattr(time, "rescale") else float(time)


def _rows(epochs: Any) -> list[tuple[float, float]]:
    if hasattr(epochs, "start") and hasattr(epochs, "end"):
        pairs = zip(np.ravel(epochs.start), np.ravel(epochs.end), strict=True)
    else:
        pairs = iter(np.asarray(epochs, np.float64).reshape(-1, 2))  # type: ignore[assignment]
    return [(float(start), float(stop)) for start, stop in pairs]


def _epochs(states: States) -> list[tuple[float, float, str]]:
    return sorted((*row, state) for state, epochs in states.items() for row in _rows(epochs))
