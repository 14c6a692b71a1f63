"""What a linear readout makes of a code, on held-out bins.

A probe, here and in `tasks`, is a linear decoder that is fitted to a code to see what it holds:
never a silicon probe.
"""

# Shape legend: T bins, B samples, M features, D targets, G penalties.

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.timeline import Timeline

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
PENALTIES = tuple(10.0**power for power in range(-6, 3))
NUM_FOLDS = 5
STILL = 1e-18
"""Share of its squared mean below which a feature's variance is rounding."""
TAIL_SHARE = 1e-5
"""Of a feature's variance on all of train, up to which it stands still in a part of it. One spike
among a hundred thousand leaves as much; what half a second leaves of it in a filter of 80 ms, a
millionth of that."""
CHUNK_SAMPLES = 32_768  # bounds the memory of float64 copies


def ridge_r2(
    x: Array,
    y: Array,
    timeline: Timeline,
    *,
    train: Bools | None = None,
    test: Bools | None = None,
) -> Floats:
    r"""Return the held-out coefficient of determination of each target, (D,).

    Parameters
    ----------
    x
        (T, M) features.
    y
        (T, D) targets.
    timeline
        Labels (T,): fitted on train, scored on test.
    train, test
        (T,) other bins to fit on and to score; of one state, for instance.

    Returns
    -------
    1 is perfect, 0 no better than the mean of test, below 0 worse; 0 for a target that does not
    vary on test.

    Raises
    ------
    DataError
        A number is not finite, train holds fewer than two groups, or test no bin.

    Notes
    -----
    Ridge regression (Hoerl & Kennard 1970) on features of variance 1. The penalty is a multiple
    of the number of samples, chosen for each target over folds of whole groups inside train, the
    larger of two that score the same. Invariant to the scale and shift of each feature and each
    target. Sums of products alone are kept of each fold, so that memory does not grow with T.
    """
    train = timeline.train if train is None else train
    test = timeline.scored if test is None else test
    y = np.asarray(y, np.float64)
    parts, sums, still = _by_fold(x, y, timeline, train)
    if not test.any():
        raise DataError("at least 1 bin must be held out to score, but none is")
    scored = sums(np.flatnonzero(test))
    whole = _together(parts)
    for name, values in (("x", whole.xx + scored.xx), ("y", whole.yy + scored.yy)):
        if not np.isfinite(values).all():
            raise DataError(f"every value of {name} must be finite, but it holds NaN or infinity")
    chosen = _chosen_penalties(parts, whole, still)
    errors = np.array([_missed(scored, *model) for model in _ridge(whole, still)])
    left = errors[chosen, np.arange(y.shape[1])]
    total = scored.yy - scored.y**2 / scored.num
    varies = np.ptp(y[test], axis=0) > 0
    return np.where(varies, 1 - left / np.where(varies, total, 1.0), 0.0)


def ridge_map(x: Array, y: Array, timeline: Timeline) -> tuple[Floats, Floats]:
    """Return the linear map that `ridge_r2` scores.

    Parameters
    ----------
    x
        (T, M) features.
    y
        (T, D) targets.
    timeline
        Labels (T,): fitted on train, on nothing else.

    Returns
    -------
    Weights (M, D) and offsets (D,).

    Raises
    ------
    DataError
        A number is not finite, or train holds fewer than two groups.

    Notes
    -----
    ``x @ weights + offsets`` are the targets that ridge regression reads, with the penalty of
    each chosen over folds inside train. It equals a least squares fit where the penalty is small.
    """
    y = np.asarray(y, np.float64)
    parts, _, still = _by_fold(x, y, timeline, timeline.train)
    whole = _together(parts)
    if not (np.isfinite(whole.xx).all() and np.isfinite(whole.yy).all()):
        raise DataError("every value of x and y must be finite, but they hold NaN or infinity")
    chosen = _chosen_penalties(parts, whole, still)
    models = _ridge(whole, still)
    each = range(y.shape[1])
    weights = np.stack([models[chosen[d]][0][:, d] for d in each], axis=1)
    offsets = np.array([models[chosen[d]][1][d] for d in each])
    rows = timeline.train
    centre_x, centre_y = np.mean(x[rows], axis=0, dtype=np.float64), y[rows].mean(axis=0)
    return weights, offsets + centre_y - centre_x @ weights


def _by_fold(
    x: Array, y: Floats, timeline: Timeline, train: Bools
) -> tuple[list[_Sums], Callable[[npt.NDArray[np.int64]], _Sums], Floats]:
    """Return the sums of each fold of train, how to make more, and what of a variance is rounding.

    All are about the means of train.
    """
    fold = folds(timeline.group[train])
    rows = np.flatnonzero(train)
    centre_x: Floats = np.asarray(np.mean(x[train], axis=0, dtype=np.float64))
    centre_y = y[train].mean(axis=0)

    def sums(chosen: npt.NDArray[np.int64]) -> _Sums:
        return _sums(x, y, chosen, centre_x, centre_y)

    parts = [sums(rows[fold == held]) for held in range(int(fold.max()) + 1)]
    beyond = np.flatnonzero(timeline.train & ~train)
    everything = _together([*parts, sums(beyond)] if len(beyond) else parts)
    usual = np.diag(everything.xx) / everything.num - (everything.x / everything.num) ** 2
    return parts, sums, np.maximum(STILL * np.square(centre_x), TAIL_SHARE * usual)


def _together(parts: list[_Sums]) -> _Sums:
    return _Sums(*(np.sum(one, axis=0) for one in zip(*parts, strict=True)))


def _chosen_penalties(parts: list[_Sums], whole: _Sums, still: Floats) -> npt.NDArray[np.intp]:
    """Return the number of the penalty (D,) of each target, the larger of two that score alike."""
    missed = np.zeros((len(PENALTIES), len(whole.y)))
    for part in parts:
        others = _Sums(*(total - one for total, one in zip(whole, part, strict=True)))
        missed += [_missed(part, *model) for model in _ridge(others, still)]
    # Penalties rise: the last of the least errors.
    chosen: npt.NDArray[np.intp] = len(PENALTIES) - 1 - np.argmin(missed[::-1], axis=0)
    return chosen


def folds(group: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return the fold of each train sample, whole groups together.

    Parameters
    ----------
    group
        (B,) number of the group of each sample.

    Returns
    -------
    (B,) from 0; of at most `NUM_FOLDS` folds none is empty.

    Raises
    ------
    DataError
        There are fewer than two groups.
    """
    _, number = np.unique(group, return_inverse=True)
    num_groups = int(number.max(initial=-1)) + 1
    if num_groups < 2:
        raise DataError(
            f"at least 2 groups must hold to choose the penalty in train, but got {num_groups}; "
            "use smaller groups"
        )
    fold: npt.NDArray[np.int64] = number % min(NUM_FOLDS, num_groups)
    return fold


class _Sums(NamedTuple):
    """Number of samples, and their sums and sums of products about a common centre."""

    num: Any
    x: Floats
    y: Floats
    xx: Floats
    xy: Floats
    yy: Floats


def _sums(
    x: Array, y: Floats, rows: npt.NDArray[np.int64], centre_x: Floats, centre_y: Floats
) -> _Sums:
    width, num_targets = len(centre_x), len(centre_y)
    totals = _Sums(
        num=len(rows),
        x=np.zeros(width),
        y=np.zeros(num_targets),
        xx=np.zeros((width, width)),
        xy=np.zeros((width, num_targets)),
        yy=np.zeros(num_targets),
    )
    for begin in range(0, len(rows), CHUNK_SAMPLES):
        some = rows[begin : begin + CHUNK_SAMPLES]
        left, right = x[some] - centre_x, y[some] - centre_y
        for total, part in zip(
            totals[1:],
            (left.sum(0), right.sum(0), left.T @ left, left.T @ right, (right**2).sum(0)),
            strict=True,
        ):
            total += part
    return totals


def _ridge(sums: _Sums, still: Floats) -> list[tuple[Floats, Floats]]:
    """Return weights (M, D) and offsets (D,) of each penalty."""
    mean_x, mean_y = sums.x / sums.num, sums.y / sums.num
    covariance = sums.xx / sums.num - np.outer(mean_x, mean_x)
    variance = np.diag(covariance)
    scale = np.where(variance > still, np.sqrt(variance.clip(min=0)), np.inf)
    values, vectors = np.linalg.eigh(covariance / scale / scale[:, None])
    cross = vectors.T @ ((sums.xy / sums.num - np.outer(mean_x, mean_y)) / scale[:, None])
    models = []
    for penalty in PENALTIES:
        weights = vectors @ (cross / (values.clip(min=0)[:, None] + penalty)) / scale[:, None]
        models.append((weights, mean_y - mean_x @ weights))
    return models


def _missed(sums: _Sums, weights: Floats, offset: Floats) -> Floats:
    """Return the squared error (D,) of a linear map on the samples of which these are the sums."""
    squares: Floats = (
        sums.yy
        - 2 * (weights * sums.xy).sum(axis=0)
        - 2 * offset * sums.y
        + (weights * (sums.xx @ weights)).sum(axis=0)
        + 2 * offset * (sums.x @ weights)
        + sums.num * offset**2
    )
    return squares
