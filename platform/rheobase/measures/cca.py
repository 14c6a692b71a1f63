"""Held-out canonical correlation: fitted on train, signed and scored on test."""

# Shape legend: T bins, B samples, M features of x, D dimensions of y, K = min(M, D) pairs.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.timeline import Timeline

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
SHRINKAGES = (1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3)
NUM_FOLDS = 5


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
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    centred_x, centred_y = x - mean_x, y - mean_y
    white_x = _whitening_x(centred_x.T @ centred_x / len(x), shrinkage)
    white_y = _whitening_y(centred_y.T @ centred_y / len(y))
    cross = white_x.T @ (centred_x.T @ centred_y / len(x)) @ white_y
    left, _, right = np.linalg.svd(cross, full_matrices=False)
    return CCAFit(mean_x, mean_y, white_x @ left, white_y @ right.T, shrinkage)


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
    fold = np.searchsorted(names, groups) % min(NUM_FOLDS, len(names))
    scores = np.zeros(len(grid))
    for held in range(int(fold.max()) + 1):
        inside, outside = fold != held, fold == held
        for index, shrinkage in enumerate(grid):
            fit = fit_cca(x[inside], y[inside], shrinkage)
            scores[index] += score_cca(fit, x[outside], y[outside]).mean()
    best = np.flatnonzero(scores >= scores.max() - 1e-12)[-1]
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


def _checked(x: Array, y: Array, enough: int | None = None) -> tuple[Floats, Floats]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) != len(y):
        raise DataError(f"x and y must have as many samples, but got {len(x)} and {len(y)}")
    least = x.shape[1] + y.shape[1] + 2 if enough is None else enough
    if len(x) < least:
        raise DataError(
            f"at least {least} samples must hold for {x.shape[1]} features and {y.shape[1]} "
            f"latents, but got {len(x)}; use more data or fewer neurons"
        )
    for name, values in (("x", x), ("y", y)):
        if not np.isfinite(values).all():
            raise DataError(f"every value of {name} must be finite, but it holds NaN or infinity")
    still = np.flatnonzero(np.ptp(y, axis=0) == 0)
    if len(still):
        raise DataError(
            f"every teacher dimension must vary, but dimension {still[0]} is constant; "
            "the teacher has collapsed: train it again"
        )
    return x, y


def _whitening_x(covariance: Floats, shrinkage: float) -> Floats:
    size = len(covariance)
    level = float(np.trace(covariance)) / size
    if level == 0:
        return np.zeros_like(covariance)
    shrunk = (1 - shrinkage) * covariance + shrinkage * level * np.eye(size)
    values, vectors = np.linalg.eigh(shrunk)
    return np.asarray(vectors / np.sqrt(values), np.float64)


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
    norms = np.sqrt((left**2).sum(axis=0) * (right**2).sum(axis=0))
    safe = np.where(norms > 0, norms, 1.0)
    return np.asarray(np.where(norms > 0, (left * right).sum(axis=0) / safe, 0.0), np.float64)


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
