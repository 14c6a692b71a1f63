"""How the codes of the same conditions lie to each other in two brain states."""

# Shape legend: T bins, M features, C conditions.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import subspace_angles

from rheobase.core.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
HELD_SHARE = 0.9
"""Share of the variance over conditions that the compared subspaces hold."""
MOST_DIMS = 8
LEAST_CONDITIONS = 3


class Geometry(NamedTuple):
    """Two sides' means over the same conditions.

    Attributes
    ----------
    angle_deg
        Mean principal angle between their subspaces: 0 of the same, 90 of orthogonal ones.
    cosine
        Of the angle between the two matrices of means: 1 where every condition lies as in the
        other, 0 where they share nothing, -1 where all signs are turned.
    dims
        Dimensions of the subspaces.
    """

    angle_deg: float
    cosine: float
    dims: int


def geometry(one: Floats, other: Floats) -> Geometry:
    """Return how two sides' means over the same conditions lie to each other.

    Parameters
    ----------
    one, other
        (C, M) mean of each condition, in the same order.

    Returns
    -------
    Angles between the leading subspaces that hold `HELD_SHARE` of the first side's variance over
    conditions, and the cosine of both sides' means. Each side's mean over conditions is taken off.

    Raises
    ------
    DataError
        There are too few conditions, or a side does not vary over them.

    Notes
    -----
    Invariant to a rotation of the features common to both sides. A rotation *within* the subspace
    leaves the angles at zero, and changes the cosine.

    References
    ----------
    Björck & Golub (1973), Mathematics of Computation 27, 579.

    Examples
    --------
    >>> means = np.array([[1.0, 0, 0], [0, 1, 0], [-1, -1, 0]])
    >>> geometry(means, -means)
    Geometry(angle_deg=0.0, cosine=-1.0, dims=2)
    """
    if len(one) < LEAST_CONDITIONS:
        raise DataError(
            f"at least {LEAST_CONDITIONS} conditions must be in both states to compare their "
            f"codes, but got {len(one)}"
        )
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    norm = np.linalg.norm(one) * np.linalg.norm(other)
    if not norm > 0:
        raise DataError("a code must vary over conditions to compare states, but is constant")
    _, values, axes = np.linalg.svd(one, full_matrices=False)
    held = np.cumsum(values**2) / np.sum(values**2)
    dims = min(int(np.searchsorted(held, HELD_SHARE)) + 1, MOST_DIMS)
    beside = np.linalg.svd(other, full_matrices=False)[2]
    angles = subspace_angles(axes[:dims].T, beside[:dims].T)
    return Geometry(
        round(float(np.rad2deg(angles).mean()), 6), float((one * other).sum() / norm), dims
    )


def condition_means(
    x: npt.NDArray[np.floating], condition: Ints, chosen: npt.NDArray[np.bool_], num: int
) -> Floats:
    """Return the mean of each condition over chosen bins.

    Parameters
    ----------
    x
        (T, M) features.
    condition
        (T,) number of the condition, below zero for none.
    chosen
        (T,) bins to take.
    num
        How many conditions there are.

    Returns
    -------
    (C, M), NaN where a condition has no bin.

    Examples
    --------
    >>> x = np.array([[1.0], [3.0], [5.0]])
    >>> condition_means(x, np.array([0, 0, -1]), np.ones(3, bool), 2).tolist()
    [[2.0], [nan]]
    """
    here = np.flatnonzero(chosen & (condition >= 0))
    counts = np.bincount(condition[here], minlength=num)
    sums = np.stack([np.bincount(condition[here], one, num) for one in x[here].T], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums / counts[:, None])
