"""How well forecasts of spike counts hold, split into what can go right or wrong in them."""

# Shape legend: B samples, N units, I blocks.

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from rheobase.core.errors import DataError
from rheobase.measures.cca_moments import correlation_of_sums

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
LEAST_RATE = 1e-9
"""Spikes a bin in place of a forecast of none, as the Neural Latents Benchmark has it: the
logarithm of 0 would make one wrong bin decide everything."""
STILL = 1e-10
"""Standard deviation across units below which a bin, or its forecast, has no pattern."""


@dataclass(frozen=True, kw_only=True)
class ForecastScores:
    """What a forecast of counts is worth.

    Attributes
    ----------
    bits_per_spike
        Gain in log-likelihood over each unit's mean on the same bins, in bits a spike.
    deviance_explained
        Share of the Poisson deviance about those means that the forecast takes away.
    unit_r
        Pearson's correlation over bins of each unit's forecast with its counts, mean over units.
    temporal_fidelity
        Pearson's correlation over bins of the summed forecast with the summed counts.
    spatial_pattern
        Pearson's correlation across units in each bin, mean over bins.
    alignment
        Cosine between forecast and counts of all units in each bin, mean over bins.
    """

    bits_per_spike: float
    deviance_explained: float
    unit_r: float
    temporal_fidelity: float
    spatial_pattern: float
    alignment: float


def forecast_scores(rates: Array, counts: Array) -> ForecastScores:
    r"""Return the scores of forecasts of counts.

    Parameters
    ----------
    rates
        (B, N) spikes that are expected in each bin, not negative.
    counts
        (B, N) spikes that came.

    Returns
    -------
    All are 1 at best but `bits_per_spike`, which has no such bound. A mean that nothing takes part
    in is 0.

    Raises
    ------
    DataError
        A rate is negative or not finite, or no spike came.

    Notes
    -----
    With rates r, counts y and each unit's mean count m over the B bins, `bits_per_spike` is
    :math:`\sum (y \ln (r / m) - r + m) / (\ln 2 \sum y)`, over bins and units, and
    `deviance_explained` the same sum over :math:`\sum y \ln (y / m)`, half the deviance of the
    means. Units without a spike count in both. A unit whose counts or forecast do not vary has a
    correlation of 0; a bin in which no unit differs from the others, on either side, takes no part
    in `spatial_pattern`, and one without a spike none in `alignment`.

    The last three split what one correlation mixes: `temporal_fidelity` changes with neither which
    unit fires nor the scale, `spatial_pattern` and `alignment` with nothing that is common to all
    units of a bin. The means of the units alone, the same in each bin, have no temporal fidelity
    and yet much of the other two: hold those against such a forecast. The first two do change with
    the scale.

    References
    ----------
    Pei et al. 2021, *Neural Latents Benchmark '21* (bits per spike). Minnick et al. 2026,
    *SpikeProphecy* (arXiv 2605.12992), the split; as its published code has it
    (``src/eval/population_metrics.py``, and ``spatial_r`` of ``train_trivial_baselines.py``).

    Examples
    --------
    >>> counts = np.array([[0, 2], [1, 1], [3, 0], [0, 1]])
    >>> found = forecast_scores(counts * 2.0, counts)
    >>> round(found.temporal_fidelity, 6), round(found.alignment, 6), round(found.unit_r, 6)
    (1.0, 1.0, 1.0)
    >>> forecast_scores(np.tile(counts.mean(axis=0), (4, 1)), counts).bits_per_spike
    0.0
    """
    sums = _sums(rates, counts, np.zeros(len(counts), np.int64))
    return ForecastScores(**{name: float(one[0]) for name, one in _scores(sums).items()})


def forecast_blocks(rates: Array, counts: Array, group: Array) -> dict[str, Floats]:
    r"""Return the pseudo-values of each block of samples, by score.

    Parameters
    ----------
    rates, counts
        (B, N), as `forecast_scores` takes them.
    group
        (B,) number of each sample's block.

    Returns
    -------
    (I,) of each score, in the order of the blocks' numbers; empty where there is one block.

    Raises
    ------
    DataError
        As `forecast_scores`; or one block holds all spikes.

    Notes
    -----
    :math:`I \theta - (I - 1) \theta_{-i}`, as in `measures.blocks`.
    """
    blocks, number = np.unique(group, return_inverse=True)
    if len(blocks) < 2:
        return {one.name: np.zeros(0) for one in fields(ForecastScores)}
    each = _sums(rates, counts, number)
    total = _Sums(**{name: one.sum(axis=0, keepdims=True) for name, one in vars(each).items()})
    rest = _Sums(**{name: getattr(total, name) - one for name, one in vars(each).items()})
    if not (rest.spikes.sum(axis=1) > 0).all():
        raise DataError(
            "spikes must be left without each held-out block, but one of them holds all; "
            "forecast a recording with more spikes"
        )
    num, without = len(blocks), _scores(rest)
    return {name: num * whole - (num - 1) * without[name] for name, whole in _scores(total).items()}


@dataclass(frozen=True, eq=False, kw_only=True)
class _Sums:
    """Sums over the samples of each block: (I,), of units (I, N)."""

    num: Floats
    log_likelihood: Floats
    saturated: Floats
    """Log-likelihood of a forecast that knows each count, as the others without what all share."""
    spikes: Floats
    """(I, N)."""
    counts: Floats
    rates: Floats
    counts2: Floats
    rates2: Floats
    both: Floats
    """(I, N) each, about the units' means over all blocks."""
    population: Floats
    """(I, 5) of the summed counts and rates: each, each squared, their product."""
    pattern: Floats
    """(I, 2): correlations across units, and in how many bins there is one."""
    cosine: Floats
    """(I, 2)."""


def _sums(rates: Array, counts: Array, number: npt.NDArray[np.integer]) -> _Sums:
    r, y = np.asarray(rates, np.float64), np.asarray(counts, np.float64)
    if r.shape != y.shape or r.ndim != 2:
        raise DataError(
            f"forecast and counts must both be (bins, units), but are {r.shape} and {y.shape}"
        )
    if not np.isfinite(r).all() or (r < 0).any():
        raise DataError("forecast rates must be finite and not negative, but one is not")
    if not y.sum() > 0:
        raise DataError("a spike must come in the bins that are forecast, but none does")
    # Products about the means: of large sums the digits that tell would be lost.
    dr, dy = r - r.mean(axis=0), y - y.mean(axis=0)
    whole_r, whole_y = dr.sum(axis=1), dy.sum(axis=1)
    across_r, across_y = r - r.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    has_pattern = (across_r.std(axis=1) > STILL) & (across_y.std(axis=1) > STILL)
    has_spikes = (np.linalg.norm(r, axis=1) > STILL) & (np.linalg.norm(y, axis=1) > STILL)
    population = np.stack([whole_y, whole_r, whole_y**2, whole_r**2, whole_y * whole_r], axis=1)

    def added(values: Floats) -> Floats:
        total = np.zeros((int(number.max()) + 1, *values.shape[1:]))
        np.add.at(total, number, values)
        return total

    return _Sums(
        num=added(np.ones(len(y))),
        log_likelihood=added((xlogy(y, np.maximum(r, LEAST_RATE)) - r).sum(axis=1)),
        saturated=added((xlogy(y, y) - y).sum(axis=1)),
        spikes=added(y),
        counts=added(dy),
        rates=added(dr),
        counts2=added(dy**2),
        rates2=added(dr**2),
        both=added(dr * dy),
        population=added(population),
        pattern=added(_with_count(_cosine(across_r, across_y, has_pattern), has_pattern)),
        cosine=added(_with_count(_cosine(r, y, has_spikes), has_spikes)),
    )


def _cosine(left: Floats, right: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    """Return the cosine of each row (B,); 0 where it is not chosen."""
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.where(chosen, (left * right).sum(axis=1) / np.where(chosen, norms, 1.0), 0.0)


def _with_count(values: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    return np.stack([values, chosen.astype(np.float64)], axis=1)


def _scores(sums: _Sums) -> dict[str, Floats]:
    """Return the scores (I,) of `ForecastScores`."""
    num, spikes = sums.num, sums.spikes.sum(axis=1)
    null = (xlogy(sums.spikes, sums.spikes / num[:, None]) - sums.spikes).sum(axis=1)
    gain, deviance = sums.log_likelihood - null, sums.saturated - null
    of_unit = sums.counts, sums.rates, sums.counts2, sums.rates2, sums.both, num[:, None]
    y, r, y2, r2, both = sums.population.T
    return {
        "bits_per_spike": gain / spikes / math.log(2),
        "deviance_explained": np.where(
            deviance > 0, gain / np.where(deviance > 0, deviance, 1.0), 0.0
        ),
        "unit_r": _correlation(*of_unit).mean(axis=1),
        "temporal_fidelity": _correlation(y, r, y2, r2, both, num),
        "spatial_pattern": _mean(sums.pattern),
        "alignment": _mean(sums.cosine),
    }


def _correlation(y: Floats, r: Floats, y2: Floats, r2: Floats, both: Floats, num: Floats) -> Floats:
    return correlation_of_sums(both - y * r / num, y2 - y**2 / num, r2 - r**2 / num, num)


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[:, 0] / np.maximum(sums[:, 1], 1.0))
