"""The mean over runs with its 95 % interval, and whether that speaks of one recording or more."""

# Shape legend: R replicates, I blocks, K teachers, S sessions.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtridf, stdtrit

from rheobase.core.errors import StudyError
from rheobase.study.ranking.ranking import Interval, MeanEstimate, Unit
from rheobase.study.ranking.resampling import ALPHA, FEWEST_UNITS, LEVEL
from rheobase.study.records.result import ReplicateResult

Floats = npt.NDArray[np.float64]
Measure = Literal["cca_heldout", "untrained", "linear_readout"]
BLOCKS_OF: Mapping[Measure, str] = {
    "cca_heldout": "blocks",
    "untrained": "untrained_blocks",
    "linear_readout": "linear_blocks",
}
ONE_TEACHER = "one teacher: what another start of it would move is left out; see seeds.teacher"
SAME = 1e-12  # a standard error below it, of 1 or of the mean, is rounding


@dataclass(frozen=True)
class Runs:
    """One number of several runs, each of one seed on one session.

    Attributes
    ----------
    values
        (R,) the number of each run.
    sessions
        (R,) name of each run's session.
    blocks
        (R, I) the number's pseudo-value in each held-out block (`measures.blocks`), in the same
        order for all runs of a session; empty, or with an empty row, where there are none.
    teachers
        (R,) root seed of the teacher that each run learnt from; empty where one taught them all.
    """

    values: Sequence[float]
    sessions: Sequence[str]
    blocks: Sequence[Sequence[float]] = ()
    teachers: Sequence[int] = ()

    def minus(self, other: Runs) -> Runs:
        """Return the paired difference: run by run, block by block.

        Parameters
        ----------
        other
            Runs of the same seeds on the same sessions, in the same order.
        """
        if list(self.sessions) != list(other.sessions):
            raise StudyError(
                f"paired runs must be of the same sessions in the same order, but got "
                f"{list(self.sessions)} and {list(other.sessions)}; pair them by seed and session"
            )
        blocks = [
            [left - right for left, right in zip(ours, theirs, strict=True)]
            if len(ours) == len(theirs)
            else []
            for ours, theirs in zip(self.blocks, other.blocks, strict=False)
        ]
        values = [left - right for left, right in zip(self.values, other.values, strict=True)]
        return Runs(values, self.sessions, blocks, self.teachers)

    def within(self, session: str) -> Runs:
        """Return the runs on one session."""
        kept = [index for index, name in enumerate(self.sessions) if name == session]
        blocks = [self.blocks[index] for index in kept] if self.blocks else []
        teachers = [self.teachers[index] for index in kept] if self.teachers else []
        values = [self.values[index] for index in kept]
        return Runs(values, [session] * len(kept), blocks, teachers)

    def by_teacher(self) -> Runs:
        """Return one run for each teacher on each session, the mean of those that it taught.

        Where one teacher taught all, these runs.
        """
        if len({*self.teachers}) < 2:
            return self
        of_pair: dict[tuple[str, int], list[int]] = {}
        for index, pair in enumerate(zip(self.sessions, self.teachers, strict=True)):
            of_pair.setdefault(pair, []).append(index)
        blocks: list[list[float]] = []
        for rows in of_pair.values() if self.blocks else ():
            own = [self.blocks[row] for row in rows]
            is_whole = len({len(row) for row in own}) == 1
            blocks.append([fmean(column) for column in zip(*own, strict=True)] if is_whole else [])
        values = [fmean(self.values[row] for row in rows) for rows in of_pair.values()]
        sessions, teachers = zip(*of_pair, strict=True)
        return Runs(values, list(sessions), blocks, list(teachers))

    def means(self) -> dict[str, float]:
        """Return the mean of each session, in the order of their first run.

        Every teacher counts alike, however many runs it taught.
        """
        alike = self.by_teacher()
        return {name: fmean(alike.within(name).values) for name in dict.fromkeys(self.sessions)}

    def units(self) -> list[float]:
        """Return what is independent.

        Means of the sessions where there are several; of one session, of its teachers where there
        are several; else the runs.
        """
        means = self.means()
        return list(means.values()) if len(means) > 1 else list(self.by_teacher().values)


class Spread(NamedTuple):
    """What is known of how far a mean may lie from the truth.

    Attributes
    ----------
    variance
        Of the mean; nan where it is not known.
    freedom
        Its degrees of freedom.
    notes
        What it leaves out, and why.
    """

    variance: float
    freedom: float
    notes: tuple[str, ...] = ()


def runs_of(replicates: Sequence[ReplicateResult], measure: Measure = "cca_heldout") -> Runs:
    """Return a measure of each run, with its blocks.

    Parameters
    ----------
    replicates
        What the runs found.
    measure
        Of the student, of the same student before training, or of the linear readout.
    """
    blocks = BLOCKS_OF[measure]
    return Runs(
        [getattr(one, measure) for one in replicates],
        [one.session for one in replicates],
        [getattr(one, blocks) for one in replicates],
        tuple(one.teacher for one in replicates if one.teacher is not None),
    )


def estimate_mean(runs: Runs) -> MeanEstimate:
    """Return the mean of runs, or of paired differences, with the interval that they allow.

    Parameters
    ----------
    runs
        A level (`runs_of`), or what `Runs.minus` gives of two.

    Returns
    -------
    Of several sessions: the mean of their means, each over its seeds, and Student's t interval
    with one degree of freedom fewer than sessions. Of one session: the mean over seeds, and the
    interval of `crossed_spread`, over seeds and held-out blocks. Several teachers are a part of
    what varies: of one session each stands for the seeds that it taught, of several sessions they
    are crossed with them as blocks are with seeds. `ci95` is None, and a note says why, where
    nothing is known of the spread or where nothing varies.

    Notes
    -----
    Coverage of the truth, of 2,000 simulated studies a case (`make bench-statistics`): 94 to 97 %
    with 2 to 12 sessions, with 8 seeds and blocks, with t tails of 3 degrees of freedom and with
    unequal groups; 95 to 98 % with 3 seeds and blocks. Where one seed in five collapses it is 84 %
    with 8 seeds and 75 % with 3: no interval of so few seeds covers the mean of such a mixture.

    Examples
    --------
    >>> found = estimate_mean(Runs([0.1, 0.2, 0.3, 0.4], ["a", "a", "b", "b"]))
    >>> found.mean, found.unit, found.num_units, found.speaks_of
    (0.25, 'session', 2, 'recordings like these')
    >>> estimate_mean(Runs([0.1, 0.2], ["a", "a"])).speaks_of
    'this recording'
    """
    means = runs.means()
    if len(means) > 1:
        return _over_sessions(list(means.values()), _of_teachers(runs))
    unit: Unit = "teacher" if len({*runs.teachers}) > 1 else "seed"
    runs = runs.by_teacher()
    spread = session_spread(runs)
    if unit == "seed" and runs.teachers:
        spread = spread._replace(notes=(*spread.notes, ONE_TEACHER))
    return _estimate(fmean(runs.values), spread, unit, len(runs.values))


def estimate_difference(left: Runs, right: Runs) -> MeanEstimate:
    """Return the mean of one set of runs minus that of another, whose seeds are not the same.

    Parameters
    ----------
    left, right
        The two sides; only sessions that both have are compared.

    Returns
    -------
    Of several sessions: as `estimate_mean`, of the difference of the sides in each session. Of
    one session: Welch's interval, in which each side's variance is that of `session_spread`.

    Raises
    ------
    StudyError
        The sides share no session.

    Notes
    -----
    Welch 1947; in one session the blocks of the sides are taken to be others (validation and
    test), so that nothing of their spread cancels.

    Examples
    --------
    >>> low, high = estimate_difference(
    ...     Runs([0.9, 0.92], ["s"] * 2), Runs([0.8, 0.84], ["s"] * 2)
    ... ).ci95
    >>> round(low, 3), round(high, 3)
    (-0.048, 0.228)
    """
    ours, theirs = left.means(), right.means()
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise StudyError(
            f"two sides must share a session to be compared, but have {list(ours)} and "
            f"{list(theirs)}; run both on the same sessions"
        )
    if len(shared) > 1:
        return _over_sessions([ours[name] - theirs[name] for name in shared])
    sides = [session_spread(side.within(shared[0])) for side in (left, right)]
    variance = sides[0].variance + sides[1].variance
    freedom = _shared_freedom([(one.variance, one.freedom) for one in sides])
    notes = tuple(dict.fromkeys(note for one in sides for note in one.notes))
    num = min(len(side.within(shared[0]).values) for side in (left, right))
    spread = Spread(variance, freedom, notes)
    return _estimate(ours[shared[0]] - theirs[shared[0]], spread, "seed", num)


def session_spread(runs: Runs) -> Spread:
    """Return the variance of the mean of runs on one session, from all that is known to vary.

    Parameters
    ----------
    runs
        All of one session.

    Returns
    -------
    That of `crossed_spread` where every run has the same two or more blocks. Of one run: that of
    its blocks alone. Without blocks: that of seeds alone. Notes say which.
    """
    runs = runs.by_teacher()
    values, num = np.asarray(runs.values, np.float64), len(runs.values)
    sizes = {len(row) for row in runs.blocks} if len(runs.blocks) == num else {0}
    num_blocks = sizes.pop() if len(sizes) == 1 else 0
    if num_blocks < 2:
        if num < 2:
            return Spread(math.nan, 0, ("one run without held-out blocks has no interval",))
        note = "no held-out blocks are known: the interval holds the spread of seeds alone"
        return Spread(float(values.var(ddof=1)) / num, num - 1, (note,))
    blocks = np.asarray(runs.blocks, np.float64)
    if num == 1:
        note = "one seed: the interval holds the spread of held-out blocks alone"
        return Spread(float(blocks[0].var(ddof=1)) / num_blocks, num_blocks - 1, (note,))
    return crossed_spread(values, blocks)


def crossed_spread(values: Floats, blocks: Floats) -> Spread:
    r"""Return the variance of the mean of seeds that were all scored on the same blocks.

    Parameters
    ----------
    values
        (R,) the number of each seed.
    blocks
        (R, I) its pseudo-values, which vary with the seed, the block and both.

    Returns
    -------
    The variance, never negative, and its degrees of freedom.

    Notes
    -----
    The model of a pseudo-value is a mean, a random seed, a random block and a rest. With
    :math:`s^2` the variance of `values` and :math:`M_b, M_e` the mean squares of blocks and of
    the rest, the variance of the mean is :math:`s^2 / R + \max(0, M_b - M_e) / (R I)`: the first
    holds what seeds and the rest give, the second what blocks give to all seeds alike.

    With the degrees of freedom of Satterthwaite 1946 (at least the fewest of seeds and of blocks,
    less 1) an interval covers as little as 88 % with 2 seeds and 92 % with 3. One whose half-width
    squared is the sum of those of seeds and of blocks (Zou & Donner 2008) covers up to 99 and 98 %.
    The degrees of freedom are those that put it halfway between: 93 to 98 % with 3 seeds and blocks
    or more, 93 to 99 % with 2 seeds, as little as 89 % with 2 blocks.

    Blocks are taken to be independent given the recording: longer than the signals remember and
    apart by a gap. Where neighbours correlate by 0.3 the interval covers 89 to 93 %, by 0.5 80 to
    92 % (`benchmarks/statistics.md`).

    Examples
    --------
    >>> values = np.array([0.1, 0.3])
    >>> found = crossed_spread(values, np.array([[0.1, 0.1], [0.3, 0.3]]))
    >>> round(found.variance, 12), found.freedom
    (0.01, 1.0)
    >>> found = crossed_spread(np.array([0.2, 0.2]), np.array([[0.1, 0.3], [0.1, 0.3]]))
    >>> round(found.variance, 12), round(found.freedom, 6)
    (0.01, 1.0)
    """
    num_seeds, num_blocks = blocks.shape
    total = blocks.mean()
    of_seed, of_block = blocks.mean(axis=1, keepdims=True), blocks.mean(axis=0)
    rest = blocks - of_seed - of_block + total
    free_seeds, free_blocks = num_seeds - 1, num_blocks - 1
    cells, free_rest = num_seeds * num_blocks, free_seeds * free_blocks
    seeds = float(values.var(ddof=1)) / num_seeds
    between = num_seeds * float(((of_block - total) ** 2).sum()) / free_blocks / cells
    rests = float((rest**2).sum()) / free_rest / cells
    if between <= rests:
        return Spread(seeds, float(free_seeds))
    variance = seeds + between - rests
    parts = [(seeds, free_seeds), (between, free_blocks), (rests, free_rest)]
    narrow = max(_shared_freedom(parts, variance), float(min(free_seeds, free_blocks)))
    wide = math.sqrt(
        (seeds * _times(free_seeds) ** 2 + (between - rests) * _times(free_blocks) ** 2) / variance
    )
    halfway = (_times(narrow) + wide) / 2
    return Spread(variance, float(stdtridf((1 + LEVEL) / 2, halfway)))


def _times(freedom: float) -> float:
    """Return by how many standard errors an interval reaches to each side."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _shared_freedom(parts: Sequence[tuple[float, float]], variance: float | None = None) -> float:
    """Return Satterthwaite's degrees of freedom of a sum of variances, each with its own."""
    total = math.fsum(one for one, _ in parts) if variance is None else variance
    if not total > 0:
        return 0.0
    return total**2 / math.fsum(one**2 / freedom for one, freedom in parts if one)


def _of_teachers(runs: Runs) -> Floats | None:
    """Return the mean (S, K) of each session's runs by each teacher, if all taught on all."""
    alike = runs.by_teacher()
    if not alike.teachers:
        return None
    names, teachers = dict.fromkeys(alike.sessions), dict.fromkeys(alike.teachers)
    if len(alike.values) != len(names) * len(teachers):
        return None
    found = dict(zip(zip(alike.sessions, alike.teachers, strict=True), alike.values, strict=True))
    return np.array([[found[name, teacher] for teacher in teachers] for name in names])


def _over_sessions(means: Sequence[float], of_teachers: Floats | None = None) -> MeanEstimate:
    """Return the mean over sessions, and what their means by teacher (S, K) say of its spread."""
    num = len(means)
    notes = []
    if num < FEWEST_UNITS:
        notes.append(
            f"{num} sessions: of recordings like these the interval tells only what so few can, "
            f"and no sign flip of fewer than {FEWEST_UNITS} can reach p <= {ALPHA:g}"
        )
    spread = Spread(float(np.var(means, ddof=1)) / num, num - 1)
    if of_teachers is not None and of_teachers.shape[1] > 1:
        spread = crossed_spread(np.array(means), of_teachers)
    elif of_teachers is not None:
        notes.append(ONE_TEACHER)
    return _estimate(fmean(means), spread._replace(notes=tuple(notes)), "session", num)


def _estimate(mean: float, spread: Spread, unit: Unit, num: int) -> MeanEstimate:
    notes = list(spread.notes)
    if unit != "session":
        notes.insert(0, "one recording: the interval speaks of it alone, not of others")
    ci95: Interval | None = None
    if spread.variance > (SAME * max(1.0, abs(mean))) ** 2:
        half = _times(spread.freedom) * math.sqrt(spread.variance)
        ci95 = mean - half, mean + half
    elif not math.isnan(spread.variance):
        notes.append(
            f"no interval: every {unit} gives the same value, which does not tell how far another "
            "would lie"
        )
    return MeanEstimate(
        mean=mean,
        ci95=ci95,
        degrees_of_freedom=spread.freedom if ci95 else None,
        unit=unit,
        num_units=num,
        speaks_of="recordings like these" if unit == "session" else "this recording",
        notes=tuple(notes),
    )
