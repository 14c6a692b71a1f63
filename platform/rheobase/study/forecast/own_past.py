"""Forecasts of a unit's counts from its own past alone, the floor that others must beat."""

# Shape legend: B samples, N units, F filters.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from rheobase.shards.shard import Shard
from rheobase.study.forecast.bins import ForecastBins
from rheobase.teacher.features import filtered_counts

Floats = npt.NDArray[np.float64]
SMOOTHING_MS = (50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
CHUNK_BINS = 8192
SHARES = tuple(float(share) for share in np.linspace(0.0, 0.95, 20))
"""How much of a forecast is its past, the rest its mean; never all, or it could be 0."""


def mean_rates(bins: ForecastBins) -> Floats:
    """Return each unit's mean count on train as the forecast (B, N) of every bin of test."""
    return np.tile(bins.ahead(bins.train).mean(axis=0), (len(bins.test), 1))


def last_bin(bins: ForecastBins) -> Floats:
    """Return forecasts (B, N) of test from the count of the bin before, as `_best` mixes it."""
    return _best(bins, [(bins.last(bins.validation), bins.last(bins.test))])


def smoothing(bins: ForecastBins, shard: Shard) -> Floats:
    """Return forecasts (B, N) of test from each unit's smoothed past, as `_best` mixes it."""
    every = np.tile(bins.often, len(SMOOTHING_MS))
    on_validation, on_test = (
        filtered_rows(shard, SMOOTHING_MS, rows)[:, every].reshape(len(rows), len(SMOOTHING_MS), -1)
        * bins.num_ahead
        for rows in (bins.validation, bins.test)
    )
    return _best(bins, list(zip(on_validation.swapaxes(0, 1), on_test.swapaxes(0, 1), strict=True)))


def filtered_rows(
    shard: Shard, filters_ms: tuple[float, ...], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the filtered counts (B, F * N) of some bins, a chunk of the session at a time.

    Parameters
    ----------
    shard
        The session.
    filters_ms
        Time constants, as `filtered_counts` takes them.
    rows
        (B,) bins, rising.
    """
    made = np.empty((len(rows), len(filters_ms) * shard.num_units), np.float32)
    for begin in np.unique(rows // CHUNK_BINS) * CHUNK_BINS:
        end = min(int(begin) + CHUNK_BINS, shard.num_bins)
        here = slice(*np.searchsorted(rows, [begin, end]))
        made[here] = filtered_counts(shard, filters_ms, int(begin), end)[rows[here] - begin]
    return made


def _best(bins: ForecastBins, pasts: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Return of each unit ``(1 - share) mean + share past`` with what forecasts validation best.

    `pasts` are what it chooses from, each on validation and on test.
    """
    mean = np.maximum(bins.ahead(bins.train).mean(axis=0), 1e-9)
    counts = bins.ahead(bins.validation)
    best = np.full(len(mean), -np.inf)
    rates = np.empty((len(bins.test), len(mean)))
    for on_validation, on_test in pasts:
        for share in SHARES:
            tried = (1 - share) * mean + share * on_validation
            likelihood = (xlogy(counts, tried) - tried).sum(axis=0)
            better = likelihood > best
            best = np.where(better, likelihood, best)
            chosen = (1 - share) * mean + share * on_test
            rates[:, better] = chosen[:, better]
    return rates
