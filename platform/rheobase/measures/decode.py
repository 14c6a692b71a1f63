"""How well a linear decoder tells classes apart from a code, on held-out samples."""

# Shape legend: B samples, M features, C classes, G shrinkages.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.probes import folds
from rheobase.shards.timeline import Timeline

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
SHRINKAGES = (1e-3, 1e-2, 0.1, 0.3, 0.6, 0.9)


class Decoded(NamedTuple):
    """How well classes are decoded.

    Attributes
    ----------
    accuracy
        Balanced: the mean over classes of the share that is decoded right, 0..1.
    chance
        What guessing gets, one over the number of classes.
    num_scored
        Samples that were scored.
    """

    accuracy: float
    chance: float
    num_scored: int

    @property
    def above_chance(self) -> float:
        """Chance-corrected accuracy: 1 is perfect, 0 is guessing, below 0 worse than that."""
        return (self.accuracy - self.chance) / (1 - self.chance)


def decode(
    x: Array,
    label: Array,
    timeline: Timeline,
    *,
    train: Bools | None = None,
    test: Bools | None = None,
) -> Decoded:
    r"""Return how well a linear decoder fitted on train tells the classes of test.

    Parameters
    ----------
    x
        (B, M) features of each sample.
    label
        (B,) its class.
    timeline
        Labels (B,) of the samples: fitted on train, scored on test.
    train, test
        (B,) other samples to fit on and to score; of one state, for instance.

    Returns
    -------
    Balanced accuracy: the mean over classes of the share of test samples that are decoded
    right. Chance is one over the number of classes, whatever their sizes.

    Raises
    ------
    DataError
        Fewer than two classes are seen in two groups of train and on test, or a feature is not
        finite.

    Notes
    -----
    Fisher's linear discriminant (1936) on features of variance 1: a sample belongs to the class
    whose mean is nearest in the metric of the pooled covariance within classes, every class
    weighing the same, shrunk towards a multiple of the identity by a share that is chosen over
    folds of whole groups inside train (the larger of two that score the same). Classes that
    train holds in one group only, or test not at all, take no part. Invariant to the scale and
    shift of each feature.
    """
    train = timeline.train if train is None else train
    test = timeline.scored if test is None else test
    names = [
        name
        for name in np.unique(label[train])
        if len(np.unique(timeline.group[train & (label == name)])) > 1
        and (test & (label == name)).any()
    ]
    if len(names) < 2:
        raise DataError(
            "at least 2 classes must be seen in 2 groups of train and on test, but got "
            f"{len(names)}"
        )
    number = np.full(len(label), -1)
    for index, name in enumerate(names):
        number[label == name] = index
    fitted, scored = train & (number >= 0), test & (number >= 0)
    used = np.asarray(x[fitted | scored], np.float64)
    if not np.isfinite(used).all():
        raise DataError("every value of x must be finite, but it holds NaN or infinity")
    x_train, y_train = np.asarray(x[fitted], np.float64), number[fitted]
    fold = folds(timeline.group[fitted])
    predicted_inside = np.zeros((len(SHRINKAGES), len(y_train)), np.int64)
    for held in range(int(fold.max()) + 1):
        inside, outside = fold != held, fold == held
        predicted_inside[:, outside] = _classify(x_train[inside], y_train[inside], x_train[outside])
    scores = [_balanced(predicted, y_train) for predicted in predicted_inside]
    # Shrinkages rise: the last of the best.
    chosen = len(SHRINKAGES) - 1 - int(np.argmax(scores[::-1]))
    predicted = _classify(x_train, y_train, np.asarray(x[scored], np.float64))[chosen]
    return Decoded(_balanced(predicted, number[scored]), 1 / len(names), int(scored.sum()))


def _balanced(predicted: npt.NDArray[np.int64], true: npt.NDArray[np.int64]) -> float:
    classes = np.unique(true)
    return float(np.mean([(predicted[true == one] == one).mean() for one in classes]))


def _classify(x: Floats, y: npt.NDArray[np.int64], query: Floats) -> npt.NDArray[np.int64]:
    """Return the class that each shrinkage predicts of the query samples (B, M), as (G, B)."""
    centre = x.mean(axis=0)
    scale = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), np.inf)
    x, query = (x - centre) / scale, (query - centre) / scale
    classes = np.unique(y)
    means = np.stack([x[y == one].mean(axis=0) for one in classes])
    within = np.zeros((x.shape[1], x.shape[1]))
    for one, mean in zip(classes, means, strict=True):
        apart = x[y == one] - mean
        within += apart.T @ apart / len(apart) / len(classes)
    values, vectors = np.linalg.eigh(within)
    values = values.clip(min=0)
    level = values.mean() or 1.0
    turned, means = query @ vectors, means @ vectors
    predicted = []
    for shrinkage in SHRINKAGES:
        metric = (1 - shrinkage) * values + shrinkage * level
        distance = (means**2 / metric).sum(axis=1) - 2 * turned @ (means / metric).T
        predicted.append(classes[np.argmin(distance, axis=1)])
    return np.stack(predicted)
