"""What resampling and ranks say of paired differences: bootstrap, sign flips, Holm, improvement."""

# Shape legend: n pairs, or whatever is independent of one another; B bootstrap draws.

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rheobase.study.ranking.ranking import Interval

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
ALPHA = 0.05
FEWEST_UNITS = 6  # whose least p, 2 / 2^6, is at most ALPHA
MOST_EXACT_PAIRS = 16  # 65,536 sign flips
NUM_FLIPS = 100_000
NUM_RESAMPLES = 5_000


def interquartile_mean(values: Floats) -> Floats:
    """Return the mean of the middle half along the last axis, as `scipy.stats.trim_mean` cuts."""
    num = values.shape[-1]
    cut = num // 4
    return np.asarray(np.sort(values, axis=-1)[..., cut : num - cut].mean(axis=-1), np.float64)


def bootstrap_intervals(
    differences: Floats, strata: Sequence[str], random: np.random.Generator
) -> tuple[Interval, Interval]:
    """Return rliable's 95 % percentile intervals of the mean and of the interquartile mean.

    Parameters
    ----------
    differences
        (n,) paired differences.
    strata
        Session of each pair; pairs are resampled within their session.
    random
        Generator of the resamples.

    Notes
    -----
    Agarwal et al. 2021, *Deep RL at the edge of the statistical precipice*. Sessions and blocks
    are taken as given, so that it speaks of other seeds alone, and percentile intervals leave out
    the uncertainty of the variance: of 1,000 simulated studies with 8 pairs they cover the truth
    in 89 %, with 3 pairs in 74 %. Quote `intervals.estimate_mean` instead.
    """
    names = np.array(strata)
    columns = []
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        columns.append(random.choice(members, (NUM_RESAMPLES, len(members))))
    drawn = differences[np.concatenate(columns, axis=1)]
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    mean_low, mean_high = np.quantile(drawn.mean(axis=1), tails)
    iqm_low, iqm_high = np.quantile(interquartile_mean(drawn), tails)
    return (float(mean_low), float(mean_high)), (float(iqm_low), float(iqm_high))


def num_paired_units(num_sessions: int, num_seeds: int, num_teachers: int = 1) -> int:
    """Return how many signs an arm's difference can be flipped by.

    Parameters
    ----------
    num_sessions, num_seeds, num_teachers
        Of the study's report stage.

    Returns
    -------
    The sessions where there are several, whose seeds are averaged; of one session its teachers
    where there are several, else its seeds.

    Examples
    --------
    >>> num_paired_units(1, 8), num_paired_units(5, 8), num_paired_units(1, 8, 4)
    (8, 5, 4)
    """
    if num_sessions > 1:
        return num_sessions
    return num_teachers if num_teachers > 1 else num_seeds


def least_p(num: int) -> float:
    """Return the least two-sided p that a sign-flip test of `num` differences can reach."""
    return 2.0 / 2.0**num if num else 1.0


def sign_flip_p(differences: Floats, random: np.random.Generator) -> float:
    """Return the two-sided p of the paired sign-flip test of a mean difference of 0.

    Parameters
    ----------
    differences
        (n,) one of each unit: of sessions where there are several, or else of seeds.
    random
        Generator of the flips where n > 16; at most 16 are flipped in all 2^n ways.

    Notes
    -----
    The share of sign patterns whose sum is at least as far from 0 as the one found (Fisher
    1935), the found pattern counted in. Exact where differences are symmetric around 0.

    Examples
    --------
    >>> sign_flip_p(np.array([0.1, 0.2, 0.3]), np.random.default_rng(0))
    0.25
    """
    reached = abs(math.fsum(differences)) - 1e-12 * float(np.abs(differences).sum())
    if len(differences) <= MOST_EXACT_PAIRS:
        sums = np.zeros(1)
        for difference in differences:
            sums = np.concatenate([sums + difference, sums - difference])
        return float((np.abs(sums) >= reached).mean())
    sums = random.choice([-1.0, 1.0], (NUM_FLIPS, len(differences))) @ differences
    return (1 + int((np.abs(sums) >= reached).sum())) / (1 + NUM_FLIPS)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjustment of p-values, in their order.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - step) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def probability_of_improvement(arm: Floats, to: Floats, strata: Sequence[str]) -> float:
    """Return the probability that a run of `arm` exceeds one of `to` in the same session.

    The mean over sessions of the Mann-Whitney probability, ties counting half (Agarwal et al.
    2021); within a session every run of the one meets every run of the other.
    """
    names = np.array(strata)
    shares = []
    for name in np.unique(names):
        between = np.sign(arm[names == name][:, None] - to[names == name])
        shares.append(float((between.mean() + 1) / 2))
    return math.fsum(shares) / len(shares)


def flips_told(unit: str, num_units: int) -> list[str]:
    """Return in sentences what limits a p of flipped signs: too few units, or units of one session.

    Parameters
    ----------
    unit
        What is flipped: session, teacher or seed.
    num_units
        How many there are.
    """
    told = []
    if (floor := least_p(num_units)) > ALPHA:
        told.append(
            f"underpowered: {FEWEST_UNITS} {unit}s are needed for p <= {ALPHA:g}; this has "
            f"{num_units}: its least possible p is {floor:g}"
        )
    if unit != "session":
        told.append(f"p is of flipped {unit}s: it speaks of other {unit}s on these blocks alone")
    return told
