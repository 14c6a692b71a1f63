"""Held-out canonical correlation: fitted on train, signed and scored on test."""

# Shape legend: T bins, B samples, M features of x, D dimensions of y, K = min(M, D) pairs.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.timeline import Timeline

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
SHRINKAGES = (1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3)
NUM_FOLDS = 5
NUM_STACKED = 8  # teachers in one product: 33 MB at 32,000 train bins of 16 dimensions
STILL = 1e-20  # variance below which a canonical variate, of variance 1 on train, stands still


@dataclass(frozen=True, eq=False)
class CCAFit:
    """Means (M,), (D,) and canonical projections (M, K), (D, K), all of train."""

    mean_x: Floats
    mean_y: Floats
    project_x: Floats
    project_y: Floats
    shrinkage: float


@dataclass(frozen=True, eq=False)
class HeldoutCCA:
    """Mean over all D teacher dimensions, the signed correlation of each pair (D,), the fit."""

    mean: float
    pairs: Floats
    fit: CCAFit


def fit_cca(x: Array, y: Array, shrinkage: float) -> CCAFit:
    r"""Fit canonical projections.

    Parameters
    ----------
    x
        (B, M) features of the student.
    y
        (B, D) latents of the teacher.
    shrinkage
        s in ``(1 - s) C + s tr(C) / M I`` for the covariance of x, 0 < s < 1. That of y is
        left as it is: its dimensions are few and all must count.

    Returns
    -------
    The fit, its pairs in falling order of correlation on these samples.

    Raises
    ------
    DataError
        A number is not finite, a dimension of y has no variance or depends on the others,
        or there are too few samples.

    Notes
    -----
    Singular vectors of :math:`C_{xx}^{-1/2} C_{xy} C_{yy}^{-1/2}` (Hotelling 1936; shrinkage as
    Ledoit & Wolf 2004). Invariant to invertible linear maps of y, and of x up to shrinkage.
    """
    x, y = _checked(x, y)
    moments = _moments(x, y)
    white_x = _whitening_x(np.linalg.eigh(moments.xx / moments.num), shrinkage)
    return _fit(moments, white_x, _whitening_y(moments.yy / moments.num), shrinkage)


def score_cca(fit: CCAFit, x: Array, y: Array) -> Floats:
    """Return the signed Pearson correlation of each pair on (B, M) and (B, D), as (D,).

    A student of fewer features than the teacher has dimensions cannot carry the rest: pairs
    beyond K are 0. So is a pair of which one side does not vary here.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    pairs = np.zeros(y.shape[1])
    pairs[: fit.project_x.shape[1]] = _correlations(
        (x - fit.mean_x) @ fit.project_x, (y - fit.mean_y) @ fit.project_y
    )
    return pairs


def choose_shrinkage(
    x: Array, y: Array, groups: Array, grid: tuple[float, ...] = SHRINKAGES
) -> float:
    """Return the shrinkage with the best score over folds of whole groups, inside train.

    Parameters
    ----------
    x, y
        (B, M), (B, D) train samples.
    groups
        (B,) samples of one group stay together.
    grid
        Values to choose from; the larger one wins a tie.

    Raises
    ------
    DataError
        Fewer than two groups.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise DataError(
            f"at least 2 groups must hold to choose the shrinkage in train, but got {len(names)}; "
            "use smaller groups"
        )
    x, y = _checked(x, y)
    fold = np.searchsorted(names, groups) % min(NUM_FOLDS, len(names))
    held_out = range(int(fold.max()) + 1)
    # Samples are read once: what a fit or a score needs are the second moments of folds.
    parts = [_moments(x[fold == held], y[fold == held]) for held in held_out]
    scores = np.zeros(len(grid))
    for held in held_out:
        inside = _joined([parts[other] for other in held_out if other != held])
        _refuse_too_few(inside.num, x.shape[1], y.shape[1])
        _refuse_constant(y[fold != held])
        spectrum = np.linalg.eigh(inside.xx / inside.num)
        white_y = _whitening_y(inside.yy / inside.num)
        for index, shrinkage in enumerate(grid):
            fit = _fit(inside, _whitening_x(spectrum, shrinkage), white_y, shrinkage)
            scores[index] += _score(fit, parts[held]).mean()
    best = np.flatnonzero(scores >= scores.max() - 1e-9)[-1]
    return grid[int(best)]


def heldout_cca(
    x: Array,
    y: Array,
    timeline: Timeline,
    *,
    shrinkage: float | None = None,
    train: npt.NDArray[np.bool_] | None = None,
    test: npt.NDArray[np.bool_] | None = None,
) -> HeldoutCCA:
    """Fit on train bins, score on test bins, average over all dimensions of y.

    Parameters
    ----------
    x, y
        (T, M), (T, D) in the order of the timeline.
    timeline
        Labels (T,).
    shrinkage
        Chosen inside train where None.
    train, test
        (T,) bins to fit and to score; the timeline's split where None.

    Notes
    -----
    Linear maps are fitted on train alone and pairs are taken as they come: no picking of the
    best on test, no absolute values. Independent signals score about 0, however many
    dimensions there are; a sign that flips between train and test scores negative.
    """
    train = timeline.train if train is None else train
    test = timeline.test if test is None else test
    if shrinkage is None:
        shrinkage = choose_shrinkage(x[train], y[train], timeline.group[train])
    fit = fit_cca(x[train], y[train], shrinkage)
    _checked(x[test], y[test], enough=3)
    pairs = score_cca(fit, x[test], y[test])
    return HeldoutCCA(float(pairs.mean()), pairs, fit)


def heldout_cca_of_rows(
    x: Array,
    y: Array,
    rows: Sequence[npt.NDArray[np.int64]],
    *,
    shrinkage: float,
    train: npt.NDArray[np.bool_],
    test: npt.NDArray[np.bool_],
) -> Floats:
    """Return the mean held-out CCA of x with each teacher ``y[rows]``, as (len(rows),).

    What `heldout_cca` gives for each, at the cost of one product a teacher: the moments of x
    are taken and whitened once.

    Parameters
    ----------
    x, y
        (T, M), (T, D).
    rows
        Each (T,), the bins of y that make one teacher.
    shrinkage, train, test
        As `heldout_cca` takes them.
    """
    x_train, _ = _checked(x[train], y[train])
    x_test, _ = _checked(x[test], y[test], enough=3)
    x_train, x_test = x_train - x_train.mean(axis=0), x_test - x_test.mean(axis=0)
    xx_train, xx_test = x_train.T @ x_train, x_test.T @ x_test
    white_x = _whitening_x(np.linalg.eigh(xx_train / len(x_train)), shrinkage)
    by_dimension = np.ascontiguousarray(y.T, np.float64)
    means: list[float] = []
    for start in range(0, len(rows), NUM_STACKED):
        some = rows[start : start + NUM_STACKED]
        fitted = _stacked_moments(x_train, xx_train, by_dimension, [r[train] for r in some])
        scored = _stacked_moments(x_test, xx_test, by_dimension, [r[test] for r in some])
        for inside, outside in zip(fitted, scored, strict=True):
            fit = _fit(inside, white_x, _whitening_y(inside.yy / inside.num), shrinkage)
            means.append(float(_score(fit, outside).mean()))
    return np.array(means)


class _Moments(NamedTuple):
    """Number of samples, means, and sums of products about them."""

    num: int
    mean_x: Floats
    mean_y: Floats
    xx: Floats
    xy: Floats
    yy: Floats


def _moments(x: Floats, y: Floats) -> _Moments:
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    return _Moments(len(x), mean_x, mean_y, x.T @ x, x.T @ y, y.T @ y)


def _joined(parts: Sequence[_Moments]) -> _Moments:
    """Return the moments of all samples (Chan, Golub & LeVeque 1983)."""
    num = sum(part.num for part in parts)
    mean_x = sum((part.num * part.mean_x for part in parts), np.zeros(1)) / num
    mean_y = sum((part.num * part.mean_y for part in parts), np.zeros(1)) / num
    off_x = np.stack([np.sqrt(part.num) * (part.mean_x - mean_x) for part in parts])
    off_y = np.stack([np.sqrt(part.num) * (part.mean_y - mean_y) for part in parts])
    xx, xy, yy = off_x.T @ off_x, off_x.T @ off_y, off_y.T @ off_y
    for part in parts:
        xx, xy, yy = xx + part.xx, xy + part.xy, yy + part.yy
    return _Moments(num, mean_x, mean_y, xx, xy, yy)


def _stacked_moments(
    x: Floats, xx: Floats, y: Floats, rows: Sequence[npt.NDArray[np.int64]]
) -> list[_Moments]:
    """Return the moments of centred x (B, M) with each teacher ``y[:, rows]`` (D, B)."""
    stack = np.stack([y.take(chosen, axis=1) for chosen in rows])
    for teacher in stack:
        _refuse_constant(teacher.T)
    mean_y = stack.mean(axis=2)
    stack -= mean_y[:, :, None]
    # One product for all teachers of the stack is twice as fast as one for each.
    xy = (stack.reshape(-1, len(x)) @ x).reshape(*mean_y.shape, -1)
    return [
        _Moments(len(x), np.zeros(x.shape[1]), mean, xx, both.T, teacher @ teacher.T)
        for mean, both, teacher in zip(mean_y, xy, stack, strict=True)
    ]


def _fit(moments: _Moments, white_x: Floats, white_y: Floats, shrinkage: float) -> CCAFit:
    cross = white_x.T @ (moments.xy / moments.num) @ white_y
    left, _, right = np.linalg.svd(cross, full_matrices=False)
    return CCAFit(moments.mean_x, moments.mean_y, white_x @ left, white_y @ right.T, shrinkage)


def _score(fit: CCAFit, moments: _Moments) -> Floats:
    """Return `score_cca` on the samples of which these are the moments."""
    left, right = fit.project_x, fit.project_y
    pairs = np.zeros(len(moments.yy))
    pairs[: left.shape[1]] = _ratio(
        (left * (moments.xy @ right)).sum(axis=0),
        (left * (moments.xx @ left)).sum(axis=0),
        (right * (moments.yy @ right)).sum(axis=0),
        moments.num,
    )
    return pairs


def _checked(x: Array, y: Array, enough: int | None = None) -> tuple[Floats, Floats]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) != len(y):
        raise DataError(f"x and y must have as many samples, but got {len(x)} and {len(y)}")
    _refuse_too_few(len(x), x.shape[1], y.shape[1], enough)
    for name, values in (("x", x), ("y", y)):
        if not np.isfinite(values).all():
            raise DataError(f"every value of {name} must be finite, but it holds NaN or infinity")
    _refuse_constant(y)
    return x, y


def _refuse_too_few(num: int, width_x: int, width_y: int, enough: int | None = None) -> None:
    least = width_x + width_y + 2 if enough is None else enough
    if num < least:
        raise DataError(
            f"at least {least} samples must hold for {width_x} features and {width_y} "
            f"latents, but got {num}; use more data or fewer neurons"
        )


def _refuse_constant(y: Floats) -> None:
    still = np.flatnonzero(np.ptp(y, axis=0) == 0)
    if len(still):
        raise DataError(
            f"every teacher dimension must vary, but dimension {still[0]} is constant; "
            "the teacher has collapsed: train it again"
        )


def _whitening_x(spectrum: tuple[Floats, Floats], shrinkage: float) -> Floats:
    values, vectors = spectrum
    level = float(values.mean())
    if level <= 0:
        return np.zeros_like(vectors)
    shrunk = (1 - shrinkage) * values.clip(min=0) + shrinkage * level
    return np.asarray(vectors / np.sqrt(shrunk), np.float64)


def _whitening_y(covariance: Floats) -> Floats:
    scale = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    if values[0] <= 1e-10 * values[-1]:
        raise DataError(
            "teacher dimensions must not be linear functions of each other, but their smallest "
            f"correlation eigenvalue is {values[0]:.2g}; use a smaller teacher.latent_dim"
        )
    return np.asarray(vectors / np.sqrt(values) / scale[:, None], np.float64)


def _correlations(left: Floats, right: Floats) -> Floats:
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    return _ratio(
        (left * right).sum(axis=0), (left**2).sum(axis=0), (right**2).sum(axis=0), len(left)
    )


def _ratio(both: Floats, left: Floats, right: Floats, num: int) -> Floats:
    """Return correlations from sums of products; 0 where a side does not vary."""
    varies = np.minimum(left, right) > num * STILL
    norms = np.sqrt(np.where(varies, left * right, 1.0))
    return np.asarray(np.where(varies, both / norms, 0.0), np.float64)


def within_and_cross_state(
    x: Array, y: Array, timeline: Timeline, shrinkage: float
) -> tuple[dict[str, float], float | None, list[str]]:
    """Return CCA within each state, the mean across states, and why either is missing.

    Within: fitted on a state's train bins, scored on its test bins. Across: the same fit scored
    on the test bins of every other state, the mean over ordered pairs of states.
    """
    states = [str(state) for state in np.unique(timeline.state)]
    if len(states) < 2:
        note = "cca_within, cca_cross_state: two states must be recorded, but there are fewer"
        return {}, None, [note]
    within: dict[str, float] = {}
    cross: list[float] = []
    for fitted in states:
        train = timeline.train & (timeline.state == fitted)
        for scored in states:
            test = timeline.test & (timeline.state == scored)
            found = heldout_cca(x, y, timeline, shrinkage=shrinkage, train=train, test=test).mean
            if scored == fitted:
                within[fitted] = found
            else:
                cross.append(found)
    return within, float(np.mean(cross)), []
