"""Forecasts of a run's recordings, for the terminal."""

from __future__ import annotations

from rich.table import Table

from rheobase.study.forecast.record import Forecast, ForecastDifference
from rheobase.study.ranking.ranking import MeanEstimate

COLUMNS = {
    "bits_per_spike": "bits/spike",
    "unit_r": "unit r",
    "temporal_fidelity": "temporal",
    "spatial_pattern": "spatial",
    "alignment": "cosine",
}
WORDS = {"gains": "better", "loses": "worse", "not told": "not told apart"}


def forecast_table(found: Forecast) -> Table:
    """Return a row for each model, a column for each score."""
    table = Table(
        title=f"{found.study}: counts of the next {found.ahead_ms:g} ms, on test",
        box=None,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    table.add_column("from", no_wrap=True)
    for heading in COLUMNS.values():
        table.add_column(heading, justify="right")
    for one in found.models:
        cells = [f"{one.scores[score].mean:.3f}" for score in COLUMNS]  # type: ignore[index]
        table.add_row(one.model, *cells)
    return table


def differences_told(found: Forecast) -> list[str]:
    """Return a line for each difference in bits a spike, then notes."""
    return [_told(one) for one in found.differences] + [f"  {note}" for note in found.notes]


def _told(one: ForecastDifference) -> str:
    estimate: MeanEstimate = one.scores["bits_per_spike"]
    interval = (
        f" [{estimate.ci95[0]:+.4f}, {estimate.ci95[1]:+.4f}]"
        if estimate.ci95
        else " (no interval)"
    )
    return (
        f"{one.model} minus {one.minus}: {estimate.mean:+.4f}{interval} bits/spike, "
        f"{WORDS[one.verdict]} ({one.asks})"
    )
