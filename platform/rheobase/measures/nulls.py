"""Null distributions of held-out CCA: teachers that are shifted, or know the clock alone."""

# Shape legend: T bins, M features, D teacher dimensions.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.cca import heldout_means, whitening_y
from rheobase.measures.moments import CrossMoments, moments_of, refuse_constant
from rheobase.shards.shard import NONE
from rheobase.shards.timeline import Timeline

Rows = npt.NDArray[np.int64]
MIN_SHIFT_S = 10.0
HOP_S = 1.0  # about, between the bins that may stand in for a sealed one
MOST_VALUES = 4_000_000  # of teachers in one product: 32 MB
LEAST_BINS = 3
LEAST_PHASE_S = 0.1  # a shift stays this far from every multiple of the stimulus's period
LEAST_PHASE = 0.2  # of the period, where that is less


@dataclass(frozen=True, eq=False)
class NullRows:
    """Which bin's latents stand in for each bin's.

    Attributes
    ----------
    rows
        Of each draw (T,), the bin whose latents are taken.
    valid
        (T,) bins for which they are; the others are neither fitted nor scored.
    """

    rows: tuple[Rows, ...]
    valid: npt.NDArray[np.bool_]


def shift_rows(timeline: Timeline, random: np.random.Generator, num_draws: int) -> NullRows:
    """Draw circular shifts of the teacher within each segment, or permuted trials.

    Parameters
    ----------
    timeline
        Labels (T,).
    random
        Generator of the draws.
    num_draws
        Number of draws.

    Returns
    -------
    Rows for which the latents are rolled by at least 10 s either way and, where presentations
    have a period, never to within 0.1 s of a multiple of it, nor to within a fifth of it where
    that is less. Where test is not open a bin of it is nobody's stand-in: the nearest one that is
    not sealed, whole periods away, takes its place. Trial-binned data has its trials permuted
    instead, no trial staying in place.

    Raises
    ------
    DataError
        A segment is too short to be shifted, or every shift is in phase somewhere.
    """
    if timeline.kind == "trials":
        return _permuted_trials(timeline, random, num_draws)
    bin_s = timeline.bin_ms / 1000
    segments = _segments(timeline)
    shortest = min(len(segment) for segment in segments)
    least = round(MIN_SHIFT_S / bin_s)
    shifts = np.arange(least, shortest - least + 1)
    if len(shifts) == 0:
        raise DataError(
            f"segments of at least {2 * MIN_SHIFT_S:g} s must hold to shift the teacher, but the "
            f"shortest lasts {shortest * bin_s:g} s"
        )
    if (period_s := timeline.period_s) is not None:
        off = (shifts * bin_s) % period_s
        # Rolled around the end of a segment the shift is the complement, also kept off phase.
        back = np.concatenate([[(len(s) - shifts) * bin_s % period_s] for s in segments])
        near = np.minimum(np.vstack([off, back]), period_s - np.vstack([off, back]))
        least_s = min(LEAST_PHASE_S, LEAST_PHASE * period_s)
        shifts = shifts[(near >= least_s).all(axis=0)]
        if len(shifts) == 0:
            raise DataError(
                f"a shift of the teacher must stay {least_s:g} s off the stimulus's period of "
                f"{period_s:g} s in every segment, but of those that fit none does"
            )
    drawn = random.choice(shifts, num_draws)
    # From one stand-in to the next: whole periods, so that a shift stays off phase.
    hop = max(1, round(HOP_S / bin_s))
    if period_s is not None:
        hop = round(math.ceil(HOP_S / period_s) * period_s / bin_s)
    rows = tuple(
        np.concatenate([_shifted(s, int(shift), least, hop, timeline.sealed) for s in segments])
        for shift in drawn
    )
    return NullRows(rows, np.ones(len(timeline), bool))


def _shifted(
    segment: Rows, shift: int, least: int, hop: int, sealed: npt.NDArray[np.bool_]
) -> Rows:
    """Return the bins of a segment rolled by `shift`, `hop`s away from sealed ones.

    A sealed bin's stand-in is the nearest bin whole hops from it that is not sealed and at least
    `least` bins from the one it stands beside.
    """
    rolled = np.roll(segment, -shift)
    wrong = sealed[rolled] & ~sealed[segment]
    for number in range(1, len(segment) // hop + 1):
        for step in (number * hop, -number * hop):
            if not wrong.any():
                return rolled
            other = rolled + step
            inside = (other >= segment[0]) & (other <= segment[-1])
            fits = wrong & inside & (np.abs(other - segment) >= least)
            fits[fits] = ~sealed[other[fits]]
            rolled[fits] = other[fits]
            wrong &= ~fits
    if wrong.any():
        raise DataError(
            "a shift of the teacher must find bins that are not held back for the report, but a "
            "segment has too few; use a longer recording or a smaller data.split.test"
        )
    return rolled


def clock_rows(timeline: Timeline, random: np.random.Generator, num_draws: int) -> NullRows:
    """Draw permutations of the presentations of each segment, phase kept.

    What such a teacher earns, the stimulus clock alone earns. Bins before the first onset, phases
    that not every presentation of the recording reaches, and presentations of which test is not
    open, are not valid. Trial-binned
    data has its trials permuted, which is its shift null too.

    Parameters
    ----------
    timeline
        Labels (T,).
    random
        Generator of the draws.
    num_draws
        Number of draws.

    Returns
    -------
    Rows for which no presentation keeps its own latents. Of the usual number of bins of a
    presentation the last is left out, as strides differ by one; a presentation that is cut off
    before it takes no part.

    Raises
    ------
    DataError
        The recording has fewer than two presentations.
    """
    if timeline.kind == "trials":
        return _permuted_trials(timeline, random, num_draws)
    slots = [
        np.flatnonzero((timeline.presentation == shown) & (timeline.segment == segment))
        for segment in np.unique(timeline.segment)
        for shown in np.unique(timeline.presentation[timeline.segment == segment])
        if shown != NONE
    ]
    if len(slots) < 2:
        raise DataError("at least 2 presentations must hold to permute them, but got fewer")
    length = int(np.median([len(slot) for slot in slots]))
    # A presentation cut off by the end of its segment takes no part.
    slots = [slot[: length - 1] for slot in slots if len(slot) >= length - 1]
    slots = [slot for slot in slots if not timeline.sealed[slot].any()]
    if len(slots) < 2:
        raise DataError("at least 2 whole presentations must hold to permute them, but got fewer")
    valid = np.zeros(len(timeline), bool)
    valid[np.concatenate(slots)] = True
    where = np.array([timeline.segment[slot[0]] for slot in slots])
    return NullRows(
        tuple(_permuted(slots, where, len(timeline), random) for _ in range(num_draws)), valid
    )


class Measured(NamedTuple):
    """A student whose nulls are wanted.

    Attributes
    ----------
    x
        (T, M) features.
    train, test
        Its moments on valid train bins and on valid test bins.
    shrinkage
        As `fit_cca` takes it.
    """

    x: npt.NDArray[Any]
    train: CrossMoments
    test: CrossMoments
    shrinkage: float


class NullTeachers:
    """The teachers of a null, and all of their fits that no student changes, made once.

    Parameters
    ----------
    y
        (T, D) latents.
    timeline
        Labels (T,).
    null
        The draws.

    Raises
    ------
    DataError
        A teacher's dimension does not vary on train or test, or depends on the others.
    """

    def __init__(self, y: npt.NDArray[Any], timeline: Timeline, null: NullRows) -> None:
        self._rows = null.rows
        self._bins = [
            np.flatnonzero(part & null.valid) for part in (timeline.train, timeline.scored)
        ]
        if (least := min(map(len, self._bins))) < LEAST_BINS:
            raise DataError(
                f"at least {LEAST_BINS} bins of train and of test must hold a null's teachers, but "
                f"got {least}; use a longer recording"
            )
        inside = np.asarray(y[self._bins[0]], np.float64)
        # Far from its mean a product of a teacher would lose digits.
        self._y = np.ascontiguousarray((y - inside.mean(axis=0)).T, np.float64)
        train, self._yy_test = (self._covariances(bins) for bins in self._bins)
        self._white = whitening_y(train / len(inside))

    def cca(self, students: Sequence[Measured]) -> list[npt.NDArray[np.float64]]:
        """Return held-out CCA of each student with each teacher.

        Parameters
        ----------
        students
            Of the same session; a student's numbers are its own, whichever are measured with it.

        Returns
        -------
        For each student (draws,), in [-1, 1].

        Raises
        ------
        DataError
            There are too few bins for a student's features.
        """
        crosses = [self._crosses(students, part) for part in (0, 1)]
        by_student = []
        for one, train, test in zip(students, *crosses, strict=True):
            inside = replace(one.train, xy=train)
            outside = replace(one.test, xy=test, yy=self._yy_test)
            by_student.append(heldout_means(inside, outside, self._white, one.shrinkage))
        return by_student

    def _covariances(self, bins: Rows) -> npt.NDArray[np.float64]:
        """Return each teacher's sums of products about its means on some bins, (draws, D, D)."""
        covariances = []
        for row in self._rows:
            teacher = self._y.take(row[bins], axis=1)
            refuse_constant(np.ptp(teacher, axis=1))
            teacher -= teacher.mean(axis=1, keepdims=True)
            covariances.append(teacher @ teacher.T)
        return np.stack(covariances)

    def _crosses(self, students: Sequence[Measured], part: int) -> list[npt.NDArray[np.float64]]:
        """Return each student's sums of products with each teacher, (draws, M, D).

        Students share the teachers of a stretch of bins, all in one product: what this costs is
        the arithmetic of the products, T x M x D x draws of them.
        """
        num_dims, num_draws = len(self._y), len(self._rows)
        length = max(1, MOST_VALUES // (num_dims * num_draws))
        means = [(one.train, one.test)[part].mean_x for one in students]
        sums = [np.zeros((num_dims * num_draws, len(mean))) for mean in means]
        bins = self._bins[part]
        for begin in range(0, len(bins), length):
            some = bins[begin : begin + length]
            teachers = self._y.take(np.stack([row[some] for row in self._rows]), axis=1)
            stack = teachers.reshape(-1, len(some))
            for total, one, mean in zip(sums, students, means, strict=True):
                total += stack @ (one.x[some] - mean)
        return [total.reshape(num_dims, num_draws, -1).transpose(1, 2, 0) for total in sums]


def null_cca(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    timeline: Timeline,
    null: NullRows,
    shrinkage: float,
) -> npt.NDArray[np.float64]:
    """Return held-out CCA of a student with the teacher of each draw of a null.

    Parameters
    ----------
    x
        (T, M) features.
    y
        (T, D) latents, of which a draw's teacher is ``y[rows]``.
    timeline
        Labels (T,).
    null
        The draws.
    shrinkage
        As `fit_cca` takes it.

    Returns
    -------
    (draws,), the same numbers as `heldout_cca`: projections fitted on train, signed score on
    test.

    Raises
    ------
    DataError
        As `NullTeachers`, or there are too few bins for the features.
    """
    teachers = NullTeachers(y, timeline, null)
    train, test = (
        moments_of(x[part & null.valid], y[part & null.valid])
        for part in (timeline.train, timeline.scored)
    )
    return teachers.cca([Measured(x, train, test, shrinkage)])[0]


def _segments(timeline: Timeline) -> list[Rows]:
    return np.split(np.arange(len(timeline)), timeline.borders)


def _permuted(
    slots: list[Rows], where: npt.NDArray[Any], num_bins: int, random: np.random.Generator
) -> Rows:
    rows = np.arange(num_bins)
    for segment in np.unique(where):
        members = np.flatnonzero(where == segment)
        # A random cycle: no slot keeps its own latents.
        order = random.permutation(members)
        for slot, other in zip(order, np.roll(order, 1), strict=True):
            rows[slots[slot]] = slots[other]
    return rows


def _permuted_trials(timeline: Timeline, random: np.random.Generator, num_draws: int) -> NullRows:
    trials = [trial for trial in _segments(timeline) if not timeline.sealed[trial].any()]
    if len(trials) < 2:
        raise DataError("at least 2 trials must hold to permute them, but got fewer")
    together = np.zeros(len(trials), int)
    rows = tuple(_permuted(trials, together, len(timeline), random) for _ in range(num_draws))
    return NullRows(rows, np.ones(len(timeline), bool))
