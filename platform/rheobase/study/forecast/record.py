"""What forecasts of a run's recordings came to, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from rheobase.core.settings import Settings
from rheobase.study.ranking.ranking import MeanEstimate, Tier

Score = Literal[
    "bits_per_spike",
    "deviance_explained",
    "unit_r",
    "temporal_fidelity",
    "spatial_pattern",
    "alignment",
]
"""A field of `measures.forecast.ForecastScores`."""
Verdict = Literal["gains", "loses", "not told"]


class ScoredForecast(Settings):
    """One forecast of one session's test bins."""

    model: str
    seed: int | None = None
    """Root seed of the network; None where there is none."""
    teacher: int | None = None
    """Root seed of the teacher of its latents; None where none took part."""
    shrinkage: float | None = None
    """Of the readout, chosen on validation; None where there is no readout."""
    scores: Mapping[Score, float]
    blocks: Mapping[Score, tuple[float, ...]]
    """Pseudo-value of each score in each held-out block or trial, in order of time."""


class SessionForecast(Settings):
    """All forecasts of one session."""

    key: str
    """Digest of what decides them."""
    is_whole: bool
    """False of what is kept while networks are still trained."""
    session: str
    num_units: int
    """Units that are forecast."""
    num_quiet: int
    """Units that are not: they fire too seldom on train."""
    num_train: int
    """Bins that readouts are fitted to."""
    num_validation: int
    """Bins that choose their shrinkage."""
    num_scored: int
    """Bins of test that are forecast."""
    spikes_per_bin: float
    """Mean count of a unit in a bin of test."""
    forecasts: tuple[ScoredForecast, ...]
    notes: tuple[str, ...] = ()


class ForecastModel(Settings):
    """What one model forecasts from, and how well, on test."""

    model: str
    made_of: str
    """In words."""
    num_runs: int
    """Seeds, or teachers, times sessions."""
    scores: Mapping[Score, MeanEstimate]


class ForecastDifference(Settings):
    """One model's scores minus another's, paired by seed, session and block."""

    model: str
    minus: str
    asks: str
    """What the difference tells, in words."""
    scores: Mapping[Score, MeanEstimate]
    verdict: Verdict
    """Of bits per spike: whether its interval lies above 0, below, or holds it."""


class Forecast(Settings):
    """What `rheobase forecast --json` prints."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    """Version of this form."""
    study: str
    trial_id: str
    """The constrained student's, on the report seeds."""
    arm: str
    tier: Tier
    seeds: tuple[int, ...]
    ahead_ms: float
    """Width of the bin that is forecast, right after the present."""
    least_hz: float
    """Units that fire less on train are left out."""
    sessions: tuple[SessionForecast, ...]
    models: tuple[ForecastModel, ...]
    differences: tuple[ForecastDifference, ...]
    notes: tuple[str, ...]
