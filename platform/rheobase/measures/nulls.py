"""Null distributions of held-out CCA: teachers that are shifted, or know the clock alone."""

# Shape legend: T bins, E entries of latents, M features, D teacher dimensions.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.cca_moments import heldout_means, heldout_of, whitening_y
from rheobase.measures.moments import CrossMoments, moments_of, refuse_constant
from rheobase.measures.shifts import (
    ENDS,
    MIN_SHIFT_S,
    Rows,
    middle_and_shifts,
    middle_trials,
    segments_of,
    unsealed,
)
from rheobase.shards.shard import NONE
from rheobase.shards.timeline import Timeline

MOST_VALUES = 4_000_000  # of teachers in one product: 32 MB
LEAST_BINS = 3


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
    """Draw shifts of the teacher in time, of trial-binned data by whole trials.

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
    Rows for which the latents of each segment are moved by 10 s to a fifth of the segment, either
    way, and never to within 0.1 s of a multiple of the presentations' period (where they have
    one), or of a fifth of it where that is less. Valid are the bins whose stand-ins every shift
    finds inside the segment: all but a fifth at each end. What a student's own held-out CCA must
    be compared with the null on are the same bins (`own_cca`). A segment too short to be shifted
    takes no part.
    Where test is not open a bin of it is nobody's stand-in: the nearest one that is not sealed,
    whole periods away, takes its place. Trial-binned data is shifted by 1 trial to a fifth of all
    trials, all but a fifth at each end are valid, and the nearest open trial stands in for a
    sealed one.

    Raises
    ------
    DataError
        Every segment is too short to be shifted, or there are too few trials.

    Notes
    -----
    Linear shifts (Harris 2020, *Nonsense correlations in neuroscience*): no shift wraps around the
    end of a segment, so that a shifted teacher is as smooth as the true one. Signals that share
    nothing then exceed the 95 % quantile as often as they should even where they are slower than
    the blocks, or than a trial; with wrapped shifts, or permuted trials, they do so far more often
    (benchmarks/null_validity.md).
    """
    if timeline.kind == "trials":
        return _shifted_trials(timeline, random, num_draws)
    segments = segments_of(timeline)
    valid = np.zeros(len(timeline), bool)
    rows = tuple(np.arange(len(timeline)) for _ in range(num_draws))
    for segment in segments:
        middle, shifts = middle_and_shifts(timeline, segment)
        if len(shifts) == 0:
            continue
        valid[middle] = True
        wanted = ~timeline.sealed[middle]
        for row, shift in zip(rows, random.choice(shifts, num_draws), strict=True):
            moved = middle + shift
            row[middle] = unsealed(moved, timeline, segment, wanted=wanted, beside=middle)
    if not valid.any():
        longest_s = max(map(len, segments)) * timeline.bin_ms / 1000
        raise DataError(
            f"a segment of at least {ENDS * MIN_SHIFT_S:g} s must hold to shift the teacher in "
            f"it, but the longest lasts {longest_s:g} s; use a longer recording"
        )
    return NullRows(rows, valid)


def clock_rows(timeline: Timeline, random: np.random.Generator, num_draws: int) -> NullRows:
    """Draw permutations of the presentations of each segment, phase kept.

    What such a teacher earns, the stimulus clock alone earns. Bins before the first onset, phases
    that not every presentation of the recording reaches, and presentations of which test is not
    open, are not valid. Trial-binned data is shifted by whole trials, as `shift_rows` does, which
    keeps the phase too: permuted trials would let anything slower than a trial pass.

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
        return _shifted_trials(timeline, random, num_draws)
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
        Its moments on the null's valid train bins and on its valid test bins.
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
        (E, D) latents that the null's rows point into: (T, D) of this session, or those of others.
    timeline
        Labels (T,).
    null
        The draws.

    Attributes
    ----------
    white
        (draws, D, D) what makes each teacher white on train.

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
        inside = np.asarray(y[null.rows[0][self._bins[0]]], np.float64)
        # Far from its mean a product of a teacher would lose digits.
        self._y = np.ascontiguousarray((y - inside.mean(axis=0)).T, np.float64)
        train, self._yy_test = (self._covariances(bins) for bins in self._bins)
        self.white = whitening_y(train / len(inside))

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
            There are too few bins for a student's features, or its moments are of other bins than
            the null's.
        """
        return [
            heldout_means(inside, outside, self.white, one.shrinkage)
            for one, (inside, outside) in zip(students, self.sides(students), strict=True)
        ]

    def sides(self, students: Sequence[Measured]) -> list[tuple[CrossMoments, CrossMoments]]:
        """Return the moments of each student with all teachers, on train and on scored bins.

        Parameters
        ----------
        students
            As `cca` takes them.

        Returns
        -------
        Train and scored moments of each student, ``xy`` and ``yy`` of all draws.

        Raises
        ------
        DataError
            As `cca`.
        """
        for one in students:
            if (one.train.num, one.test.num) != tuple(map(len, self._bins)):
                raise DataError(
                    "a student's moments must be those of the null's valid bins, but they are of "
                    f"{one.train.num} train and {one.test.num} test bins, not of "
                    f"{len(self._bins[0])} and {len(self._bins[1])}"
                )
        crosses = [self._crosses(students, part) for part in (0, 1)]
        return [
            (replace(one.train, xy=train), replace(one.test, xy=test, yy=self._yy_test))
            for one, train, test in zip(students, *crosses, strict=True)
        ]

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


def own_cca(student: Measured) -> float:
    """Return a student's held-out CCA with its own teacher on a null's valid bins.

    Parameters
    ----------
    student
        Its moments on those bins.

    Returns
    -------
    What the null's quantile must be compared with, in [-1, 1]. Nulls that leave bins out are
    fitted on fewer bins than `cca_heldout`.

    Raises
    ------
    DataError
        There are too few bins for its features.
    """
    return heldout_of(student.train, student.test, student.shrinkage).mean


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
        (E, D) latents, of which a draw's teacher is ``y[rows]``; bins that no row points to may
        hold NaN.
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
    # Of a student's moments the null takes those of x alone.
    train, test = (
        moments_of(x[part & null.valid], y[null.rows[0][part & null.valid]])
        for part in (timeline.train, timeline.scored)
    )
    return teachers.cca([Measured(x, train, test, shrinkage)])[0]


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


def _shifted_trials(timeline: Timeline, random: np.random.Generator, num_draws: int) -> NullRows:
    middle, room = middle_trials(timeline)
    bins = np.stack(segments_of(timeline))
    can_be = np.flatnonzero(~timeline.sealed[bins].any(axis=1))
    if len(can_be) < 2:
        raise DataError("at least 2 trials must be open to shift the teacher, but fewer are")
    valid = np.zeros(len(timeline), bool)
    valid[bins[middle]] = True
    rows = []
    for shift in random.choice(np.setdiff1d(np.arange(-room, room + 1), 0), num_draws):
        away = np.abs(can_be - (middle + shift)[:, None]).astype(float)
        away[can_be == middle[:, None]] = np.inf
        row = np.arange(len(timeline))
        row[bins[middle]] = bins[can_be[away.argmin(axis=1)]]
        rows.append(row)
    return NullRows(tuple(rows), valid)
