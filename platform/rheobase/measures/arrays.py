"""Held-out CCA of any two arrays in memory, with its null and its interval."""

# Shape legend: B samples, M features, D dimensions.

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.score import MOST, ArrayScore, score_of

__all__ = ["ArrayScore", "heldout_cca"]


def heldout_cca(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    groups: npt.ArrayLike,
    test: float = 0.2,
    seed: int = 0,
) -> ArrayScore:
    """Return the held-out CCA of two arrays, beside what unrelated signals as slow would give.

    Parameters
    ----------
    x
        (B, M) features, as a student's, in order of time.
    y
        (B, D) latents, as a teacher's.
    groups
        (B,) samples of one group are all fitted or all scored: blocks of time, or trials; never
        single bins of a signal that is slow.
    test
        Share of the groups to score, drawn at random.
    seed
        Of that draw, and of the null's.

    Returns
    -------
    `ArrayScore`: ``cca_heldout`` with ``ci95``, ``null_shift_q95`` and what must exceed it,
    ``null_shift_own``; ``notes`` say why a number is None.

    Raises
    ------
    DataError
        The arrays do not fit each other, hold what is not finite, or there are too few groups.

    Notes
    -----
    Canonical correlations fitted on the other groups, shrinkage chosen inside them
    (`rheobase.measures.cca`), the shift null of Harris 2020 (`score.score_arrays`), and a t
    interval over the pseudo-values of held-out groups (`rheobase.measures.blocks`). Invariant to
    any invertible linear map of y, and but for shrinkage of x.

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> y = draw.standard_normal((3000, 2))
    >>> x = y @ draw.standard_normal((2, 20)) + draw.standard_normal((3000, 20))
    >>> found = heldout_cca(x, y, groups=np.arange(3000) // 50)
    >>> found.cca_heldout > 0.9, bool(found.null_shift_own > found.null_shift_q95)
    (True, True)
    """
    arrays = []
    for name, given in (("x", x), ("y", y)):
        array = np.asarray(given)
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise DataError(
                f"{name} must be numbers of shape (samples, dimensions), but is {array.dtype} of "
                f"shape {array.shape}; give a column each with array[:, None]"
            )
        most = float(np.abs(array.astype(np.float64)).max(initial=0))
        if np.isfinite(most) and most > MOST:
            raise DataError(
                f"{name} must lie within {MOST:g}, or its squares are no numbers, but holds "
                f"{most:g}; scale its columns"
            )
        arrays.append(array)
    labels = np.asarray(groups)
    if labels.ndim != 1:
        raise DataError(
            f"groups must be one label a sample, but are of shape {labels.shape}; number the "
            "blocks of time, or the trials"
        )
    return score_of(arrays[0], arrays[1], labels, test=test, seed=seed)
