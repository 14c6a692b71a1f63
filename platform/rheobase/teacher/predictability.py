"""Which directions of the latents predict the future of their session, and in what order."""

# Shape legend: T bins, B samples, D latent dimensions, M features of the future.

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rheobase.core.errors import DataError
from rheobase.core.seeds import generator
from rheobase.measures.cca_moments import heldout_of
from rheobase.measures.moments import CrossMoments, moments_of, refuse_constant
from rheobase.measures.nulls import shift_rows
from rheobase.measures.shares import num_filled
from rheobase.measures.shifts import Rows
from rheobase.measures.signs import rounded
from rheobase.shards.shard import VALIDATION, Shard
from rheobase.shards.timeline import Timeline, timeline_of
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.evidence import with_future
from rheobase.teacher.features import future_counts, horizon_bins

Floats = npt.NDArray[np.float64]

NUM_DRAWS = 100
SHRINKAGE = 1e-3
"""Of the future's covariance: it has few dimensions, and beside them thousands of bins."""
CHUNK_BINS = 32_768
LEAST_BINS = 10
"""Train bins of a time since onset, in a state, from which its mean is taken."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PastAndFuture:
    """A session's latents, and what they are to predict.

    Attributes
    ----------
    session
        Its id, which names the draws of its null.
    latents
        (T, D) of the past of every bin.
    future
        (T, M) of the bins after it, in dimensions that all sessions share.
    timeline
        Labels (T,).
    num_ahead
        Bins that the future spans.
    """

    session: str
    latents: npt.NDArray[np.floating]
    future: npt.NDArray[np.floating]
    timeline: Timeline
    num_ahead: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictability:
    """The directions of the latents: those that predict, the best first, and then the others.

    Attributes
    ----------
    mean
        (D,) of the latents on train.
    turn
        (D, D), invertible: ``(latents - mean) @ turn`` are uncorrelated and of variance 1 on
        train, and their first k span the first k directions, whatever k.
    correlation
        (D,) held-out correlation of each direction with the future, falling among those that
        predict and among the others.
    null_q95
        (D,) 95 % quantile of the largest such correlation with a shifted future that this
        direction and all that are foretold less well have; what a direction that predicts exceeds.
    """

    mean: Floats
    turn: Floats
    correlation: Floats
    null_q95: Floats

    @property
    def dims(self) -> int:
        """How many directions predict."""
        return int((self.correlation > self.null_q95).sum())

    @property
    def effective_rank(self) -> float:
        """How many dimensions what is foretold fills, from 1 to `dims`; 0 where nothing is.

        As `measures.shares.effective_rank`, of the squared correlations of the directions that
        predict: uncorrelated and of variance 1, so much of each is foretold.
        """
        return num_filled(np.square(self.correlation[: self.dims])) if self.dims else 0.0

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each dimension, as plain JSON values."""
        return [
            {
                "dimension": number,
                "correlation": float(value),
                "null_q95": float(null),
                "predicts": bool(value > null),
            }
            for number, (value, null) in enumerate(
                zip(self.correlation, self.null_q95, strict=True), start=1
            )
        ]


def predictability(
    sessions: Sequence[PastAndFuture], seed: int, num_draws: int = NUM_DRAWS
) -> Predictability:
    r"""Return how well each direction of the latents predicts the future, on bins not fitted.

    Parameters
    ----------
    sessions
        All that share the latents' dimensions; of each the train bins are fitted and the
        validation bins scored. No other bin's future is read, and no bin of test.
    seed
        Root of the draws.
    num_draws
        Of the null.

    Returns
    -------
    The directions, their correlations and the null's quantile.

    Raises
    ------
    DataError
        Train or validation has too few bins with a future of their own, a latent depends on
        others or is not finite, or a session is too short for
        the null's shifts.

    Notes
    -----
    Canonical correlation of latents with their future, fitted on train and scored, signed, on
    validation. From latents and future their train means by session, state and time since an onset
    are taken off: what these tell, nobody needs a past for, and a shifted clock foretells the
    clock, so that it would hide all that is foretold less well. Products are summed over
    sessions, for which the dimensions must mean the same.

    In the null each session's latents are moved in time by at least 10 s, off the period of its
    presentations (`measures.nulls.shift_rows`), and both fit and score are done again; all of it on
    the bins that such shifts leave, the middle of each segment. The best
    direction must exceed the 95 % quantile of the null's largest correlation, the next that of
    latents without the first, and so on. Latents that share nothing with their future have a
    direction that passes in about 5 % of cases: once the largest correlation has failed, the next
    ones, smaller, meet a null nearly as large. A slow drift, foretold from 10 s away too, fails,
    and does not stand in the way of the others.

    The directions of a fit are uncorrelated beside those means; they are made uncorrelated over
    all of train by Gram and Schmidt, in order, which leaves what the first k span as it is.

    References
    ----------
    Hotelling 1936; Akaike 1975 (canonical variates of past and future); Winkler et al. 2020,
    *Permutation inference for canonical correlation analysis* (one direction after another).
    """
    parts = [_Bins(one, seed, num_draws) for one in sessions]
    held = heldout_of(*_pooled([one.moments() for one in parts]), SHRINKAGE)
    order = np.argsort(-held.pairs, kind="stable")
    nulls = _nulls(list(_shifted(parts)), held.fit.project_y[:, order])
    # Those that predict before the others, both by falling correlation.
    first = np.argsort(held.pairs[order] <= nulls, kind="stable")
    mean, turn = _uncorrelated(sessions, held.fit.project_y[:, order[first]])
    return Predictability(
        mean=mean, turn=turn, correlation=held.pairs[order[first]], null_q95=nulls[first]
    )


def _nulls(drawn: Sequence[tuple[CrossMoments, CrossMoments]], directions: Floats) -> Floats:
    """Return what each direction must exceed, (D,)."""
    nulls = np.empty(directions.shape[1])
    for number in range(len(nulls)):
        left = directions[:, number:]
        largest = [
            heldout_of(_along(train, left), _along(scored, left), SHRINKAGE).pairs.max()
            for train, scored in drawn
        ]
        # Of 100 draws the 96th: one more like them exceeds it in 5 of 101 cases.
        nulls[number] = np.quantile(largest, 0.95, method="higher")
    return nulls


def _along(moments: CrossMoments, directions: Floats) -> CrossMoments:
    """Return the moments of the latents' projections on some directions."""
    return replace(
        moments,
        mean_y=moments.mean_y @ directions,
        xy=moments.xy @ directions,
        yy=directions.T @ moments.yy @ directions,
    )


def _pooled(
    sessions: Sequence[tuple[CrossMoments, CrossMoments]],
) -> tuple[CrossMoments, CrossMoments]:
    """Return moments of train and of validation, each summed over sessions."""
    train, scored = (_summed(side) for side in zip(*sessions, strict=True))
    if not train.num or not scored.num:
        raise DataError(
            "train and validation must hold bins whose future is of their own group, but one holds "
            "none; use longer blocks"
        )
    return train, scored


class _Bins:
    """The bins of a session whose future lies in their own group, by state and split.

    They are those that the null takes, for which its draws stand in.
    """

    def __init__(self, session: PastAndFuture, seed: int, num_draws: int) -> None:
        self.session, line = session, session.timeline
        random = generator(seed, "teacher", "predictability", session.session)
        self.null = shift_rows(line, random, num_draws)
        if line.train.any():
            refuse_constant(np.ptp(session.latents[line.train], axis=0))
        now = with_future(line, session.num_ahead)
        now = now[self.null.valid[now]]
        states = np.unique(line.state)
        self._split = [
            [now[part[now] & (line.state[now] == state)] for state in states]
            for part in (line.train, line.split == VALIDATION)
        ]
        # As many as latents, so that every direction of those has a partner.
        width = max(0, session.latents.shape[1] - session.future.shape[1])
        self._latents = _beyond_the_clock(session.latents, line)
        self._future = np.pad(_beyond_the_clock(session.future, line), ((0, 0), (0, width)))

    def moments(self, rows: Rows | None = None) -> tuple[CrossMoments, CrossMoments]:
        """Return those of train and of validation; `rows` (T,) stand in for the latents' bins."""
        both = []
        for by_state in self._split:
            sums = [
                moments_of(self._future[bins], self._latents[bins if rows is None else rows[bins]])
                for bins in by_state
                if len(bins) > 1
            ]
            # Where whole sessions are held out, a session has train or validation alone.
            empty = moments_of(np.zeros_like(self._future[:1]), np.zeros_like(self._latents[:1]))
            both.append(_summed(sums or [replace(empty, num=0)]))
        if not all(np.isfinite(one.yy).all() and np.isfinite(one.xx).all() for one in both):
            raise DataError(
                f"{self.session.session}: latents of train and validation must be finite, but one "
                "is not; train the teacher again"
            )
        return both[0], both[1]


def _beyond_the_clock(x: npt.NDArray[np.floating], line: Timeline) -> Floats:
    """Return signals (T, D) less their train mean at that time since an onset, in that state."""
    _, state = np.unique(line.state, return_inverse=True)
    moment = state * (int(line.phase.max()) + 2) + line.phase + 1
    inside = line.train if line.train.any() else line.split == VALIDATION
    of_state, _ = _means(x, state, inside)
    of_moment, num = _means(x, moment, inside)
    # Of few bins a mean is noise.
    known = (num >= LEAST_BINS)[moment]
    return np.asarray(x - np.where(known[:, None], of_moment[moment], of_state[state]))


def _means(
    x: npt.NDArray[np.floating], label: npt.NDArray[np.integer], inside: npt.NDArray[np.bool_]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the mean of each label inside some bins, 0 where it has none there, and how many."""
    here, num_labels = label[inside], int(label.max()) + 1
    num = np.bincount(here, minlength=num_labels)
    sums = np.stack([np.bincount(here, one, num_labels) for one in x[inside].T], axis=1)
    return sums / np.maximum(num, 1)[:, None], num


def _summed(parts: Sequence[CrossMoments]) -> CrossMoments:
    """Return products about each part's own means, summed."""
    return CrossMoments(
        num=sum(one.num for one in parts),
        mean_x=np.zeros_like(parts[0].mean_x),
        mean_y=np.zeros_like(parts[0].mean_y),
        xx=np.sum([one.xx for one in parts], axis=0),
        xy=np.sum([one.xy for one in parts], axis=0),
        yy=np.sum([one.yy for one in parts], axis=0),
    )


def _shifted(parts: Sequence[_Bins]) -> Iterator[tuple[CrossMoments, CrossMoments]]:
    """Yield the moments of all sessions together for each draw."""
    for drawn in zip(*(one.null.rows for one in parts), strict=True):
        yield _pooled([one.moments(row) for one, row in zip(parts, drawn, strict=True)])


def _uncorrelated(sessions: Sequence[PastAndFuture], directions: Floats) -> tuple[Floats, Floats]:
    """Return the latents' mean on train and a map to uncorrelated dimensions of variance 1."""
    inside = [np.asarray(one.latents[one.timeline.train], np.float64) for one in sessions]
    num = sum(map(len, inside))
    mean = np.sum([one.sum(axis=0) for one in inside], axis=0) / num
    covariance = np.sum([(one - mean).T @ (one - mean) for one in inside], axis=0) / num
    below = np.linalg.cholesky(directions.T @ covariance @ directions)
    return mean, np.asarray(np.linalg.solve(below, directions.T).T)


def ordered(teacher: Teacher, shards: Sequence[Shard]) -> tuple[Teacher, dict[str, Any]]:
    """Return a teacher whose latents are ordered by what they predict, and what its report says.

    Parameters
    ----------
    teacher
        Trained on all of `shards`, its latents in whatever order training left them.
    shards
        Binned sessions.

    Returns
    -------
    A teacher whose `encode` gives ordered latents; and ``predictability``, a row for each
    dimension, with ``dims``, the number of those that predict, and ``predictable_rank``, how many
    what they foretell fills. Where the sessions cannot tell they are None, the teacher is as it
    was, and ``predictability_note`` says why.

    Notes
    -----
    The future is the teacher's own code of the counts to come (`Teacher.encode_future`): few
    dimensions, fitted on train to be foretold, in which all sessions mean the same, so that
    their moments may be summed. Components of the counts would be others in each session.
    """
    try:
        found = predictability(
            [
                _past_and_future(teacher, shard)
                for shard in sorted(shards, key=lambda shard: shard.session_id)
            ],
            teacher.settings.seed,
        )
    except DataError as error:
        unknown = dict.fromkeys(("predictability", "dims", "predictable_rank"))
        return teacher, {**unknown, "predictability_note": str(error)}
    turned = copy.deepcopy(teacher)
    # Students learn these latents: other last digits would be other students.
    turned.order.turn_by(found.mean, rounded(found.turn))
    return turned, {
        "predictability": found.rows(),
        "dims": found.dims,
        "predictable_rank": found.effective_rank,
    }


def _past_and_future(teacher: Teacher, shard: Shard) -> PastAndFuture:
    horizons_ms = teacher.settings.horizons_ms
    future = []
    odds = teacher.odds(shard)
    with torch.no_grad():
        for begin in range(0, shard.num_bins, CHUNK_BINS):
            end = min(begin + CHUNK_BINS, shard.num_bins)
            counts = future_counts(shard, horizons_ms, begin, end).astype(np.float32)
            code = teacher.encode_future(
                shard.session_id,
                torch.from_numpy(counts),
                odds=None if odds is None else odds[begin:end],
            )
            future.append(code.flatten(1).numpy())
    return PastAndFuture(
        session=shard.session_id,
        latents=encode(teacher, shard),
        future=np.concatenate(future),
        timeline=timeline_of(shard),
        num_ahead=horizon_bins(horizons_ms, shard.bin_ms)[-1],
    )
