"""What a decomposition leaves open: the signs of its vectors, and its last digits."""

# Shape legend: M features, C columns.

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEVEL = 1e-6  # entries whose sizes differ by less than this share are of one size


def column_signs(vectors: Floats) -> Floats:
    """Return the signs that make the largest entry of each vector positive.

    Parameters
    ----------
    vectors
        (..., M, C), a vector a column.

    Returns
    -------
    (..., 1, C), each 1 or -1: the product with `vectors` is the same whichever signs they came in.

    Notes
    -----
    Eigenvectors and singular vectors are known up to their sign, which differs from one build of a
    linear algebra library to the next. Wherever it decides where a training starts, or a number
    that is stored, it is fixed so. Of entries of one size the first counts.

    Examples
    --------
    >>> vectors = np.array([[0.6, -0.8], [-0.8, -0.6]])
    >>> vectors * column_signs(vectors)
    array([[-0.6,  0.8],
           [ 0.8,  0.6]])
    """
    size = np.abs(vectors)
    is_largest = size >= (1 - LEVEL) * size.max(axis=-2, keepdims=True)
    first = is_largest.argmax(axis=-2, keepdims=True)
    largest = np.take_along_axis(vectors, first, axis=-2)
    return np.where(largest < 0, -1.0, 1.0)


def rounded(values: Floats) -> Floats:
    """Return values as multiples of about a hundred thousandth of the largest.

    Parameters
    ----------
    values
        Of any shape.

    Returns
    -------
    The nearest multiples of a power of two, 2e-6 to 8e-6 of the largest in size.

    Notes
    -----
    The last digits of a decomposition differ from one kernel of a linear algebra library to the
    next, by up to 1e-12 where eigenvalues lie close. A training that starts from them ends
    elsewhere, for networks of spikes tell the least difference apart. So rounded it starts from the
    same numbers, but for the few that lie on the border of two multiples.

    Examples
    --------
    >>> rounded(np.array([1.0, 0.3])) == rounded(np.array([1.0 + 1e-12, 0.3 - 1e-12]))
    array([ True,  True])
    """
    step = 2.0 ** (np.floor(np.log2(max(float(np.abs(values).max()), 1e-300))) - 17)
    return np.asarray(np.round(values / step) * step, np.float64)
