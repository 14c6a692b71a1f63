"""Linear axes of a population's covariance: principal components and factors."""

# Shape legend: N units.

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from scipy.linalg import helmert
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning

from rheobase.measures.signs import column_signs

Floats = npt.NDArray[np.float64]


def principal_axes(covariance: Floats, num: int) -> Floats:
    """Return the leading eigenvectors (N, num) of a covariance (N, N)."""
    _, vectors = np.linalg.eigh(covariance)
    leading = vectors[:, ::-1][:, :num]
    return np.asarray(leading * column_signs(leading))


def factor_axes(covariance: Floats, num: int) -> Floats:
    """Return the linear map (N, num) from centred data to the posterior mean of its factors.

    Notes
    -----
    Factor analysis by maximum likelihood. Its likelihood depends on data through the covariance
    alone, so that N + 1 samples of mean 0 and the same covariance stand for all bins.
    """
    values, vectors = np.linalg.eigh(covariance)
    size = len(values)
    root = (vectors * np.sqrt((size + 1) * values.clip(min=0))) @ vectors.T
    # The default decomposition is drawn at random, and stops the iteration where its error does.
    model = FactorAnalysis(num, tol=1e-10, svd_method="lapack")
    with warnings.catch_warnings():
        # Ended by its number of iterations it is a baseline all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(helmert(size + 1).T @ root)
    return np.asarray(model.transform(np.eye(size) + model.mean_))
