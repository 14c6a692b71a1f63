"""CMA-ES in the unit cube, its state rebuilt from the trials it was told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from cmaes import CMA, get_warm_start_mgd
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from rheobase.study.search.observations import Observation

Floats = npt.NDArray[np.float64]
SIGMA = 1 / 6  # of the cube's side: the whole of it lies within three standard deviations
TOP_SHARE = 10  # Nomura et al. 2021 start from the best tenth of an earlier task's trials


def propose_cmaes(
    distributions: Mapping[str, BaseDistribution],
    start: Mapping[str, Any],
    observations: Sequence[Observation],
    earlier: Sequence[Observation],
    least_population: int,
    seed: int,
    num: int,
) -> list[dict[str, Any]]:
    """Return `num` configurations drawn from the Gaussian that past trials have moved.

    Parameters
    ----------
    distributions
        Of the searched settings, all numbers.
    start
        Where the search begins.
    observations
        The search's ended trials in order, without the one at `start`.
    earlier
        Trials of an earlier run; where there are any, they set the first Gaussian instead.
    least_population
        Trials of an update, at least; never fewer than the 4 + 3 ln n of Hansen 2016.
    seed
        Of the draws.
    num
        How many are wanted.

    Notes
    -----
    CMA-ES looks at the order of trials alone, and knows no constraints. They are ordered by
    `score`: every feasible trial above every infeasible one, the feasible by CCA, the infeasible
    by violation, a stopped trial by where it was stopped, failed ones last.
    """
    names = list(distributions)
    size = max(least_population, 4 + math.floor(3 * math.log(len(names))))

    def point(params: Mapping[str, Any]) -> Floats:
        return np.array([_to_unit(distributions[name], params[name]) for name in names])

    mean, sigma, shape = point(start), SIGMA, None
    if earlier:
        best = sorted(earlier, key=lambda one: -one.score)[: max(2, len(earlier) // TOP_SHARE)]
        solutions = [(point(one.params), -one.score) for one in best]
        mean, sigma, shape = get_warm_start_mgd(solutions, gamma=1.0)
    bounds = np.tile([0.0, 1.0], (len(names), 1))
    # A mean on the border is a valid start, but not to the library.
    inner = np.clip(mean, 1e-6, 1 - 1e-6)
    optimizer = CMA(inner, sigma, bounds, cov=shape, seed=seed % 2**32, population_size=size)
    for first in range(0, len(observations) - size + 1, size):
        optimizer.tell(
            [(point(one.params), -one.score) for one in observations[first : first + size]]
        )
    return [
        {
            name: _from_unit(distributions[name], float(at))
            for name, at in zip(names, optimizer.ask(), strict=True)
        }
        for _ in range(num)
    ]


def _ends(distribution: BaseDistribution) -> tuple[float, float]:
    """Return the interval that the unit one stands for; every step has the same share of it."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    half = (distribution.step or 0) / 2
    return distribution.low - half, distribution.high + half


def _to_unit(distribution: BaseDistribution, value: float) -> float:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _ends(distribution)
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low) if high > low else 0.5


def _from_unit(distribution: BaseDistribution, at: float) -> float | int:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _ends(distribution)
    if distribution.log:
        low, high = math.log(low), math.log(high)
    value = low + at * (high - low)
    value = math.exp(value) if distribution.log else value
    if distribution.step:
        steps = round((value - distribution.low) / distribution.step)
        value = distribution.low + steps * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else value
