"""What a linear readout makes of a code, on held-out bins."""

# Shape legend: T bins, B samples, M features, D targets, P penalties.

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.timeline import Timeline

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
PENALTIES = tuple(10.0**power for power in range(-6, 3))
NUM_FOLDS = 5


def ridge_r2(x: Array, y: Array, timeline: Timeline) -> Floats:
    r"""Return the held-out coefficient of determination of each target, (D,).

    Parameters
    ----------
    x
        (T, M) features.
    y
        (T, D) targets.
    timeline
        Labels (T,): fitted on train, scored on test.

    Returns
    -------
    1 is perfect, 0 no better than the mean of test, below 0 worse; 0 for a target that does not
    vary on test.

    Raises
    ------
    DataError
        A number is not finite, or train holds fewer than two groups.

    Notes
    -----
    Ridge regression (Hoerl & Kennard 1970) on features of variance 1. The penalty is a multiple
    of the number of samples, chosen for each target over folds of whole groups inside train, the
    larger of two that score the same. Invariant to the scale and shift of each feature and each
    target.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    for name, values in (("x", x), ("y", y)):
        if not np.isfinite(values).all():
            raise DataError(f"every value of {name} must be finite, but it holds NaN or infinity")
    train, test = timeline.train, timeline.test
    _, group = np.unique(timeline.group[train], return_inverse=True)
    num_groups = int(group.max(initial=-1)) + 1
    if num_groups < 2:
        raise DataError(
            f"at least 2 groups must hold to choose the penalty in train, but got {num_groups}; "
            "use smaller groups"
        )
    fold = group % min(NUM_FOLDS, num_groups)
    missed = np.zeros((len(PENALTIES), y.shape[1]))
    for held in range(int(fold.max()) + 1):
        inside, outside = fold != held, fold == held
        found = _ridge(x[train][inside], y[train][inside], x[train][outside])
        missed += ((found - y[train][outside]) ** 2).sum(axis=1)
    # Penalties rise: the last of the least errors.
    chosen = len(PENALTIES) - 1 - np.argmin(missed[::-1], axis=0)
    found = _ridge(x[train], y[train], x[test])[chosen, :, np.arange(y.shape[1])].T
    left = ((y[test] - found) ** 2).sum(axis=0)
    total = ((y[test] - y[test].mean(axis=0)) ** 2).sum(axis=0)
    varies = np.ptp(y[test], axis=0) > 0
    return np.where(varies, 1 - left / np.where(varies, total, 1.0), 0.0)


def _ridge(x: Floats, y: Floats, asked: Floats) -> Floats:
    """Return what each penalty predicts for the asked samples, (P, B, D)."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    scale = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), np.inf)
    centred = (x - mean_x) / scale
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    cross = vectors.T @ (centred.T @ (y - mean_y) / len(x))
    turned = ((asked - mean_x) / scale) @ vectors
    return np.stack(
        [turned @ (cross / (values.clip(min=0)[:, None] + each)) + mean_y for each in PENALTIES]
    )
