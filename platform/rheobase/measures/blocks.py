"""How much each held-out block says of a held-out CCA: its jackknife pseudo-values."""

# Shape legend: B samples, M features of x, D dimensions of y, K canonical pairs, I blocks.

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.measures.cca_moments import CCAFit, correlation_of_sums

Floats = npt.NDArray[np.float64]


def block_values(
    fit: CCAFit, x: npt.NDArray[Any], y: npt.NDArray[Any], group: npt.NDArray[Any]
) -> Floats:
    r"""Return the pseudo-value of each block of the mean correlation of the canonical pairs.

    Parameters
    ----------
    fit
        Projections, fitted on other samples.
    x, y
        (B, M) features and (B, D) latents to score.
    group
        (B,) number of each sample's block.

    Returns
    -------
    (I,), in the order of the blocks' numbers; empty where there is one block.

    Notes
    -----
    :math:`I \theta - (I - 1) \theta_{-i}` of the score :math:`\theta` of all blocks and the score
    :math:`\theta_{-i}` without block i (Tukey 1958). Their mean is the score, but for a bias of
    order 1 / I, and their spread tells how far it would move on other blocks of the recording.
    The difference of two students' pseudo-values is that of the students' difference.
    """
    blocks, number = np.unique(group, return_inverse=True)
    if len(blocks) < 2:
        return np.zeros(0)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    # About the means of all samples, or leaving one block out would lose digits.
    left = (x - x.mean(axis=0)) @ fit.project_x
    right = (y - y.mean(axis=0)) @ fit.project_y
    sums = [
        np.stack([np.bincount(number, column) for column in values.T])
        for values in (left, right, left**2, right**2, left * right)
    ]
    num = np.bincount(number)
    total = _mean_correlation([one.sum(axis=1, keepdims=True) for one in sums], num.sum(), y)
    without = _mean_correlation(
        [one.sum(axis=1, keepdims=True) - one for one in sums], num.sum() - num, y
    )
    values: Floats = len(blocks) * total - (len(blocks) - 1) * without
    return values


def _mean_correlation(sums: list[Floats], num: Any, y: npt.NDArray[Any]) -> Floats:
    """Return the mean over D pairs from sums (K, …) of samples, squares and products."""
    left, right, left2, right2, both = sums
    pairs = correlation_of_sums(
        both - left * right / num, left2 - left**2 / num, right2 - right**2 / num, num
    )
    mean: Floats = pairs.sum(axis=0) / y.shape[1]
    return mean
