"""The [teacher] table of a study file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from rheobase.core.settings import Settings

Positive = Annotated[float, Field(gt=0)]


class TeacherSettings(Settings):
    """LeJEPA: predict the future of its own latents, kept from collapse by SIGReg."""

    latent_dim: Annotated[int, Field(ge=1)] = 16
    """Teacher dimensions D."""
    filters_ms: Annotated[tuple[Positive, ...], Field(min_length=1)] = (80.0,)
    """Time constants of the encoder's causal exponential filters."""
    history_ms: Annotated[tuple[float, ...], Field(min_length=1)] = (0.0, 40.0, 120.0)
    """How far back the predictor sees its own latents."""
    horizons_ms: Annotated[tuple[Positive, ...], Field(min_length=1)] = (20.0, 40.0, 80.0, 160.0)
    """How far ahead it predicts them."""
    predictor_width: Annotated[int, Field(ge=1)] = 128
    """Hidden units of the predictor."""
    sigreg_weight: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Weight of SIGReg; prediction error has one minus this."""
    sigreg_slices: Annotated[int, Field(ge=1)] = 128
    """Random projections drawn afresh each step."""
    steps: Annotated[int, Field(ge=1)] = 2000
    """Optimiser steps."""
    batch_windows: Annotated[int, Field(ge=2)] = 256
    """Windows in a batch, over all workers."""
    learning_rate: Positive = 3e-3
    """Peak learning rate of AdamW, cosine to zero."""
    workers: Annotated[int, Field(ge=1)] = 2
    """Ray Train workers; part of the study, so that its numbers do not depend on the machine."""
    seed: int = 0
    """Root seed of the teacher."""

    @field_validator("history_ms")
    @classmethod
    def _history_is_past(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if min(value) < 0 or 0.0 not in value:
            raise ValueError("history_ms must hold 0 (the present) and lags >= 0")
        return value
