"""The smallest effect that a design detects, and how many units an effect takes."""

# Shape legend: B draws of a study, n pairs whose signs are flipped.

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ncfdtr, stdtrit

from rheobase.core.seeds import generator
from rheobase.study.ranking.resampling import least_p

AIM = 0.8
"""The power that is planned for."""
MOST_EXACT = 12
"""Units up to which all signs are flipped."""
MOST_SIMULATED = 40
"""Units up to which the sign-flip test itself is simulated; beyond, Student's t stands for it."""
LEAST_STUDIES, MOST_STUDIES = 2_000, 20_000
"""Simulated, the more the fewer flips each takes; the standard error of a power of 0.8 is 0.003 of
eight units, 0.004 of ten, 0.009 of twelve and more."""
NUM_FLIPS = 2 ** (MOST_EXACT - 1)
"""Of more units, drawn at random."""
MOST_UNITS = 1_000
LARGEST_DZ = 20.0
DZ_TOLD = (0.5, 1.0, 2.0)


def power(d_z: float, num_units: int, level: float) -> float:
    """Return how often the sign-flip test of normal differences is at or below a level.

    Parameters
    ----------
    d_z
        Mean difference of a unit over the standard deviation of units' differences.
    num_units
        How many are independent: sessions, teachers or seeds.
    level
        Of p before correction: 0.05 over the size of the family, where Holm begins.

    Notes
    -----
    Up to forty units 2,000 to 20,000 studies are simulated, the same ones for every `d_z`, and all
    signs flipped, or of more than twelve units 2,048 times some. For more units it is the power of
    the paired t test, to which that of sign flips tends: of thirteen units at p = 0.05 / 15 it
    would be 0.08 too much.

    Examples
    --------
    >>> power(0.0, 10, 0.05) < 0.07 < 0.8 < power(1.2, 10, 0.05)
    True
    """
    if least_p(num_units) > level:
        return 0.0
    if num_units > MOST_SIMULATED:
        edge = -float(stdtrit(num_units - 1, level / 2))
        # The square of t: SciPy's noncentral t itself is NaN far from its mean.
        return 1 - float(ncfdtr(1, num_units - 1, d_z**2 * num_units, edge**2))
    flipped, num_kept = _flipped(num_units)
    sums = np.abs(flipped + np.float32(d_z) * num_kept)
    as_far = (sums >= sums[:, :1] - 1e-4).sum(axis=1)
    return float((as_far <= level * sums.shape[1] + 1e-9).mean())


@lru_cache(maxsize=1)
def _flipped(num_units: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return sums (B, flips) of simulated differences under flips, and each flip's sum of signs.

    The first flips nothing; the sign of the first unit is never flipped, for p is two-sided.
    """
    random = generator(0, "power", str(num_units))
    num_flips = 2 ** (min(num_units, MOST_EXACT) - 1)
    num_studies = min(MOST_STUDIES, LEAST_STUDIES * NUM_FLIPS // num_flips)
    draws = random.standard_normal((num_studies, num_units), np.float32)
    if num_units <= MOST_EXACT:
        bits = np.arange(2 ** (num_units - 1))[:, None] >> np.arange(num_units - 1) & 1
    else:
        bits = random.integers(0, 2, (NUM_FLIPS, num_units - 1))
        bits[0] = 0
    signs = np.hstack([np.ones((len(bits), 1)), 1 - 2 * bits]).astype(np.float32)
    return draws @ signs.T, signs.sum(axis=1)


def smallest_dz(num_units: int, level: float) -> float | None:
    """Return the least `d_z` that is detected in 80 % of studies; None where none is."""
    if power(LARGEST_DZ, num_units, level) < AIM:
        return None
    low, high = 0.0, LARGEST_DZ
    while high - low > 2e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, num_units, level) >= AIM else (middle, high)
    return high


def units_for(d_z: float, level: float) -> int | None:
    """Return how many units detect an effect in 80 % of studies; None where 1,000 do not."""
    low, high = max(2, math.ceil(math.log2(2 / level) - 1e-9)), MOST_UNITS
    if power(d_z, high, level) < AIM:
        return None
    if power(d_z, MOST_SIMULATED, level) >= AIM:
        high = MOST_SIMULATED
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(d_z, middle, level) >= AIM else (middle + 1, high)
    return low
