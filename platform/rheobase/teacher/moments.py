"""Mean and covariance of features that come a chunk of bins at a time."""

# Shape legend: T bins, M features.

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class RunningMoments:
    """Sums of features (T, M) and of their products, from which mean and covariance follow.

    Examples
    --------
    >>> moments = RunningMoments(1)
    >>> moments.add(np.array([[1.0], [3.0]]))
    >>> moments.add(np.array([[5.0]]))
    >>> moments.count, moments.mean.round(6).tolist(), moments.covariance.round(6).tolist()
    (3, [3.0], [[2.666667]])
    """

    def __init__(self, num_features: int) -> None:
        self.count = 0
        self._about = np.zeros(num_features)
        self._sum = np.zeros(num_features)
        self._products = np.zeros((num_features, num_features))

    def add(self, features: npt.NDArray[Any]) -> None:
        """Take a chunk (T, M) in."""
        if self.count == 0 and len(features):
            # Sums about a point near the mean keep the digits that sums about zero would lose.
            self._about = features.mean(axis=0, dtype=np.float64)
        apart = features - self._about
        self.count += len(features)
        self._sum += apart.sum(axis=0)
        self._products += apart.T @ apart

    @property
    def mean(self) -> Floats:
        """The mean (M,)."""
        return self._about + self._sum / self.count

    @property
    def covariance(self) -> Floats:
        """The covariance (M, M), over as many samples as there are."""
        centre = self._sum / self.count
        return self._products / self.count - np.outer(centre, centre)
