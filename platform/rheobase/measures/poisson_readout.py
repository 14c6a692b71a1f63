"""A Poisson regression of each unit's counts on features that all units share."""

# Shape legend: B samples, N units, M features, G shrinkages.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import xlogy

from rheobase.core.errors import DataError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
SHRINKAGES = tuple(10.0**power for power in (-3, -2, -1, 0, 1))
"""Ridges, in the variance of a standardised feature, of which validation takes one."""
MOST_STEPS = 200
LEAST_CHANGE = 1e-9
STILL = 1e-12
"""Variance of a feature, in its squared mean, below which it does not vary."""
MOST_LOG = 50.0
"""Logarithm of a rate in units of the mean beyond which a search for weights has gone astray."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PoissonReadout:
    """Rates that are exponentials of linear maps of features.

    Attributes
    ----------
    mean, scale
        (M,) of the features on the samples that were fitted.
    weights
        (M, N) of the standardised features.
    bias
        (N,) logarithm of each unit's rate where all features are at their mean.
    highest
        (N,) the highest rate of each unit on the samples that were fitted.
    shrinkage
        The ridge that was taken.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    bias: Floats
    highest: Floats
    shrinkage: float

    def rates(self, features: Array) -> Floats:
        """Return the rates of samples.

        Parameters
        ----------
        features
            (B, M).

        Returns
        -------
        (B, N), positive; at most `highest`, for an exponential knows no bound beyond the
        features that it was fitted to.
        """
        x = (np.asarray(features, np.float64) - self.mean) / self.scale
        with np.errstate(over="ignore"):
            return np.asarray(np.minimum(np.exp(x @ self.weights + self.bias), self.highest))


def fit_poisson_readout(
    train: tuple[Array, Array],
    validation: tuple[Array, Array],
    shrinkages: Sequence[float] = SHRINKAGES,
) -> PoissonReadout:
    r"""Return the regression at the shrinkage that forecasts validation best.

    Parameters
    ----------
    train
        (B, M) features and (B, N) counts that are fitted.
    validation
        The same of the samples that choose among `shrinkages`; nothing is fitted to them.
    shrinkages
        (G,) ridges, each positive.

    Returns
    -------
    Of the shrinkage, one for all units, with the highest Poisson likelihood on validation.

    Raises
    ------
    DataError
        A feature is not finite, or there is no sample.

    Notes
    -----
    Minimises, of each unit with mean count m, the mean over samples of :math:`e^{x w + b} - y (x w
    + b)` plus :math:`s m |w|^2 / 2`, x standardised on train and y the counts: near w = 0 a unit's
    curvature is m times the features' covariance, so that s means the same for units that fire
    much and little. The biases have no ridge. The problem is convex; it is solved by L-BFGS in
    the principal axes of the features, scaled by that curvature. A unit without a spike on train
    is given half a spike in all of it, and no weights.

    References
    ----------
    McCullagh & Nelder 1989, *Generalized Linear Models*; Liu & Nocedal 1989 (L-BFGS).

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> x = draw.standard_normal((4000, 1))
    >>> y = draw.poisson(np.exp(0.5 * x - 1))
    >>> found = fit_poisson_readout((x[:3000], y[:3000]), (x[3000:], y[3000:]))
    >>> bool(abs(found.weights[0, 0] - 0.5) < 0.05)
    True
    """
    x, y = (np.asarray(one, np.float64) for one in train)
    if not len(x) or not len(validation[0]):
        raise DataError(
            "train and validation must hold bins to fit and to choose a readout of counts, but got "
            f"{len(x)} and {len(validation[0])}; use a longer recording"
        )
    if not np.isfinite(x).all() or not np.isfinite(validation[0]).all():
        raise DataError("every feature that counts are read out of must be finite, but one is not")
    mean, variance = x.mean(axis=0), x.var(axis=0)
    varies = variance > STILL * mean**2
    scale = np.sqrt(np.where(varies & (variance > 0), variance, 1.0))
    standard = np.where(varies, (x - mean) / scale, 0.0)
    level = np.maximum(y.mean(axis=0), 0.5 / len(y))
    values, axes = np.linalg.eigh(standard.T @ standard / len(x))
    seen = standard @ axes
    best: PoissonReadout | None = None
    best_likelihood = -np.inf
    start = np.zeros((len(axes) + 1, y.shape[1]))
    # The strongest first: each is a start near the next one's end.
    for shrinkage in sorted(shrinkages, reverse=True):
        curvature = np.append(np.sqrt(values.clip(min=0) + shrinkage), 1.0)
        start = _fitted(seen, y, level, shrinkage, curvature, start)
        weights = np.where(varies[:, None], axes @ start[:-1], 0.0)
        bias = np.log(level) + start[-1]
        readout = PoissonReadout(
            mean=mean,
            scale=scale,
            weights=weights,
            bias=bias,
            highest=np.exp(standard @ weights + bias).max(axis=0),
            shrinkage=shrinkage,
        )
        rates, counts = readout.rates(validation[0]), np.asarray(validation[1], np.float64)
        likelihood = float((xlogy(counts, rates) - rates).sum())
        if likelihood > best_likelihood:
            best, best_likelihood = readout, likelihood
    assert best is not None
    return best


def _fitted(
    x: Floats, y: Floats, level: Floats, shrinkage: float, curvature: Floats, start: Floats
) -> Floats:
    """Return weights and, last, biases (M + 1, N) in units of `level`, from a start."""
    silent = y.sum(axis=0) == 0
    to_weights = 1 / curvature[:, None] / np.sqrt(level)
    num = len(x)

    def cost(flat: Floats) -> tuple[float, Floats]:
        given = flat.reshape(start.shape) * to_weights
        log_ratio = np.minimum(x @ given[:-1] + given[-1], MOST_LOG)
        rates = level * np.exp(log_ratio)
        loss = (rates - y * log_ratio).sum() / num
        loss += 0.5 * shrinkage * (level * given[:-1] ** 2).sum()
        error = rates - y
        error[:, silent] = 0.0
        gradient = np.concatenate([x.T @ error, error.sum(axis=0, keepdims=True)]) / num
        gradient[:-1] += shrinkage * level * given[:-1]
        return float(loss), (gradient * to_weights).ravel()

    found = minimize(
        cost,
        (start / to_weights).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MOST_STEPS, "ftol": LEAST_CHANGE, "gtol": 1e-6},
    )
    return np.asarray(found.x.reshape(start.shape) * to_weights, np.float64)
