"""The teachers of other sessions, laid over the bins of this one."""

# Shape legend: T bins, E entries of latents of all other sessions, D dimensions.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.nulls import NullRows
from rheobase.measures.shifts import (
    ENDS,
    MIN_SHIFT_S,
    Rows,
    middle_and_shifts,
    middle_trials,
    segments_of,
    unsealed,
)
from rheobase.shards.timeline import Timeline

Other = tuple[npt.NDArray[Any], Timeline]


def session_draws(
    timeline: Timeline, others: Sequence[Other], random: np.random.Generator, num_draws: int
) -> tuple[npt.NDArray[Any], NullRows]:
    """Draw the latents of other sessions in place of this one's.

    Parameters
    ----------
    timeline
        Labels (T,) of this session.
    others
        Latents and labels of every other session. Test bins that are not open are never read. All
        are copied into one array: take a few where there are many.
    random
        Generator of the draws.
    num_draws
        Number of draws, the sessions in turn.

    Returns
    -------
    The latents (E, D) of all others, and rows (T,) into them, for `NullTeachers`. Each segment
    gets one of the other session, of the same state and in the same order where it has that state,
    from its start, moved either way by at most a fifth of this segment: what all sessions go
    through with time stays in place. A shorter one is wrapped around its end. The same bins are
    valid as of `shift_rows`. The phase of presentations is not aligned: what the clock alone earns
    is the clock null's to tell. Trials get those of the other session of the same number, moved by
    at most a fifth of the trials.

    Raises
    ------
    DataError
        There is no other session; their bins, kinds or numbers of latents differ; or every segment
        is too short.

    Notes
    -----
    The session permutation of Harris 2020, *Nonsense correlations in neuroscience*: sessions are
    independent however slow their signals are.
    """
    _refuse_unlike(timeline, others)
    begins = np.cumsum([0, *(len(line) for _, line in others)])
    trials = timeline.kind == "trials"
    middles = [] if trials else _middles(timeline)
    valid = np.zeros(len(timeline), bool)
    for bins in _trials_of(timeline) if trials else [middle for _, middle in middles]:
        valid[bins] = True
    rows = []
    for draw in range(num_draws):
        number = draw % len(others)
        line = others[number][1]
        laid = _trials(timeline, line, random) if trials else _laid(timeline, middles, line, random)
        rows.append(begins[number] + laid)
    return np.concatenate([latents for latents, _ in others]), NullRows(tuple(rows), valid)


def _middles(timeline: Timeline) -> list[tuple[int, Rows]]:
    """Return the number and the middle of each segment that is long enough to be shifted."""
    middles = []
    for number, segment in enumerate(segments_of(timeline)):
        middle, shifts = middle_and_shifts(timeline, segment)
        if len(shifts):
            middles.append((number, middle))
    if not middles:
        raise DataError(
            f"a segment of at least {ENDS * MIN_SHIFT_S:g} s must hold to lay another session's "
            "teacher over it, but none does; use a longer recording"
        )
    return middles


def _laid(
    timeline: Timeline,
    middles: Sequence[tuple[int, Rows]],
    other: Timeline,
    random: np.random.Generator,
) -> Rows:
    """Return the other session's bin that each bin of the middles gets."""
    rows = np.zeros(len(timeline), np.int64)
    every, states = segments_of(other), _states(timeline)
    for number, middle in middles:
        state = states[number]
        alike = [
            one
            for one, other_state in zip(every, _states(other), strict=True)
            if other_state == state
        ]
        turn = states[:number].count(state) if alike else number
        alike = alike or every
        segment = alike[turn % len(alike)]
        margin = int(np.sum(timeline.segment == timeline.segment[middle[0]])) // ENDS
        # The middle begins a margin after its segment, so that no shift reaches before the start.
        place = margin + np.arange(len(middle)) + int(random.integers(-margin, margin + 1))
        wanted = ~timeline.sealed[middle]
        rows[middle] = unsealed(segment[place % len(segment)], other, segment, wanted=wanted)
    return rows


def _states(timeline: Timeline) -> list[str]:
    """Return the state of each segment."""
    return [str(timeline.state[segment[0]]) for segment in segments_of(timeline)]


def _trials(timeline: Timeline, other: Timeline, random: np.random.Generator) -> Rows:
    """Return the other session's bin that each bin gets, trial by trial."""
    trials = [trial for trial in segments_of(other) if not other.sealed[trial].any()]
    if not trials:
        raise DataError("a trial of another session must be open to be laid over, but none is")
    middle, room = middle_trials(timeline)
    shift = int(random.integers(-room, room + 1))
    rows = np.zeros(len(timeline), np.int64)
    for number, bins in zip(middle, _trials_of(timeline), strict=True):
        trial = trials[(number + shift) % len(trials)]
        rows[bins] = trial[np.arange(len(bins)) % len(trial)]
    return rows


def _trials_of(timeline: Timeline) -> list[Rows]:
    """Return the bins of the trials that every shift keeps among the trials."""
    trials = segments_of(timeline)
    return [trials[number] for number in middle_trials(timeline)[0]]


def _refuse_unlike(timeline: Timeline, others: Sequence[Other]) -> None:
    if not others:
        raise DataError("another session must hold to draw its teacher, but there is one alone")
    widths = {latents.shape[1] for latents, _ in others}
    if len(widths) > 1:
        raise DataError(f"all teachers must have as many latents, but they have {sorted(widths)}")
    for latents, line in others:
        if len(latents) != len(line):
            raise DataError(
                f"a session must have latents of each bin, but {len(latents)} are of {len(line)}"
            )
        if (line.kind, line.bin_ms) != (timeline.kind, timeline.bin_ms):
            raise DataError(
                f"other sessions must be of the same kind and bins, but got {line.kind} at "
                f"{line.bin_ms:g} ms beside {timeline.kind} at {timeline.bin_ms:g} ms"
            )
