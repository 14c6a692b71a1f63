"""Which bins of a session are forecast, and what comes in them."""

# Shape legend: T bins, B samples, N units, D dimensions.

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError, StudyError
from rheobase.shards.shard import TEST, TRAIN, VALIDATION
from rheobase.shards.timeline import Timeline

LEAST_HZ = 1.0
"""Rate on train below which a unit is not forecast, as SpikeProphecy's configurations have it."""
MOST_BINS = 32_768
"""Bins, evenly spaced, that anything is fitted to; also what is held in memory at once."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ForecastBins:
    """A session cut into bins to forecast, side by side.

    Attributes
    ----------
    timeline
        Labels (T,) of the study's bins, test open.
    often
        Which units of the session fire often enough to be forecast; N do.
    counts
        (T, N) of those.
    num_ahead
        Bins of the study in one that is forecast.
    """

    timeline: Timeline
    often: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.uint8]
    num_ahead: int

    def rows(self, split: int) -> npt.NDArray[np.int64]:
        """Return the presents (B,) of a split: the last bin of the study that a forecast may see.

        The bins ahead follow it at once. They and the present lie in one segment and one split.
        """
        line, num = self.timeline, self.num_ahead
        begins = np.append(0, line.borders)
        since = np.arange(len(line)) - begins[line.segment - line.segment[0]]
        # One such bin has gone by before the first forecast.
        present = np.flatnonzero((since + 1) % num == 0)
        present = present[present + num < len(line)]
        bins = present[:, None] + np.arange(num + 1)
        inside = (line.segment[bins] == line.segment[present][:, None]).all(axis=1)
        inside &= (line.split[bins] == split).all(axis=1)
        return np.asarray(present[inside])

    @cached_property
    def train(self) -> npt.NDArray[np.int64]:
        """Presents that readouts are fitted to, `MOST_BINS` at most, evenly spaced."""
        rows = self.rows(TRAIN)
        return rows[:: max(1, -(-len(rows) // MOST_BINS))]

    @cached_property
    def validation(self) -> npt.NDArray[np.int64]:
        """Presents that choose among readouts."""
        return self.rows(VALIDATION)

    @cached_property
    def test(self) -> npt.NDArray[np.int64]:
        """Presents that are scored."""
        return self.rows(TEST)

    def ahead(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the counts (B, N) of the bin after each present."""
        return self._summed(rows + 1)

    def last(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the counts (B, N) of the bin that ends with each present."""
        return self._summed(rows + 1 - self.num_ahead)

    def _summed(self, begins: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        total = np.zeros((len(begins), self.counts.shape[1]))
        for one in range(self.num_ahead):
            total += self.counts[begins + one]
        return total


def forecast_bins(
    timeline: Timeline, counts: npt.NDArray[np.uint8], ahead_ms: float, session: str
) -> ForecastBins:
    """Return the bins of a session that are forecast, of the units that fire often enough.

    Parameters
    ----------
    timeline
        Labels (T,), test open.
    counts
        (T, N) of all units.
    ahead_ms
        Width of a bin that is forecast: a whole number of the study's.
    session
        Named in errors.

    Raises
    ------
    StudyError
        The width is no whole number of bins.
    DataError
        No unit fires often enough, or a split has no bin to forecast.
    """
    num_ahead = num_bins(timeline.bin_ms, ahead_ms)
    rates_hz = counts[timeline.train].mean(axis=0, dtype=np.float64) * 1000 / timeline.bin_ms
    often = rates_hz >= LEAST_HZ
    if not often.any():
        raise DataError(
            f"{session}: a unit must fire at {LEAST_HZ:g} Hz on train to be forecast, but none of "
            f"{len(often)} does; forecast another recording"
        )
    bins = ForecastBins(
        timeline=timeline, often=often, counts=counts[:, often], num_ahead=num_ahead
    )
    for name, rows in (("train", bins.train), ("validation", bins.validation), ("test", bins.test)):
        if len(rows) < 2:
            raise DataError(
                f"{session}: {name} must hold bins of {ahead_ms:g} ms to forecast, but holds "
                f"{len(rows)}; give a smaller --ahead-ms"
            )
    return bins


def num_bins(bin_ms: float, ahead_ms: float) -> int:
    """Return how many bins of the study a bin that is forecast is wide.

    Raises
    ------
    StudyError
        It is no whole number of them.
    """
    num = round(ahead_ms / bin_ms)
    if num < 1 or abs(num * bin_ms - ahead_ms) > 1e-6:
        raise StudyError(
            f"--ahead-ms must be a whole number of the study's bins of {bin_ms:g} ms, but got "
            f"{ahead_ms:g}; give {max(1, num) * bin_ms:g}"
        )
    return num


def future_code(bins: ForecastBins, num_dims: int) -> npt.NDArray[np.float32]:
    """Return what a network without a teacher learns: the counts to come, in few dimensions.

    Parameters
    ----------
    bins
        Of the session; of its train bins alone anything is read.
    num_dims
        Dimensions D, as many as a teacher would have.

    Returns
    -------
    (T, D) the leading principal components of the units' standardised counts in the bin ahead of
    every bin of the study; 0, their mean, where that does not lie in train as a whole.
    """
    line, num = bins.timeline, bins.num_ahead
    every = np.arange(len(line) - num)
    ahead = every[:, None] + np.arange(num + 1)
    inside = (line.split[ahead] == TRAIN).all(axis=1)
    inside &= (line.segment[ahead] == line.segment[every][:, None]).all(axis=1)
    rows = every[inside]
    seen = bins.ahead(rows[:: max(1, -(-len(rows) // MOST_BINS))])
    mean, spread = seen.mean(axis=0), seen.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    standard = (seen - mean) / spread
    axes = np.linalg.eigh(standard.T @ standard)[1][:, ::-1][:, :num_dims]
    code = np.zeros((len(line), num_dims), np.float32)
    for begin in range(0, len(rows), MOST_BINS):
        here = rows[begin : begin + MOST_BINS]
        code[here, : axes.shape[1]] = (bins.ahead(here) - mean) / spread @ axes
    return code
