"""Recordings in NumPy archives: continuous spike times, or counts around each trial."""

# Shape legend: N units, S spikes, P presentations or trials, K epochs, T bins.

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.artifacts import whole_file
from rheobase.core.digest import file_digest
from rheobase.core.errors import SessionError
from rheobase.sessions.readers.events import image_changes
from rheobase.sessions.readers.nwb import intervals_of
from rheobase.sessions.records.session import (
    ACTIVE,
    Floats,
    Intervals,
    Presentations,
    Session,
    Signal,
    Strings,
    TrialSession,
    Units,
)

Arrays = dict[str, npt.NDArray[np.generic]]
CONTINUOUS = ("spike_times_s", "unit_index")
TRIALS = ("counts", "bin_s", "trial_start_s")
SIGNALS = ("running", "pupil")


def read_npz(path: Path) -> Session | TrialSession:
    """Read an archive of either form; keys it does not know are left alone.

    Continuous: ``spike_times_s`` (S,) seconds, unit after unit; ``unit_index`` (N + 1,)
    offsets into it; optional ``duration_s``, ``brain_area`` or ``location`` (N,),
    ``probe`` (N,), ``epoch_start_s``, ``epoch_stop_s``, ``epoch_tag`` (K,) stretches of one brain
    state, ``presentation_start_s``, ``presentation_stop_s``, ``presentation_image`` (P,), and
    ``running_time_s``, ``running`` in cm/s, ``pupil_time_s``, ``pupil`` (L,), NaN where lost.

    By trial: ``counts`` (P, N, T) spikes a bin, ``bin_s`` width of a bin in seconds,
    ``trial_start_s`` (P,); optional ``brain_area`` or ``location`` (N,); every other numeric
    array (P,) is a label of the trials.

    Raises
    ------
    SessionError
        The file is missing, is no archive, needs pickle, lacks a key, or its arrays do not
        fit each other or hold negative or NaN values.
    """
    if not path.is_file():
        raise SessionError(f"{path}: an NPZ file must be there, but there is none; check the path")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays: Arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise SessionError(
            f"{path}: an NPZ archive of plain arrays must be given, but reading it failed: "
            f"{reason}; write it again with numpy.savez"
        ) from None
    if all(name in arrays for name in CONTINUOUS):
        return _continuous(path, arrays)
    if all(name in arrays for name in TRIALS):
        return _by_trial(path, arrays)
    raise SessionError(
        f"{path}: the archive must hold {' and '.join(CONTINUOUS)} (continuous) or "
        f"{', '.join(TRIALS)} (by trial), but holds {', '.join(arrays) or 'nothing'}; rename or "
        "add arrays"
    )


def write_npz(
    path: Path,
    spike_times_s: Sequence[npt.ArrayLike],
    *,
    duration_s: float,
    area: Sequence[str] = (),
    probe: Sequence[str] = (),
    epochs: Sequence[tuple[float, float, str]] = (),
    presentations: Sequence[tuple[float, float, str]] = (),
    signals: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]] | None = None,
) -> None:
    """Write a continuous recording in the form `read_npz` reads, whole or not at all.

    This is the way in for recordings held by other libraries: Neo's spike trains as
    ``[train.rescale("s").magnitude for train in segment.spiketrains]``, pynapple's groups as
    ``[group[n].t for n in group]``.

    Parameters
    ----------
    path
        ``OUT.npz``; its stem becomes the session's id.
    spike_times_s
        One array of spike times in seconds for each of N units.
    duration_s
        Length of the recording.
    area
        N structure acronyms, or none.
    probe
        N names of probes, or none.
    epochs
        (start, stop, state) in seconds, in order; states ``active`` and ``passive`` are those
        that CCA is compared across.
    presentations
        (onset, offset, image) in seconds, in order; an image ``omitted`` is an omission.
    signals
        Times in seconds and values of ``running`` in cm/s and ``pupil`` area.

    Raises
    ------
    SessionError
        The arrays do not make a recording that could be read back; nothing is written.

    Examples
    --------
    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp()) / "mine.npz"
    >>> write_npz(out, [[0.1, 0.2], [], [0.5]], duration_s=1.0, area=["VISp", "VISp", "LGd"])
    >>> read_npz(out).num_spikes
    3
    """
    trains = [np.asarray(train, np.float64).ravel() for train in spike_times_s]
    arrays: dict[str, npt.NDArray[Any]] = {
        "spike_times_s": np.concatenate([np.zeros(0), *trains]),
        "unit_index": np.concatenate([[0], np.cumsum([len(train) for train in trains])]).astype(
            np.int64
        ),
        "duration_s": np.array(float(duration_s)),
    }
    for key, names in (("brain_area", area), ("probe", probe)):
        if names:
            arrays[key] = np.array(list(names), np.str_)
    for name, (time_s, value) in (signals or {}).items():
        _require(
            name in SIGNALS, path, f"a signal must be {' or '.join(SIGNALS)}", f"got '{name}'",
            "leave it out",
        )  # fmt: skip
        arrays[f"{name}_time_s"], arrays[name] = np.asarray(time_s), np.asarray(value)
    if epochs:
        for index, name in enumerate(("epoch_start_s", "epoch_stop_s", "epoch_tag")):
            arrays[name] = np.array([epoch[index] for epoch in epochs])
    if presentations:
        for index, name in enumerate(("start_s", "stop_s", "image")):
            arrays[f"presentation_{name}"] = np.array([shown[index] for shown in presentations])
    with whole_file(path) as partial:
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        try:
            read_npz(partial)
        except SessionError as error:
            raise SessionError(str(error).replace(str(partial), str(path))) from None


def _require(holds: bool, path: Path, must: str, found: str, do: str) -> None:
    if not holds:
        raise SessionError(f"{path}: {must}, but {found}; {do}")


def _times(path: Path, arrays: Arrays, name: str) -> Floats:
    """Return a 1-D array of finite times in seconds, none negative."""
    array = arrays[name]
    _require(
        array.ndim == 1 and array.dtype.kind in "fiu",
        path,
        f"{name} must be a 1-D array of seconds",
        f"it is {array.dtype} of shape {array.shape}",
        "write numbers",
    )
    times = array.astype(np.float64)
    num_bad = int((~np.isfinite(times)).sum())
    _require(
        num_bad == 0,
        path,
        f"{name} must be finite",
        f"{num_bad} of {len(times)} are NaN or infinite",
        "drop or repair them",
    )
    num_negative = int((times < 0).sum())
    _require(
        num_negative == 0,
        path,
        f"{name} must be at least 0 s",
        f"{num_negative} of {len(times)} are negative, the least {times.min(initial=0):g} s",
        "shift the clock so that the recording starts at 0",
    )
    return times


def _named(path: Path, arrays: Arrays, num_units: int, what: str, *keys: str) -> Strings:
    for name in keys:
        if name in arrays:
            names = arrays[name]
            _require(
                names.shape == (num_units,),
                path,
                f"{name} must name {what} for each of {num_units} units",
                f"its shape is {names.shape}",
                "write one entry a unit",
            )
            return names.astype(np.str_)
    return np.full(num_units, "")


def _units(path: Path, arrays: Arrays, num_units: int) -> Units:
    area = _named(path, arrays, num_units, "an area", "brain_area", "location")
    probe = _named(path, arrays, num_units, "a probe", "probe")
    return Units(np.arange(num_units), area, probe)


def _continuous(path: Path, arrays: Arrays) -> Session:
    spikes_s = _times(path, arrays, "spike_times_s")
    index = arrays["unit_index"]
    fits = (
        index.ndim == 1
        and index.dtype.kind in "iu"
        and len(index) >= 2
        and index[0] == 0
        and index[-1] == len(spikes_s)
        and bool((np.diff(index.astype(np.int64)) >= 0).all())
    )
    _require(
        fits,
        path,
        f"unit_index must rise from 0 to the number of spikes ({len(spikes_s)}), units + 1 entries",
        f"it has {index.size} entries of {index.dtype}, from {index.ravel()[:1]} to "
        f"{index.ravel()[-1:]}",
        "write offsets into spike_times_s",
    )
    offsets = index.astype(np.int64)
    num_units = len(offsets) - 1
    intervals = _epochs(path, arrays, spikes_s)
    return Session(
        path.stem,
        str(path),
        file_digest(path),
        _units(path, arrays, num_units),
        spikes_s,
        offsets,
        intervals,
        _presentations(path, arrays, intervals),
        _signals(path, arrays),
    )


def _signals(path: Path, arrays: Arrays) -> dict[str, Signal]:
    signals = {}
    for name in SIGNALS:
        if name not in arrays or f"{name}_time_s" not in arrays:
            continue
        time_s, value = _times(path, arrays, f"{name}_time_s"), arrays[name]
        _require(
            value.shape == time_s.shape and value.dtype.kind in "fiu",
            path,
            f"{name} must have a number for each of {len(time_s)} entries of {name}_time_s",
            f"it is {value.dtype} of shape {value.shape}",
            "write one value a time",
        )
        signals[name] = Signal(time_s, value.astype(np.float64))
    return signals


def _epochs(path: Path, arrays: Arrays, spikes_s: Floats) -> Intervals:
    names = ("epoch_start_s", "epoch_stop_s", "epoch_tag")
    if not any(name in arrays for name in names):
        if "duration_s" not in arrays:
            return intervals_of(Presentations.none(), spikes_s)
        duration_s = float(arrays["duration_s"].astype(np.float64))
        last_s = float(spikes_s.max(initial=0))
        _require(
            np.isfinite(duration_s) and duration_s >= last_s,
            path,
            f"duration_s must reach the last spike at {last_s:g} s",
            f"it is {duration_s:g}",
            "write the recording's length in seconds",
        )
        return Intervals(np.zeros(1), np.array([duration_s]), np.array([""]))
    missing = [name for name in names if name not in arrays]
    _require(
        not missing, path, f"epochs need {', '.join(names)}", f"{missing} is missing", "add it"
    )
    start_s, stop_s = _times(path, arrays, names[0]), _times(path, arrays, names[1])
    tag = arrays["epoch_tag"].astype(np.str_)
    fits = len(start_s) == len(stop_s) == len(tag) > 0 and bool((stop_s > start_s).all())
    _require(
        fits and bool((start_s[1:] >= stop_s[:-1]).all()),
        path,
        "epochs must follow each other, each stopping after it starts",
        f"{len(start_s)} starts, {len(stop_s)} stops and {len(tag)} tags do not",
        "sort and trim them",
    )
    return Intervals(start_s, stop_s, tag)


def _presentations(path: Path, arrays: Arrays, intervals: Intervals) -> Presentations:
    if "presentation_start_s" not in arrays:
        return Presentations.none()
    start_s = _times(path, arrays, "presentation_start_s")
    num = len(start_s)
    stop_s = start_s
    if "presentation_stop_s" in arrays:
        stop_s = _times(path, arrays, "presentation_stop_s")
    image = arrays.get("presentation_image", np.full(num, "")).astype(np.str_)
    _require(
        len(image) == num and len(stop_s) == num,
        path,
        f"presentation arrays must have {num} entries each, as presentation_start_s has",
        "one has another length",
        "write one entry a presentation",
    )
    omitted = image == "omitted"
    block = intervals.index_at(start_s)
    return Presentations(
        start_s,
        stop_s,
        image,
        image_changes(image, omitted, block),
        omitted,
        block,
        (block >= 0) & (intervals.state[block] == ACTIVE),
    )


def _by_trial(path: Path, arrays: Arrays) -> TrialSession:
    counts = arrays["counts"]
    _require(
        counts.ndim == 3 and counts.dtype.kind in "iu" and min(counts.shape) > 0,
        path,
        "counts must be whole numbers of shape (trials, units, bins), none of them 0",
        f"it is {counts.dtype} of shape {counts.shape}",
        "write integer counts",
    )
    least, most = int(counts.min()), int(counts.max())
    _require(
        least >= 0 and most <= np.iinfo(np.uint8).max,
        path,
        "counts must lie from 0 to 255 spikes a bin",
        f"they lie from {least} to {most}",
        "check the binning",
    )
    start_s = _times(path, arrays, "trial_start_s")
    num_trials, num_units, _ = counts.shape
    _require(
        len(start_s) == num_trials,
        path,
        f"trial_start_s must have one entry for each of {num_trials} trials",
        f"it has {len(start_s)}",
        "write one entry a trial",
    )
    bin_s = float(arrays["bin_s"].astype(np.float64).ravel()[0]) if arrays["bin_s"].size else 0.0
    _require(
        np.isfinite(bin_s) and bin_s > 0,
        path,
        "bin_s must be a positive width in seconds",
        f"it is {bin_s:g}",
        "write the width of a bin",
    )
    labels = {
        name: array.astype(np.float64)
        for name, array in arrays.items()
        if array.shape == (num_trials,) and array.dtype.kind in "fiub" and name != "trial_start_s"
    }
    return TrialSession(
        path.stem,
        str(path),
        file_digest(path),
        _units(path, arrays, num_units),
        counts.astype(np.uint8),
        bin_s * 1000,
        start_s,
        labels,
    )
