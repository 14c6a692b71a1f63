"""Recordings in NumPy archives: continuous spike times, or counts around each trial."""

# Shape legend: N units, S spikes, P presentations or trials, I epochs, L samples of a signal,
# T bins.

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.artifacts import whole_file
from rheobase.core.errors import SessionError
from rheobase.sessions.readers.npz_arrays import Arrays, recording_of, require, trials_of
from rheobase.sessions.records.session import SIGNALS, Session, TrialSession
from rheobase.sessions.records.session_size import SessionSize, silent_session, silent_unit
from rheobase.sessions.visual_behavior import TYPICAL_RATE_HZ

CONTINUOUS = ("spike_times_s", "unit_index")
TRIALS = ("counts", "bin_s", "trial_start_s")


def read_npz(path: Path) -> Session | TrialSession:
    """Read an archive of either form; keys it does not know are left alone.

    Continuous: ``spike_times_s`` (S,) seconds, unit after unit; ``unit_index`` (N + 1,)
    offsets into it; optional ``duration_s``, ``brain_area`` or ``location`` (N,),
    ``probe`` (N,), ``epoch_start_s``, ``epoch_stop_s``, ``epoch_tag`` (I,) stretches of one brain
    state, ``presentation_start_s``, ``presentation_stop_s``, ``presentation_image`` (P,), and
    ``running_time_s``, ``running`` in cm/s, ``pupil_time_s``, ``pupil`` (L,), NaN where lost.

    By trial: ``counts`` (P, N, T) spikes a bin, ``bin_s`` width of a bin in seconds,
    ``trial_start_s`` (P,); optional ``brain_area`` or ``location`` (N,); every other numeric
    array (P,) is a label of the trials.

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
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays: Arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise SessionError(
            f"{path}: an NPZ archive of plain arrays must be given, but reading it failed: "
            f"{reason}; write it again with numpy.savez"
        ) from None
    if all(name in arrays for name in CONTINUOUS):
        return recording_of(path, arrays)
    if all(name in arrays for name in TRIALS):
        return trials_of(path, arrays)
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
        require(
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


def outline_npz(path: Path) -> SessionSize:
    """Return how large the recording in an archive is, from the headers of its arrays.

    Of single numbers the values are read too. Every unit counts as kept; of a recording by trial
    no count is read: a typical rate stands for them.

    Parameters
    ----------
    path
        The ``.npz`` file.

    Raises
    ------
    OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile
        The file is missing, is no archive, or lacks an array of its form; or it is continuous
        and does not state its ``duration_s``.
    """
    shapes = _shapes_of(path)
    basis = "shapes in the file; every unit counted as kept"
    silent: Session | TrialSession
    if "counts" in shapes:
        num_trials, num_units, num_bins = shapes["counts"]
        bin_s = _number_of(path, "bin_s")
        silent = TrialSession(
            session_id=path.stem,
            source=str(path),
            data_digest="",
            units=silent_unit(),
            counts=np.zeros((num_trials, 1, num_bins), np.uint8),
            bin_ms=1000 * bin_s,
            trial_start_s=np.zeros(num_trials),
            labels={},
        )
        duration_s = num_trials * num_bins * bin_s
        num_spikes = round(TYPICAL_RATE_HZ * duration_s * num_units)
        basis += f", spikes from {TYPICAL_RATE_HZ:.1f} Hz a unit"
    else:
        num_units = shapes["unit_index"][0] - 1
        num_spikes = shapes["spike_times_s"][0]
        duration_s = _number_of(path, "duration_s")
        silent = silent_session(
            path.stem,
            str(path),
            [(0.0, duration_s, "")],
            shapes.get("presentation_start_s", (0,))[0],
            [signal for signal in SIGNALS if signal in shapes],
        )
    return SessionSize(
        address=str(path),
        silent=silent,
        num_units=num_units,
        num_kept=num_units,
        num_spikes=num_spikes,
        duration_s=duration_s,
        basis=basis,
    )


def _number_of(path: Path, name: str) -> float:
    with np.load(path, allow_pickle=False) as archive:
        return float(archive[name])


def _shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of an archive by its name, from the headers alone."""
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                is_first = np.lib.format.read_magic(file) == (1, 0)
                read = np.lib.format.read_array_header_1_0
                if not is_first:
                    read = np.lib.format.read_array_header_2_0
                shapes[member.removesuffix(".npy")] = read(file)[0]
    return shapes
