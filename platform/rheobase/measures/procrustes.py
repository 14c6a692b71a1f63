"""Held-out Procrustes similarity: what a rotation alone can match."""

# Shape legend: T bins, M features, D dimensions.

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import orthogonal_procrustes

from rheobase.shards.timeline import Timeline


def heldout_procrustes(x: npt.NDArray[Any], y: npt.NDArray[Any], timeline: Timeline) -> float:
    r"""Return the similarity of two representations up to rotation, in [-1, 1].

    Parameters
    ----------
    x, y
        (T, M), (T, D); the narrower one is padded with zeros.
    timeline
        Labels (T,).

    Notes
    -----
    Centred by train means; Q is the rotation or reflection that best maps x to y on train;
    scored on test as :math:`\langle XQ, Y \rangle / (\|X\| \|Y\|)`, the cosine whose arc is
    the angular Procrustes distance (Williams et al. 2021). Invariant to rotation, shift and
    overall scale, not to other linear maps: unlike CCA it asks for the same shape.
    """
    width = max(x.shape[1], y.shape[1])
    train, test = timeline.train, timeline.test
    padded = []
    for values in (x, y):
        whole = np.zeros((len(values), width))
        whole[:, : values.shape[1]] = values - values[train].mean(axis=0)
        padded.append(whole)
    left, right = padded
    rotation, _ = orthogonal_procrustes(left[train], right[train])
    norms = np.linalg.norm(left[test]) * np.linalg.norm(right[test])
    return float((left[test] @ rotation * right[test]).sum() / norms) if norms > 0 else 0.0
