"""Held-out canonical correlation: fitted on train, signed and scored on test."""

# Shape legend: T bins, B samples, M features of x, D dimensions of y, K canonical pairs, min(M, D).

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.cca_moments import (
    LEAST_SCORED,
    SHRINKAGES,
    CCAFit,
    HeldoutCCA,
    best_shrinkage,
    correlation_of_sums,
    fit_moments,
    refuse_too_few,
)
from rheobase.measures.moments import moments_of, refuse_constant
from rheobase.measures.probes import folds
from rheobase.shards.timeline import Timeline

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
LARGEST = 1e140  # whose square, summed over samples, is still a number


def fit_cca(x: Array, y: Array, shrinkage: float) -> CCAFit:
    r"""Fit canonical projections.

    Parameters
    ----------
    x, y
        (B, M) features of the student, (B, D) latents of the teacher.
    shrinkage
        s in ``(1 - s) C + s I`` for the correlations C of x, 0 < s < 1. Those of y are left as
        they are: its dimensions are few and all must count.

    Returns
    -------
    The fit, its pairs in falling order of correlation on these samples.

    Raises
    ------
    DataError
        A number is not finite or too large to be squared, a dimension of y has no variance or
        depends on the others, there are too few samples, or s is not a shrinkage.

    Notes
    -----
    Singular vectors of :math:`C_{xx}^{-1/2} C_{xy} C_{yy}^{-1/2}` (Hotelling 1936; shrinkage as
    Ledoit & Wolf 2004, of correlations as Schäfer & Strimmer 2005). Invariant to invertible linear
    maps of y, to the unit of each feature, and to other linear maps of x up to shrinkage. A feature
    that does not vary takes no part.
    """
    x, y = _checked(x, y)
    return fit_moments(moments_of(x, y), shrinkage)


def score_cca(fit: CCAFit, x: Array, y: Array) -> Floats:
    """Return the signed Pearson correlation of each canonical pair on these samples.

    Parameters
    ----------
    fit
        Projections, fitted on other samples.
    x, y
        (B, M) features of the student, (B, D) latents of the teacher.

    Returns
    -------
    (D,) in [-1, 1]. A student of fewer features than the teacher has dimensions cannot carry
    the rest: pairs beyond K are 0. So is a pair of which one side does not vary here.

    Raises
    ------
    DataError
        A number is not finite.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    for name, values in (("x", x), ("y", y)):
        if not np.isfinite(values).all():
            raise DataError(f"every value of {name} must be finite, but it holds NaN or infinity")
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
        Values to choose from, rising; of those whose scores tie the largest is chosen.

    Returns
    -------
    One value of the grid.

    Raises
    ------
    DataError
        Fewer than two groups, a number is not finite, or a dimension of y does not vary outside
        a fold.
    """
    fold = folds(groups)
    x, y = _checked(x, y)
    held_out = range(int(fold.max()) + 1)
    for held in held_out:
        refuse_constant(np.ptp(y[fold != held], axis=0))
    return best_shrinkage([moments_of(x[fold == held], y[fold == held]) for held in held_out], grid)


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

    Returns
    -------
    Mean, pairs and fit.

    Raises
    ------
    DataError
        As `fit_cca` and `choose_shrinkage`; or test has fewer than three bins, a number that is
        not finite, or a dimension of y that does not vary.

    Notes
    -----
    Linear maps are fitted on train alone and pairs are taken as they come: no picking of the
    best on test, no absolute values. Independent signals score about 0, however many
    dimensions there are; a sign that flips between train and test scores negative.
    """
    train = timeline.train if train is None else train
    test = timeline.scored if test is None else test
    if shrinkage is None:
        shrinkage = choose_shrinkage(x[train], y[train], timeline.group[train])
    fit = fit_cca(x[train], y[train], shrinkage)
    _checked(x[test], y[test], LEAST_SCORED)
    pairs = score_cca(fit, x[test], y[test])
    return HeldoutCCA(float(pairs.mean()), pairs, fit)


def _checked(x: Array, y: Array, least_samples: int | None = None) -> tuple[Floats, Floats]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) != len(y):
        raise DataError(f"x and y must have as many samples, but got {len(x)} and {len(y)}")
    refuse_too_few(len(x), (x.shape[1], y.shape[1]), least_samples)
    for name, values in (("x", x), ("y", y)):
        if not np.isfinite(values).all():
            raise DataError(f"every value of {name} must be finite, but it holds NaN or infinity")
        if (largest := float(np.abs(values).max())) > LARGEST:
            raise DataError(
                f"every value of {name} must lie within {LARGEST:g} for its square to be a number, "
                f"but one is {largest:g}; use another unit"
            )
    refuse_constant(np.ptp(y, axis=0))
    return x, y


def _correlations(left: Floats, right: Floats) -> Floats:
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    return correlation_of_sums(
        (left * right).sum(axis=0), (left**2).sum(axis=0), (right**2).sum(axis=0), len(left)
    )
