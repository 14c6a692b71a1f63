"""Held-out Procrustes similarity: what a rotation alone can match."""

# Shape legend: T bins, M features, D dimensions.

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.measures.moments import CrossMoments, moments_of
from rheobase.shards.timeline import Timeline


def heldout_procrustes(x: npt.NDArray[Any], y: npt.NDArray[Any], timeline: Timeline) -> float:
    r"""Return the similarity of two representations up to rotation, in [-1, 1].

    Parameters
    ----------
    x, y
        (T, M), (T, D); the narrower one is padded with zeros.
    timeline
        Labels (T,).

    Returns
    -------
    1 where a rotation maps the one onto the other, 0 where nothing is shared or a side does not
    vary.

    Notes
    -----
    Centred by train means; Q is the rotation or reflection that best maps x to y on train;
    scored on test as :math:`\langle XQ, Y \rangle / (\|X\| \|Y\|)`, the cosine whose arc is
    the angular Procrustes distance (Williams et al. 2021). Invariant to rotation, shift and
    overall scale, not to other linear maps: unlike CCA it asks for the same shape.
    """
    return procrustes_of(
        *(moments_of(x[part], y[part]) for part in (timeline.train, timeline.scored))
    )


def procrustes_of(train: CrossMoments, test: CrossMoments) -> float:
    """Return what `heldout_procrustes` does, of moments.

    Parameters
    ----------
    train, test
        Moments of the bins to fit and of those to score.

    Returns
    -------
    A similarity in [-1, 1].
    """
    left, _, right = np.linalg.svd(train.xy, full_matrices=False)
    # The moments of test are about its own means.
    off_x, off_y = test.mean_x - train.mean_x, test.mean_y - train.mean_y
    both = (left @ right * (test.xy + test.num * np.outer(off_x, off_y))).sum()
    square_x = np.trace(test.xx) + test.num * (off_x @ off_x)
    square_y = np.trace(test.yy) + test.num * (off_y @ off_y)
    norms = np.sqrt(square_x * square_y)
    return float(both / norms) if norms > 0 else 0.0
