"""How large a recording is, told before a spike of it is read."""

# Shape legend: N units, P presentations.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rheobase.sessions.records.series_names import SIGNALS
from rheobase.sessions.records.session import (
    Intervals,
    Presentations,
    Session,
    Signal,
    TrialSession,
    TrueLatents,
    Units,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class SessionSize:
    """What is known of a recording, or of several alike, before it is read.

    Attributes
    ----------
    address
        As it was asked for.
    num_sessions
        Recordings of this size that the address stands for.
    silent
        The recording with one unit that never fires: what may be binned, and how it is split.
    num_units, num_kept
        Units in the file (N), and those that quality and areas leave.
    num_spikes
        Spikes of all units in the file.
    duration_s
        Length of the file in seconds, which the intervals of `silent` need not cover.
    download_bytes, session_bytes
        What is fetched, and what is written below ``$RHEOBASE_HOME/sessions``.
    simulated_counts
        Bins of 10 ms times units of a session that is simulated first, else 0.
    basis
        Where these numbers come from.
    """

    address: str
    num_sessions: int = 1
    silent: Session | TrialSession
    num_units: int
    num_kept: int
    num_spikes: int
    duration_s: float
    download_bytes: int = 0
    session_bytes: int = 0
    simulated_counts: int = 0
    basis: str


def silent_unit() -> Units:
    """Return one unit of no named area, which stands for all."""
    return Units(np.zeros(1, np.int64), np.zeros(1, "U1"), np.zeros(1, "U1"))


def silent_session(
    session_id: str,
    source: str,
    stretches: Sequence[tuple[float, float, str]],
    num_presentations: int,
    signals: Sequence[str] = SIGNALS,
    latents: Sequence[str] = (),
) -> Session:
    """Return a continuous recording of one unit that never fires.

    Parameters
    ----------
    session_id
        The recording's own name, which decides how it is split.
    source
        Path or address, for errors.
    stretches
        (start, stop, state) of each interval, in seconds.
    num_presentations
        Presentations (P), none of which begins inside: which bin one falls into decides no size.
    signals
        Names of the measures of behaviour it has, without a sample.
    latents
        Names of its true latents, without a sample; none of a real recording.
    """
    starts, stops, states = zip(*stretches, strict=True)
    never, no = np.full(num_presentations, np.inf), np.zeros(num_presentations, bool)
    nothing = np.zeros(0)
    return Session(
        session_id=session_id,
        source=source,
        data_digest="",
        units=silent_unit(),
        spike_times_s=nothing,
        spike_offsets=np.zeros(2, np.int64),
        intervals=Intervals(np.array(starts), np.array(stops), np.array(states)),
        presentations=Presentations(
            start_s=never,
            stop_s=never,
            image=np.full(num_presentations, "image"),
            is_change=no,
            omitted=no,
            block=np.zeros(num_presentations, np.int64),
            active=no,
        ),
        signals={name: Signal(nothing, nothing) for name in signals},
        true_latents=TrueLatents(
            np.array(latents), nothing, np.zeros((0, len(latents)), np.float32), ""
        )
        if latents
        else None,
    )
