"""Which bins a teacher that is moved in time is taken from: inside a segment, never sealed ones."""

# Shape legend: T bins, L bins of each segment.

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.timeline import Timeline

Rows = npt.NDArray[np.int64]
MIN_SHIFT_S = 10.0
ENDS = 5  # a fifth of a segment at each end is room for shifts
LEAST_TRIAL_SHIFTS = 20  # that differ: of fewer there is no 95 % quantile
HOP_S = 1.0  # about, between the bins that may stand in for a sealed one
LEAST_PHASE_S = 0.1  # a shift stays this far from every multiple of the stimulus's period
LEAST_PHASE = 0.2  # of the period, where that is less


def segments_of(timeline: Timeline) -> list[Rows]:
    """Return the bins of each segment, in order.

    Parameters
    ----------
    timeline
        Labels (T,).

    Returns
    -------
    (L,) of each segment.
    """
    return np.split(np.arange(len(timeline)), timeline.borders)


def middle_and_shifts(timeline: Timeline, segment: Rows) -> tuple[Rows, Rows]:
    """Return the bins of a segment that every shift keeps inside it, and the shifts in bins.

    Parameters
    ----------
    timeline
        Labels (T,).
    segment
        (L,) its bins.

    Returns
    -------
    All bins but a fifth at each end; and the shifts either way, without those that are shorter
    than 10 s, or within 0.1 s (or a fifth of the period, where that is less) of a multiple of the
    presentations' period. Where no shift is left, the segment is too short.
    """
    bin_s = timeline.bin_ms / 1000
    margin = len(segment) // ENDS
    forward = np.arange(round(MIN_SHIFT_S / bin_s), margin + 1)
    if (period_s := timeline.period_s) is not None:
        off_s = forward * bin_s % period_s
        least_s = min(LEAST_PHASE_S, LEAST_PHASE * period_s)
        # Rounding must not tell a shift of exactly 0.1 s forward from one back.
        forward = forward[np.minimum(off_s, period_s - off_s) >= least_s - 1e-9]
    return segment[margin : len(segment) - margin], np.concatenate([-forward[::-1], forward])


def middle_trials(timeline: Timeline) -> tuple[Rows, int]:
    """Return the numbers of the trials that every shift keeps among the trials, and their room.

    Parameters
    ----------
    timeline
        Labels (T,) of trial-binned data.

    Returns
    -------
    All trials but a fifth at each end; and how many trials a shift may be long at most.

    Raises
    ------
    DataError
        There are too few trials.
    """
    num = len(timeline.borders) + 1
    room = num // ENDS
    if 2 * room < LEAST_TRIAL_SHIFTS:
        raise DataError(
            f"at least {ENDS * LEAST_TRIAL_SHIFTS // 2} trials must hold to shift the teacher by "
            f"whole trials, but got {num}; use a recording of more trials"
        )
    return np.arange(room, num - room), room


def unsealed(
    rows: Rows,
    timeline: Timeline,
    segment: Rows,
    *,
    wanted: npt.NDArray[np.bool_],
    beside: Rows | None = None,
) -> Rows:
    """Return bins of a segment, those that are sealed and wanted replaced by others of it.

    Parameters
    ----------
    rows
        Bins of the segment, in any order.
    timeline
        Labels (T,) of the session that they are of.
    segment
        (L,) bins of the segment.
    wanted
        Whether the latents of each of `rows` will be read.
    beside
        The bin that each of `rows` stands in for, if of the same session.

    Returns
    -------
    A sealed bin's stand-in is the nearest bin about whole seconds from it, or whole periods of the
    presentations, so that a shift stays off phase, which is not sealed and at least 10 s from the
    bin beside it.

    Raises
    ------
    DataError
        The segment has too few bins that are not sealed.
    """
    least, hop = round(MIN_SHIFT_S * 1000 / timeline.bin_ms), _hop(timeline)
    sealed = timeline.sealed
    rows = rows.copy()
    wrong = np.flatnonzero(sealed[rows] & wanted)
    for number in range(1, len(segment) // hop + 1):
        for step in (number * hop, -number * hop):
            if len(wrong) == 0:
                return rows
            other = rows[wrong] + step
            fits = (other >= segment[0]) & (other <= segment[-1])
            if beside is not None:
                fits &= np.abs(other - beside[wrong]) >= least
            fits[fits] = ~sealed[other[fits]]
            rows[wrong[fits]] = other[fits]
            wrong = wrong[~fits]
    if len(wrong):
        raise DataError(
            "a null's teachers must find bins that are not held back for the report, but a "
            "segment has too few; use a longer recording or a smaller data.split.test"
        )
    return rows


def _hop(timeline: Timeline) -> int:
    """Return the bins between a sealed bin and those that may stand in for it."""
    bin_s = timeline.bin_ms / 1000
    if (period_s := timeline.period_s) is None:
        return max(1, round(HOP_S / bin_s))
    return max(1, round(math.ceil(HOP_S / period_s) * period_s / bin_s))
