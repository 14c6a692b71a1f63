"""The arrays of a NumPy archive as a recording, each checked."""

# Shape legend: N units, S spikes, P presentations or trials, I epochs, T bins.

from __future__ import annotations

from pathlib import Path

import numpy as np

from rheobase.core.archives import Arrays
from rheobase.core.digest import file_digest
from rheobase.core.errors import DataError, SessionError
from rheobase.sessions.readers.extent import whole_of
from rheobase.sessions.readers.images import image_changes
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.series import events_of, series_of
from rheobase.sessions.records.series_names import SIGNALS
from rheobase.sessions.records.session import (
    ACTIVE,
    OMITTED,
    Floats,
    Intervals,
    Ints,
    Presentations,
    Session,
    Signal,
    Strings,
    TrialSession,
    Units,
)

TIMES, EVENTS = "_time_s", "_event_s"
"""How the names of a time series' times end, whose samples have the rest of it, and of events."""
COLUMN = "unit_"
"""How names of further columns of the units begin: a metric where it holds numbers, or words."""
END_S = 1.0
"""An epoch may end so much after the recording: ends are often rounded up."""
MOST_BIN_S = 1.0
"""Bins of counts by trial are no wider: a greater number is milliseconds."""


def require(holds: bool, path: Path, must: str, but: str, do: str) -> None:
    """Refuse an archive in which something that must hold does not.

    Parameters
    ----------
    holds
        Whether it does.
    path
        The archive.
    must, but, do
        What must hold, what was found in its place, and what to do.

    Raises
    ------
    SessionError
        It does not hold.
    """
    if not holds:
        raise SessionError(f"{path}: {must}, but {but}; {do}")


def _times(path: Path, arrays: Arrays, name: str) -> Floats:
    """Return a 1-D array of finite times in seconds, none negative."""
    array = arrays[name]
    require(
        array.ndim == 1 and array.dtype.kind in "fiu",
        path,
        f"{name} must be a 1-D array of seconds",
        f"it is {array.dtype} of shape {array.shape}",
        "write numbers",
    )
    times = array.astype(np.float64)
    num_bad = int((~np.isfinite(times)).sum())
    require(
        num_bad == 0,
        path,
        f"{name} must be finite",
        f"{num_bad} of {len(times)} are NaN or infinite",
        "drop or repair them",
    )
    num_negative = int((times < 0).sum())
    require(
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
            require(
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
    unit_id = arrays.get("unit_id", np.arange(num_units))
    require(
        unit_id.shape == (num_units,) and unit_id.dtype.kind in "iu",
        path,
        f"unit_id must be a whole number for each of {num_units} units",
        f"it is {unit_id.dtype} of shape {unit_id.shape}",
        "write one entry a unit, or leave it out",
    )
    columns = {
        name.removeprefix(COLUMN): array
        for name, array in arrays.items()
        if name.startswith(COLUMN) and name not in ("unit_id", "unit_index")
    }
    for name, array in columns.items():
        require(
            array.shape == (num_units,),
            path,
            f"{COLUMN}{name} must have one entry for each of {num_units} units",
            f"its shape is {array.shape}",
            "write one entry a unit",
        )
    metrics = {n: a.astype(np.float64) for n, a in columns.items() if a.dtype.kind in "fiub"}
    labels = {n: a.astype(np.str_) for n, a in columns.items() if n not in metrics}
    return Units(unit_id.astype(np.int64), area, probe, metrics, labels)


def recording_of(path: Path, arrays: Arrays, data_digest: str | None = None) -> Session:
    """Return the continuous recording that an archive's arrays make.

    Parameters
    ----------
    path
        The archive.
    arrays
        By name, as `rheobase.sessions.readers.npz.read_npz` lists them.
    data_digest
        What names their bytes; None: the digest of the file.

    Raises
    ------
    SessionError
        The arrays do not fit each other, or hold negative or NaN values.
    """
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
    require(
        fits,
        path,
        f"unit_index must rise from 0 to the number of spikes ({len(spikes_s)}), units + 1 entries",
        f"it has {index.size} entries of {index.dtype}, from {index.ravel()[:1]} to "
        f"{index.ravel()[-1:]}",
        "write offsets into spike_times_s",
    )
    offsets = index.astype(np.int64)
    num_units = len(offsets) - 1
    intervals, told = _epochs(path, arrays, spikes_s, offsets)
    signals, unusable = _signals(path, arrays)
    return Session(
        session_id=path.stem,
        source=str(path),
        data_digest=data_digest or file_digest(path),
        units=_units(path, arrays, num_units),
        spike_times_s=spikes_s,
        spike_offsets=offsets,
        intervals=intervals,
        presentations=_presentations(path, arrays, intervals),
        signals=signals,
        remarks=tuple(told + unusable),
    )


def _signals(path: Path, arrays: Arrays) -> tuple[dict[str, Signal], list[Finding]]:
    """Return behaviour by name, and which series of a user's own cannot be used."""
    signals: dict[str, Signal] = {}
    told: list[Finding] = []
    own = [key.removesuffix(TIMES) for key in arrays if key.endswith(TIMES)]
    for name in (name for name in own if name in arrays and name not in SIGNALS):
        try:
            signals |= series_of(name, _times(path, arrays, name + TIMES), arrays[name])
        except DataError as error:
            told.append(Finding("signal-unusable", "warning", 1, f"{error}; it is left out"))
    for name in (key.removesuffix(EVENTS) for key in arrays if key.endswith(EVENTS)):
        try:
            signals |= events_of(name, _times(path, arrays, name + EVENTS))
        except DataError as error:
            told.append(Finding("signal-unusable", "warning", 1, f"{error}; they are left out"))
    for name in SIGNALS:
        if name not in arrays or name + TIMES not in arrays:
            continue
        time_s, value = _times(path, arrays, name + TIMES), arrays[name]
        require(
            value.shape == time_s.shape and value.dtype.kind in "fiu",
            path,
            f"{name} must have a number for each of {len(time_s)} entries of {name}_time_s",
            f"it is {value.dtype} of shape {value.shape}",
            "write one value a time",
        )
        signals[name] = Signal(time_s, value.astype(np.float64))
    return signals, told


def _number(path: Path, arrays: Arrays, name: str, what: str) -> float:
    """Return a single number, however many axes of length 1 it has."""
    array = arrays[name]
    require(
        array.size == 1 and array.dtype.kind in "fiu",
        path,
        f"{name} must be one number, {what}",
        f"it is {array.dtype} of shape {array.shape}",
        "write numpy.array(number)",
    )
    return float(array.reshape(-1)[0])


def _words(path: Path, arrays: Arrays, name: str) -> Strings:
    array = arrays[name]
    require(
        array.ndim == 1,
        path,
        f"{name} must have one entry each, on one axis",
        f"its shape is {array.shape}",
        "write a list of names",
    )
    return array.astype(np.str_)


def _epochs(
    path: Path, arrays: Arrays, spikes_s: Floats, offsets: Ints
) -> tuple[Intervals, list[Finding]]:
    names = ("epoch_start_s", "epoch_stop_s", "epoch_tag")
    duration_s = None
    if "duration_s" in arrays:
        duration_s = _number(path, arrays, "duration_s", "the recording's length in seconds")
        last_s = float(spikes_s.max(initial=0))
        require(
            np.isfinite(duration_s) and duration_s >= last_s,
            path,
            f"duration_s must reach the last spike at {last_s:g} s",
            f"it is {duration_s:g}",
            "write the recording's length in seconds",
        )
    if not any(name in arrays for name in names):
        if duration_s is None:
            return whole_of(spikes_s, offsets)
        require(
            duration_s > 0, path, "duration_s must be above 0 s", f"it is {duration_s:g}",
            "write the recording's length in seconds",
        )  # fmt: skip
        return Intervals(np.zeros(1), np.array([duration_s]), np.array([""])), []
    missing = [name for name in names if name not in arrays]
    require(not missing, path, f"epochs need {', '.join(names)}", f"{missing} is missing", "add it")
    start_s, stop_s = _times(path, arrays, names[0]), _times(path, arrays, names[1])
    tag = _words(path, arrays, "epoch_tag")
    fits = len(start_s) == len(stop_s) == len(tag) > 0 and bool((stop_s > start_s).all())
    require(
        fits and bool((start_s[1:] >= stop_s[:-1]).all()),
        path,
        "epochs must follow each other, each stopping after it starts",
        f"{len(start_s)} starts, {len(stop_s)} stops and {len(tag)} tags do not",
        "sort and trim them",
    )
    require(
        duration_s is None or stop_s[-1] <= duration_s + END_S,
        path,
        f"epochs must end within duration_s = {duration_s}",
        f"the last one ends at {stop_s[-1]:g} s",
        "write the recording's length in seconds",
    )
    return Intervals(start_s, stop_s, tag), []


def _presentations(path: Path, arrays: Arrays, intervals: Intervals) -> Presentations:
    if "presentation_start_s" not in arrays:
        return Presentations.none()
    start_s = _times(path, arrays, "presentation_start_s")
    num = len(start_s)
    stop_s = start_s
    if "presentation_stop_s" in arrays:
        stop_s = _times(path, arrays, "presentation_stop_s")
    image = np.full(num, "")
    if "presentation_image" in arrays:
        image = _words(path, arrays, "presentation_image")
    require(
        len(image) == num and len(stop_s) == num,
        path,
        f"presentation arrays must have {num} entries each, as presentation_start_s has",
        "one has another length",
        "write one entry a presentation",
    )
    omitted = image == OMITTED
    block = intervals.index_at(start_s)
    return Presentations(
        start_s=start_s,
        stop_s=stop_s,
        image=image,
        is_change=image_changes(image, omitted, block),
        omitted=omitted,
        block=block,
        active=(block >= 0) & (intervals.state[block] == ACTIVE),
    )


def _refuse_swapped_axes(path: Path, arrays: Arrays, start_s: Floats, bin_s: float) -> None:
    """Refuse counts whose axes are not (trials, units, bins), as far as other arrays tell."""
    _num_trials, num_units, num_bins = arrays["counts"].shape
    for name in ("brain_area", "location", "probe"):
        if name in arrays and arrays[name].shape == (num_bins,) != (num_units,):
            raise SessionError(
                f"{path}: counts must be of shape (trials, units, bins), but {name} names "
                f"{num_bins} units, the length of the last axis; swap the last two axes"
            )
    steps_s = np.diff(np.sort(start_s))
    length_s = num_bins * bin_s
    require(
        not len(steps_s) or float(np.median(steps_s)) >= length_s * (1 - 1e-6),
        path,
        f"trials of {num_bins} bins of {bin_s:g} s must not overlap",
        f"one begins every {float(np.median(steps_s)) if len(steps_s) else 0:g} s",
        "check that counts are (trials, units, bins) and bin_s is in seconds",
    )


def trials_of(path: Path, arrays: Arrays) -> TrialSession:
    """Return the recording by trial that an archive's arrays make.

    Parameters
    ----------
    path
        The archive.
    arrays
        By name, as `rheobase.sessions.readers.npz.read_npz` lists them.

    Raises
    ------
    SessionError
        The arrays do not fit each other, or hold negative or NaN values.
    """
    counts = arrays["counts"]
    require(
        counts.ndim == 3 and counts.dtype.kind in "iu" and min(counts.shape) > 0,
        path,
        "counts must be whole numbers of shape (trials, units, bins), none of them 0",
        f"it is {counts.dtype} of shape {counts.shape}",
        "write integer counts",
    )
    least, most = int(counts.min()), int(counts.max())
    require(
        least >= 0 and most <= np.iinfo(np.uint8).max,
        path,
        "counts must lie from 0 to 255 spikes a bin",
        f"they lie from {least} to {most}",
        "check the binning",
    )
    start_s = _times(path, arrays, "trial_start_s")
    num_trials, num_units, _ = counts.shape
    require(
        len(start_s) == num_trials,
        path,
        f"trial_start_s must have one entry for each of {num_trials} trials",
        f"it has {len(start_s)}",
        "write one entry a trial",
    )
    bin_s = _number(path, arrays, "bin_s", "the width of a bin in seconds")
    require(
        np.isfinite(bin_s) and bin_s > 0,
        path,
        "bin_s must be a positive width in seconds",
        f"it is {bin_s:g}",
        "write the width of a bin",
    )
    require(
        bin_s <= MOST_BIN_S,
        path,
        f"bin_s must be the width of a bin in seconds, {MOST_BIN_S:g} at most",
        f"it is {bin_s:g}, which looks like milliseconds",
        f"write {bin_s / 1000:g}",
    )
    _refuse_swapped_axes(path, arrays, start_s, bin_s)
    labels = {
        name: array.astype(np.float64)
        for name, array in arrays.items()
        if array.shape == (num_trials,) and array.dtype.kind in "fiub" and name != "trial_start_s"
    }
    return TrialSession(
        session_id=path.stem,
        source=str(path),
        data_digest=file_digest(path),
        units=_units(path, arrays, num_units),
        counts=counts.astype(np.uint8),
        bin_ms=bin_s * 1000,
        trial_start_s=start_s,
        labels=labels,
    )
