"""Held-out canonical correlation of moments: fits and scores that never see a sample."""

# Shape legend: M features of x, D dimensions of y, K canonical pairs, min(M, D).

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.moments import CrossMoments, pooled_moments, without_tails
from rheobase.measures.signs import column_signs

Floats = npt.NDArray[np.float64]
SHRINKAGES = (1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3)
LEAST_SCORED = 3  # samples: of two every correlation is 1 or -1
STILL = 1e-20  # variance below which a canonical variate, of variance 1 on train, stands still
STILL_SHARE = 1e-20  # of its squared mean, below which a feature's variance is rounding


@dataclass(frozen=True, eq=False)
class CCAFit:
    """A fit of canonical projections on train.

    Attributes
    ----------
    mean_x, mean_y
        (M,), (D,) means of train.
    project_x, project_y
        (M, K), (D, K) projections; those of several teachers are (..., M, K), (..., D, K).
    shrinkage
        What the covariance of x was shrunk by, 0..1.
    """

    mean_x: Floats
    mean_y: Floats
    project_x: Floats
    project_y: Floats
    shrinkage: float


@dataclass(frozen=True, eq=False)
class HeldoutCCA:
    """Held-out CCA of one student with one teacher.

    Attributes
    ----------
    mean
        Mean of the pairs, over all D teacher dimensions, in [-1, 1].
    pairs
        (D,) signed correlation of each canonical pair on test.
    fit
        What was fitted on train.
    """

    mean: float
    pairs: Floats
    fit: CCAFit


def fit_moments(moments: CrossMoments, shrinkage: float) -> CCAFit:
    """Return what `fit_cca` does, of the moments of samples.

    Parameters
    ----------
    moments
        Of the samples to fit.
    shrinkage
        As `fit_cca` takes it.

    Returns
    -------
    The fit.

    Raises
    ------
    DataError
        Too few samples, latents depend on each other, or it is not a shrinkage.
    """
    if not 0 < shrinkage < 1:
        raise DataError(f"0 < shrinkage < 1 must hold, but got {shrinkage:g}; see SHRINKAGES")
    refuse_too_few(moments.num, moments.xy.shape)
    white_x = _whitening_x(_spectrum_x(moments), shrinkage)
    return _fit(moments, white_x, whitening_y(moments.yy / moments.num), shrinkage)


def score_moments(fit: CCAFit, moments: CrossMoments) -> Floats:
    """Return what `score_cca` does, of the moments of samples.

    Parameters
    ----------
    fit
        Projections; those of several teachers are (..., M, K), (..., D, K).
    moments
        Of the samples to score; of the same teachers.

    Returns
    -------
    (..., D) in [-1, 1].
    """
    left, right = fit.project_x, fit.project_y
    pairs = np.zeros(moments.yy.shape[:-1])
    pairs[..., : left.shape[-1]] = correlation_of_sums(
        (left * (moments.xy @ right)).sum(axis=-2),
        (left * (moments.xx @ left)).sum(axis=-2),
        (right * (moments.yy @ right)).sum(axis=-2),
        moments.num,
    )
    return pairs


def heldout_of(train: CrossMoments, test: CrossMoments, shrinkage: float) -> HeldoutCCA:
    """Return what `heldout_cca` does, of the moments of train and test bins.

    Parameters
    ----------
    train, test
        Moments of the bins to fit and of those to score.
    shrinkage
        As `fit_cca` takes it.

    Returns
    -------
    Mean, pairs and fit.

    Raises
    ------
    DataError
        Too few samples, latents depend on each other, or it is not a shrinkage.
    """
    fit = fit_moments(train, shrinkage)
    refuse_too_few(test.num, test.xy.shape, LEAST_SCORED)
    pairs = score_moments(fit, test)
    return HeldoutCCA(float(pairs.mean()), pairs, fit)


def heldout_means(
    train: CrossMoments, test: CrossMoments, white_y: Floats, shrinkage: float
) -> Floats:
    """Return `heldout_of`'s mean of each of several teachers.

    Parameters
    ----------
    train, test
        CrossMoments of one student and of teachers (draws, ...).
    white_y
        (draws, D, D), `whitening_y` of each teacher on train.
    shrinkage
        As `fit_cca` takes it.

    Returns
    -------
    (draws,) in [-1, 1].

    Raises
    ------
    DataError
        Too few samples.
    """
    refuse_too_few(train.num, train.xy.shape)
    refuse_too_few(test.num, test.xy.shape, LEAST_SCORED)
    white_x = _whitening_x(_spectrum_x(train), shrinkage)
    means: Floats = score_moments(_fit(train, white_x, white_y, shrinkage), test).mean(axis=-1)
    return means


def best_shrinkage(parts: Sequence[CrossMoments], grid: tuple[float, ...] = SHRINKAGES) -> float:
    """Return what `choose_shrinkage` does, of the moments of each fold.

    Parameters
    ----------
    parts
        Moments of each fold, two at least.
    grid
        Values to choose from, rising; of those whose scores tie the largest is chosen.

    Returns
    -------
    One value of the grid.

    Raises
    ------
    DataError
        Without one fold there are too few samples, or latents depend on each other.

    Notes
    -----
    Scores, sums of correlations, tie where they differ by less than 1e-9: the last digits depend
    on the order of sums. Where the data cannot tell them apart, more shrinkage is the safer fit.
    """
    scores = fold_scores(parts, grid)
    best = np.flatnonzero(scores >= scores.max() - 1e-9)[-1]
    return grid[int(best)]


def fold_scores(parts: Sequence[CrossMoments], grid: tuple[float, ...] = SHRINKAGES) -> Floats:
    """Return the held-out CCA at each shrinkage, summed over folds that are held out in turn.

    Parameters
    ----------
    parts
        Moments of each fold, two at least.
    grid
        Shrinkages.

    Returns
    -------
    One sum of means over the D pairs for each shrinkage.

    Raises
    ------
    DataError
        As `best_shrinkage`.
    """
    scores = np.zeros(len(grid))
    for held, outside in enumerate(parts):
        inside = without_tails(pooled_moments([*parts[:held], *parts[held + 1 :]]), parts)
        refuse_too_few(inside.num, inside.xy.shape)
        spectrum = _spectrum_x(inside)
        white_y = whitening_y(inside.yy / inside.num)
        for index, shrinkage in enumerate(grid):
            fit = _fit(inside, _whitening_x(spectrum, shrinkage), white_y, shrinkage)
            scores[index] += score_moments(fit, outside).mean()
    return scores


def whitening_y(covariance: Floats) -> Floats:
    """Return the maps that make latents white: uncorrelated, each of variance 1.

    Parameters
    ----------
    covariance
        (..., D, D) of the latents of each teacher.

    Returns
    -------
    (..., D, D), to be multiplied from the right.

    Raises
    ------
    DataError
        A dimension is a linear function of the others.
    """
    scale = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    values, vectors = np.linalg.eigh(covariance / (scale[..., None] * scale[..., None, :]))
    if (values[..., 0] <= 1e-10 * values[..., -1]).any():
        raise DataError(
            "teacher dimensions must not be linear functions of each other, but their smallest "
            f"correlation eigenvalue is {values[..., 0].min():.2g}; use a smaller "
            "teacher.latent_dim"
        )
    return np.asarray(vectors / np.sqrt(values)[..., None, :] / scale[..., None], np.float64)


def correlation_of_sums(both: Floats, left: Floats, right: Floats, num: int | Floats) -> Floats:
    """Return correlations from sums of products about the means; 0 where a side does not vary.

    Parameters
    ----------
    both, left, right
        Sums of products of two canonical variates, and of each with itself, in any shape.
    num
        Of the samples that were summed.

    Returns
    -------
    In the shape of the sums, in [-1, 1].
    """
    varies = np.minimum(left, right) > num * STILL
    norms = np.sqrt(np.where(varies, left * right, 1.0))
    return np.asarray(np.where(varies, both / norms, 0.0), np.float64)


def refuse_too_few(num: int, widths: Sequence[int], least_samples: int | None = None) -> None:
    """Refuse samples that are fewer than a fit takes.

    Parameters
    ----------
    num
        Of samples.
    widths
        (..., M, D), features and latents.
    least_samples
        What must hold; M + D + 2 where None.

    Raises
    ------
    DataError
        There are fewer.
    """
    width_x, width_y = widths[-2:]
    if least_samples is None:
        least_samples = width_x + width_y + 2
    if num < least_samples:
        raise DataError(
            f"at least {least_samples} samples must hold for {width_x} features and {width_y} "
            f"latents, but got {num}; use more data or fewer neurons"
        )


def _fit(moments: CrossMoments, white_x: Floats, white_y: Floats, shrinkage: float) -> CCAFit:
    """Return the projections, (..., M, K) and (..., D, K) where moments are of several teachers."""
    cross = white_x.T @ (moments.xy / moments.num) @ white_y
    left, _, right = np.linalg.svd(cross, full_matrices=False)
    right = white_y @ right.swapaxes(-1, -2)
    signs = column_signs(right)
    turned = white_x @ left * signs, right * signs
    return CCAFit(moments.mean_x, moments.mean_y, *turned, shrinkage)


def _spectrum_x(moments: CrossMoments) -> tuple[Floats, Floats]:
    """Return the eigenvalues (M,) of the features' correlations, and the map (M, M) to their axes.

    The map takes features, not yet of variance 1; one that does not vary is left out of it.
    """
    variance = np.diagonal(moments.xx) / moments.num
    varies = variance > STILL_SHARE * moments.mean_x**2
    scale = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
    values, vectors = np.linalg.eigh(moments.xx / moments.num * scale * scale[:, None])
    return values, vectors * scale[:, None]


def _whitening_x(spectrum: tuple[Floats, Floats], shrinkage: float) -> Floats:
    values, axes = spectrum
    shrunk = (1 - shrinkage) * values.clip(min=0) + shrinkage
    return np.asarray(axes / np.sqrt(shrunk), np.float64)
