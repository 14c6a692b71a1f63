"""Spikes as users hold them, brought into the arrays of an archive."""

# Shape legend: N units, S spikes, P presentations, I epochs, L samples of a signal.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.archives import Arrays
from rheobase.core.errors import DataError, SessionError
from rheobase.sessions.readers.npz_arrays import COLUMN, EVENTS, TIMES
from rheobase.sessions.records.series import events_of, series_of
from rheobase.sessions.records.session import Floats

SpikeTimes = Any
"""One array of seconds for each unit: a sequence, a mapping or Series from units, a TsGroup."""
Stretch = tuple[float, float, str]


def continuous_arrays(
    where: str,
    spike_times_s: SpikeTimes,
    *,
    duration_s: float | None = None,
    unit_id: Sequence[int] | npt.NDArray[Any] | None = None,
    area: Iterable[str] = (),
    probe: Iterable[str] = (),
    epochs: Iterable[Stretch] = (),
    presentations: Iterable[Stretch] = (),
    signals: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]] | None = None,
    events: Mapping[str, npt.ArrayLike] | None = None,
    units: Mapping[str, npt.ArrayLike] | None = None,
) -> Arrays:
    """Return a continuous recording as arrays under the names that `read_npz` reads.

    Parameters
    ----------
    where
        What errors name.
    spike_times_s
        One array of spike times in seconds for each of N units: a sequence of arrays; a mapping
        or a pandas Series from unit to array, whose keys become the units' ids; a TsGroup of
        pynapple. Quantities, as Neo's spike trains, are brought to seconds.
    duration_s
        Length of the recording; None: as told by the spikes.
    unit_id
        N whole numbers, each once, in place of those of a mapping.
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
        Times (L,) in seconds and values (L,) or (L, C) by name: ``running`` in cm/s, ``pupil``
        area, and any other time series; each is a probe of codes.
    events
        Times (L,) in seconds by name, such as licks: their rate is a probe.
    units
        Further columns (N,) of the units: metrics where they hold numbers, else labels.

    Raises
    ------
    SessionError
        It is not one array a unit, or a column does not fit.
    """
    trains, keys = trains_of(where, spike_times_s)
    arrays: Arrays = {
        "spike_times_s": np.concatenate([np.zeros(0), *trains]),
        "unit_index": np.cumsum([0, *map(len, trains)]).astype(np.int64),
    }
    if duration_s is not None:
        arrays["duration_s"] = np.array(float(duration_s))
    columns = dict(units or {})
    if unit_id is None and keys:
        if all(isinstance(key, int | np.integer) for key in keys):
            unit_id = np.array(keys, np.int64)
        else:
            columns.setdefault("name", np.array([str(key) for key in keys]))
    if unit_id is not None:
        arrays["unit_id"] = np.asarray(unit_id)
    for key, words in (("brain_area", list(area)), ("probe", list(probe))):
        if words:
            arrays[key] = np.array(words, np.str_)
    for name, values in columns.items():
        array = np.asarray(values)
        arrays[COLUMN + name] = array.astype(np.str_) if array.dtype.kind in "OT" else array
    try:
        for name, (time_s, value) in (signals or {}).items():
            series_of(name, np.asarray(time_s, np.float64), np.asarray(value))
            arrays[name + TIMES], arrays[name] = np.asarray(time_s), np.asarray(value)
        for name, time_s in (events or {}).items():
            events_of(name, np.asarray(time_s, np.float64))
            arrays[name + EVENTS] = np.asarray(time_s)
    except (DataError, ValueError) as error:
        raise SessionError(f"{where}: {error}") from None
    for given, called in (
        (epochs, ("epoch_start_s", "epoch_stop_s", "epoch_tag")),
        (presentations, ("presentation_start_s", "presentation_stop_s", "presentation_image")),
    ):
        rows = [tuple(row) for row in given]
        wrong = next((row for row in rows if len(row) != 3), None)
        if wrong is not None:
            raise SessionError(
                f"{where}: epochs and presentations must be rows of start, stop and name, but one "
                f"has {len(wrong)} entries; write (start_s, stop_s, 'name')"
            )
        if rows:
            starts, stops, names = zip(*rows, strict=True)
            arrays[called[0]] = np.array([float(start) for start in starts])
            arrays[called[1]] = np.array([float(stop) for stop in stops])
            arrays[called[2]] = np.array([str(name) for name in names])
    return arrays


def trains_of(where: str, spike_times_s: SpikeTimes) -> tuple[list[Floats], list[Any]]:
    """Return the spike times of each unit, and the units' keys where there are any.

    Parameters
    ----------
    where
        What errors name.
    spike_times_s
        As `continuous_arrays` takes them.

    Raises
    ------
    SessionError
        It is not one array of numbers a unit.

    Examples
    --------
    >>> trains_of("mine", {7: [0.5], 9: [0.25, 1.0]})
    ([array([0.5]), array([0.25, 1.  ])], [7, 9])
    """
    keys: list[Any] = []
    given: list[Any]
    is_series = hasattr(spike_times_s, "items") and hasattr(spike_times_s, "index")
    if isinstance(spike_times_s, Mapping) or is_series:
        pairs = list(spike_times_s.items())
        keys, given = [key for key, _ in pairs], [train for _, train in pairs]
    elif isinstance(spike_times_s, str | bytes) or not isinstance(spike_times_s, Iterable):
        raise SessionError(
            f"{where}: spike times must be one array of seconds a unit, but this is a "
            f"{type(spike_times_s).__name__}; give a list of arrays or {{unit: array}}"
        )
    else:
        given = list(spike_times_s)
    if given and all(isinstance(_seconds(one), int | float | np.number) for one in given):
        raise SessionError(
            f"{where}: spike times must be one array of seconds a unit, but these are "
            f"{len(given)} single numbers; give [times] for one unit, or {{unit: times}}"
        )
    is_array = isinstance(spike_times_s, np.ndarray) and spike_times_s.ndim == 2
    if is_array and bool((spike_times_s[:, 1:] < spike_times_s[:, :-1]).any()):
        raise SessionError(
            f"{where}: rows of an array must be spike times of a unit each, in order, but those of "
            f"shape {spike_times_s.shape} fall; of counts, give the times of the spikes instead"
        )
    trains = []
    for number, one in enumerate(given):
        name = keys[number] if keys else number
        try:
            train = np.asarray(_seconds(one))
        except ValueError as error:
            raise SessionError(
                f"{where}: spike times of unit {name} must be numbers, but: {error}"
            ) from None
        if train.size == 0:
            train = np.zeros(0)
        if train.ndim != 1 or train.dtype.kind not in "fiu":
            raise SessionError(
                f"{where}: spike times of unit {name} must be a 1-D array of seconds, but are "
                f"{train.dtype} of shape {train.shape}; give one array of numbers a unit"
            )
        trains.append(train.astype(np.float64))
    return trains, keys


def _seconds(times: Any) -> Any:
    """Return times of a Ts of pynapple, or a quantity in seconds; anything else as it is."""
    if hasattr(times, "rescale"):
        return times.rescale("s").magnitude
    return times.t if hasattr(times, "t") and not hasattr(times, "dtype") else times
