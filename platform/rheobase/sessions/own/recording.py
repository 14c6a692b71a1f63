"""A recording held in memory, to be checked and written."""

# Shape legend: N units, S spikes.

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rheobase.core.archives import Arrays
from rheobase.core.artifacts import whole_file
from rheobase.core.digest import digest
from rheobase.core.errors import SessionError
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.readers.npz_arrays import COLUMN, recording_of
from rheobase.sessions.readers.own_arrays import SpikeTimes, continuous_arrays
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import Floats, Session


@dataclass(frozen=True, eq=False)
class Recording:
    """Spikes of one session, with what is known of units, states and stimuli.

    Attributes
    ----------
    name
        What the session is called.
    arrays
        Under the names that an NPZ recording has.
    session
        The same as the platform reads it.

    Examples
    --------
    >>> import tempfile
    >>> mine = recording([[0.1, 0.2], [0.4]], duration_s=1.0, name="mine")
    >>> mine.check()
    []
    >>> mine.write(Path(tempfile.mkdtemp()) / "mine.npz").name
    'mine.npz'
    """

    name: str
    arrays: Arrays
    session: Session

    @classmethod
    def of_arrays(cls, name: str, arrays: Arrays) -> Recording:
        """Return the recording that arrays make, or raise a SessionError in one line."""
        content = {
            key: [str(one.dtype), one.shape, hashlib.sha256(one.tobytes()).hexdigest()]
            for key, one in arrays.items()
        }
        return cls(name, arrays, recording_of(Path(f"{name}.npz"), arrays, digest(content)))

    @classmethod
    def of_session(cls, session: Session) -> Recording:
        """Return a recording that a reader gave, without stimuli and behaviour."""
        units, intervals = session.units, session.intervals
        arrays: Arrays = {
            "spike_times_s": session.spike_times_s,
            "unit_index": session.spike_offsets,
            "unit_id": units.unit_id,
            "brain_area": units.area,
            "probe": units.probe,
            "epoch_start_s": intervals.start_s,
            "epoch_stop_s": intervals.stop_s,
            "epoch_tag": intervals.state,
        }
        columns = {**units.metrics, **units.labels}
        arrays |= {COLUMN + name: values for name, values in columns.items()}
        return cls.of_arrays(session.session_id, arrays)

    def __repr__(self) -> str:
        return (
            f"Recording({self.name!r}: {len(self.session.units)} units, "
            f"{self.session.num_spikes:,} spikes, {self.session.duration_s:.0f} s)"
        )

    @property
    def spike_times_s(self) -> list[Floats]:
        """Spike times of each unit in seconds."""
        return [self.session.spikes_of(unit) for unit in range(len(self.session.units))]

    def check(self) -> list[Finding]:
        """Return what is wrong with it: ``check``, ``severity``, ``count`` and ``detail`` each."""
        return check_session(self.session)

    def write(self, path: str | Path | None = None) -> Path:
        """Write it where a study can name it; ``NAME.npz`` here by default. Return the path.

        Raises
        ------
        SessionError
            The path does not end in ``.npz``, by which a study knows what it is.
        """
        out = Path(path or f"{self.name}.npz")
        if out.suffix != ".npz":
            raise SessionError(
                f"{out}: a recording must be written as .npz; name it {out.stem}.npz"
            )
        with whole_file(out) as partial, partial.open("wb") as file:
            np.savez(file, **self.arrays)  # type: ignore[arg-type]
        return out


def recording(spike_times_s: SpikeTimes, *, name: str = "recording", **known: Any) -> Recording:
    """Return a recording of spikes that you hold.

    Parameters
    ----------
    spike_times_s
        One array of seconds for each of N units: a list of arrays, a mapping or pandas Series
        from unit id to array, or a TsGroup of pynapple.
    name
        What the session is called.
    known
        `duration_s`, `unit_id`, `area`, `probe`, `epochs`, `presentations`, `signals`, `events`
        and `units`, as `rheobase.sessions.readers.own_arrays.continuous_arrays` takes them.

    Raises
    ------
    SessionError
        The arrays do not make a recording: what must hold, and what to do, in one line.

    Examples
    --------
    >>> mine = recording({3: [0.1, 0.2], 5: [0.4]}, area=["VISp", "LGd"], duration_s=1.0)
    >>> mine
    Recording('recording': 2 units, 3 spikes, 1 s)
    >>> mine.session.units.unit_id.tolist()
    [3, 5]
    """
    return Recording.of_arrays(name, continuous_arrays(name, spike_times_s, **known))
