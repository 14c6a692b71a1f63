"""Firing of a network: rates, how far they are from feasible, and how regular it is."""

# Shape legend: T bins, M neurons.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SILENT_HZ = 0.5
SATURATED_HZ = 50.0
MOST_SILENT = 0.05
MOST_SATURATED = 0.05
LEAST_IN_BAND = 0.80
LEAST_INTERVALS = 10  # of a neuron: of fewer, a spread says little


class Rates(NamedTuple):
    """A network's firing.

    Attributes
    ----------
    mean
        Mean rate over neurons in Hz.
    in_band
        Share of neurons whose rate lies in the band, 0..1.
    silent
        Share of neurons below 0.5 Hz, 0..1.
    saturated
        Share of neurons above 50 Hz, 0..1.
    """

    mean: float
    in_band: float
    silent: float
    saturated: float


def firing_rates(spikes: npt.NDArray[Any], bin_ms: float) -> Floats:
    """Return each neuron's mean rate.

    Parameters
    ----------
    spikes
        (T, M) spikes of each bin.
    bin_ms
        Width of a bin in ms.

    Returns
    -------
    (M,) in Hz.
    """
    return np.asarray(spikes.mean(axis=0, dtype=np.float64) * 1000 / bin_ms, np.float64)


def rate_summary(rates_hz: Floats, band_hz: tuple[float, float]) -> Rates:
    """Return the mean of rates, and the shares of neurons in the band, silent and saturated.

    Parameters
    ----------
    rates_hz
        (M,) rate of each neuron in Hz.
    band_hz
        Lower and upper end in Hz, both of which belong to the band.

    Returns
    -------
    Silent is below 0.5 Hz, saturated above 50 Hz.
    """
    low, high = band_hz
    return Rates(
        float(rates_hz.mean()),
        float(((rates_hz >= low) & (rates_hz <= high)).mean()),
        float((rates_hz < SILENT_HZ).mean()),
        float((rates_hz > SATURATED_HZ).mean()),
    )


def cv_isi(spikes: npt.NDArray[Any], run: npt.NDArray[Any]) -> float | None:
    r"""Return the mean over neurons of the coefficient of variation of inter-spike intervals.

    Parameters
    ----------
    spikes
        (T, M) spikes of each bin; more than one in a bin are 0 apart.
    run
        (T,) number of the uninterrupted stretch of time that a bin lies in, never falling. An
        interval lies in one stretch: none crosses the end of a segment or of a split.

    Returns
    -------
    1 for Poisson firing in bins that hold few spikes, 0 for a clock; None where no neuron has
    10 intervals. Neurons with fewer take no part.

    Notes
    -----
    :math:`\sigma / \mu` of each neuron's intervals (Softky & Koch 1993), counted in bins.
    Intervals about as long as the stretches are seen too seldom, so that neurons that fire a few
    times a stretch look more regular than they are; and in bins of length b a Poisson neuron of
    rate r has :math:`\sqrt{1 - p}` with p = 1 - exp(-r b), 0.95 at 10 Hz and 10 ms.

    Examples
    --------
    >>> clock = np.zeros((300, 1), int)
    >>> clock[::10] = 1
    >>> cv_isi(clock, np.zeros(300, int))
    0.0
    """
    neuron, at = np.nonzero(spikes.T)
    times = spikes[at, neuron].astype(np.int64)
    neuron, at = np.repeat(neuron, times), np.repeat(at, times)
    inside = (np.diff(neuron) == 0) & (np.diff(run[at]) == 0)
    interval, neuron = np.diff(at)[inside].astype(np.float64), neuron[1:][inside]
    num, total, squares = (
        np.bincount(neuron, weights, minlength=spikes.shape[1])
        for weights in (None, interval, interval**2)
    )
    counted = (num >= LEAST_INTERVALS) & (total > 0)
    if not counted.any():
        return None
    mean = total[counted] / num[counted]
    variance = (squares[counted] / num[counted] - mean**2).clip(min=0)
    return float((np.sqrt(variance) / mean).mean())


def mean_correlation(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> float | None:
    """Return how alike two runs of a network are, neuron by neuron.

    Parameters
    ----------
    x, y
        (T, M) features of the same bins and neurons.

    Returns
    -------
    The mean, over neurons that vary in both, of the correlation of their features, in [-1, 1];
    None where none does.

    Notes
    -----
    The reliability of a spike train given its input (Schreiber et al. 2003, who smooth with a
    Gaussian): 1 where the input alone decides the train, less where what went before still does.

    Examples
    --------
    >>> one = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> mean_correlation(one, one * [2.0, -1.0])
    0.0
    """
    sides = [np.asarray(side, np.float64) for side in (x, y)]
    left, right = (side - side.mean(axis=0) for side in sides)
    squares = (left**2).sum(axis=0) * (right**2).sum(axis=0)
    varies = squares > 0
    if not varies.any():
        return None
    both = (left * right).sum(axis=0)[varies]
    return float((both / np.sqrt(squares[varies])).mean())


def violations(
    rates_by_state: Mapping[str, Floats],
    band_hz: tuple[float, float],
    num_dale_violations: int,
    num_connections: int,
    is_finite: bool,
) -> dict[str, float]:
    """Return the signed violation of each feasibility line; a line holds where it is <= 0.

    Parameters
    ----------
    rates_by_state
        Rates (M,) in Hz under each state's name; none of a network that does not spike.
    band_hz
        Band of the mean rate and of each neuron's.
    num_dale_violations
        Weights of the wrong sign.
    num_connections
        Weights that are not 0.
    is_finite
        Whether every number of the network is.

    Returns
    -------
    By line: `dale`, `finite`, `spiking` of a network without rates, and for each state
    ``<state>:rate_low``, ``rate_high``, ``in_band``, ``silent`` and ``saturated``.

    Notes
    -----
    Free of units, so that lines can be added: the mean rate's distance from the band is in
    widths of the band, `dale` is the share of connections of the wrong sign, the others are
    differences of shares of neurons. Half silent and half at 40 Hz has
    a mean inside the band and breaks the lines `silent` and `in_band`. A network that does not
    spike has no rates and breaks the line `spiking` alone: it is never feasible.

    Examples
    --------
    >>> by_line = violations({"all": np.repeat([0.0, 40.0], 50)}, (5.0, 20.0), 0, 9, True)
    >>> sorted(line for line, value in by_line.items() if value > 0)
    ['all:in_band', 'all:silent']
    """
    low, high = band_hz
    wrong = num_dale_violations / max(1, num_connections)
    by_line = {"dale": wrong, "finite": 0.0 if is_finite else 1.0}
    if not rates_by_state:
        by_line["spiking"] = 1.0
    for state, rates_hz in rates_by_state.items():
        seen = rate_summary(rates_hz, band_hz)
        by_line[f"{state}:rate_low"] = (low - seen.mean) / (high - low)
        by_line[f"{state}:rate_high"] = (seen.mean - high) / (high - low)
        by_line[f"{state}:in_band"] = LEAST_IN_BAND - seen.in_band
        by_line[f"{state}:silent"] = seen.silent - MOST_SILENT
        by_line[f"{state}:saturated"] = seen.saturated - MOST_SATURATED
    return by_line


def worst_violations(of_replicates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the largest violation of each line among replicates, lines as they first appear.

    Parameters
    ----------
    of_replicates
        `violations` of each; a line that only some have, as that of a state which only one
        session has, is judged by those.

    Returns
    -------
    By line; what lies at most at 0 holds for every replicate.
    """
    lines = dict.fromkeys(line for one in of_replicates for line in one)
    return {line: max(one[line] for one in of_replicates if line in one) for line in lines}


def total_violation(worst: Mapping[str, float]) -> float:
    """Return how far a network is from feasible, over all lines.

    Parameters
    ----------
    worst
        `worst_violations`, by line.

    Returns
    -------
    The sum of those above 0, in their order; 0 of a feasible network.

    Examples
    --------
    >>> of_seeds = [{"silent": 0.25, "dale": -1.0}, {"silent": -1.0, "dale": 0.5}]
    >>> total_violation(worst_violations(of_seeds))
    0.75
    """
    return sum((value for value in worst.values() if value > 0), 0.0)


def ei_weight_balance(recurrent: npt.NDArray[Any], dale_sign: npt.NDArray[Any]) -> float | None:
    """Return summed inhibitory over summed excitatory weight, both as magnitudes.

    Parameters
    ----------
    recurrent
        (M, M) weights [post, pre].
    dale_sign
        (M,) above 0 for excitatory, below 0 for inhibitory presynaptic neurons.

    Returns
    -------
    1 is balanced; None where no excitatory weight is left.
    """
    sent = np.abs(recurrent).sum(axis=0, dtype=np.float64)
    excitatory = float(sent[dale_sign > 0].sum())
    return float(sent[dale_sign < 0].sum()) / excitatory if excitatory > 0 else None
