"""Recordings in NumPy archives: continuous spike times, or counts around each trial."""

# Shape legend: N units, S spikes, P presentations or trials, I epochs, L samples of a signal,
# T bins.

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rheobase.core.archives import read_archive
from rheobase.core.artifacts import whole_file
from rheobase.core.errors import DataError, SessionError
from rheobase.sessions.readers.foreign import session_of_other_tools
from rheobase.sessions.readers.npz_arrays import recording_of, trials_of
from rheobase.sessions.readers.own_arrays import SpikeTimes, continuous_arrays
from rheobase.sessions.records.session import Session, TrialSession

CONTINUOUS = ("spike_times_s", "unit_index")
TRIALS = ("counts", "bin_s", "trial_start_s")


def read_npz(path: Path) -> Session | TrialSession:
    """Read an archive of either form; keys it does not know are left alone.

    Continuous: ``spike_times_s`` (S,) seconds, unit after unit; ``unit_index`` (N + 1,)
    offsets into it; optional ``duration_s``, ``brain_area`` or ``location`` (N,),
    ``probe`` (N,), ``epoch_start_s``, ``epoch_stop_s``, ``epoch_tag`` (I,) stretches of one brain
    state, ``presentation_start_s``, ``presentation_stop_s``, ``presentation_image`` (P,),
    ``unit_id`` (N,) and further ``unit_…`` (N,), metrics where they hold numbers, and
    ``running_time_s``, ``running`` in cm/s, ``pupil_time_s``, ``pupil`` (L,), NaN where lost; any
    other ``NAME_time_s`` (L,) with ``NAME`` (L,) or (L, C); ``NAME_event_s`` (L,) of events.

    By trial: ``counts`` (P, N, T) spikes a bin, ``bin_s`` width of a bin in seconds,
    ``trial_start_s`` (P,); optional ``brain_area`` or ``location`` (N,); every other numeric
    array (P,) is a label of the trials.

    A ``TsGroup`` that pynapple saved and a sorting that spikeinterface saved are read too.

    Parameters
    ----------
    path
        The ``.npz`` file.

    Raises
    ------
    SessionError
        The file is missing, is no archive, needs pickle, lacks a key, or its arrays do not
        fit each other or hold negative or NaN values.
    """
    if not path.is_file():
        raise SessionError(f"{path}: an NPZ file must be there, but there is none; check the path")
    try:
        arrays = read_archive(path)
    except DataError as error:
        raise SessionError(str(error)) from None
    if all(name in arrays for name in CONTINUOUS):
        return recording_of(path, arrays)
    if all(name in arrays for name in TRIALS):
        return trials_of(path, arrays)
    other = session_of_other_tools(path, arrays)
    if other is not None:
        return other
    raise SessionError(
        f"{path}: the archive must hold {' and '.join(CONTINUOUS)} (continuous) or "
        f"{', '.join(TRIALS)} (by trial), but holds {', '.join(arrays) or 'nothing'}; rename or "
        "add arrays"
    )


def write_npz(
    path: Path,
    spike_times_s: SpikeTimes,
    *,
    duration_s: float | None = None,
    **columns: Any,
) -> None:
    """Write a continuous recording in the form `read_npz` reads, whole or not at all.

    Parameters
    ----------
    path
        ``OUT.npz``; its stem becomes the session's id.
    spike_times_s, duration_s, columns
        As `rheobase.sessions.readers.own_arrays.continuous_arrays` takes them.

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
    arrays = continuous_arrays(str(path), spike_times_s, duration_s=duration_s, **columns)
    with whole_file(path) as partial:
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        try:
            read_npz(partial)
        except SessionError as error:
            raise SessionError(str(error).replace(str(partial), str(path))) from None
