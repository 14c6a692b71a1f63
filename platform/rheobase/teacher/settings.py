"""The [teacher] table of a study file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rheobase.core.settings import Settings

MOST_DIMS = 16  # of which auto keeps those that predict
RANDOM_START = {"steps": 1000, "read_in_step": 0.1}
Positive = Annotated[float, Field(gt=0)]


class TeacherSettings(Settings):
    """LeJEPA: latents of the past predict latents of the future; SIGReg keeps both alive.

    Some defaults of training are others with ``start = "random"``: `RANDOM_START`.
    """

    kind: Literal["lejepa", "cva", "reduced_rank", "pca", "factor_analysis"] = "lejepa"
    """What makes the latents: LeJEPA, which is trained; or a closed form to compare with, a linear
    map that takes seconds: canonical variates of the filtered past with the future, reduced-rank
    regression of the future on it, principal components or factors. Settings of training have no
    effect on those."""
    latent_dim: Annotated[int, Field(ge=1)] | Literal["auto"] = 16
    """Teacher dimensions D; auto: of 16 those that predict the future above chance."""
    filters_ms: Annotated[tuple[Positive, ...], Field(min_length=1)] = (40.0, 160.0)
    """Time constants of the causal exponential filters through which the encoder sees counts."""
    horizons_ms: Annotated[tuple[Positive, ...], Field(min_length=1)] = (40.0,)
    """Lengths of the stretches after the present whose latents are predicted."""
    start: Literal["cva", "random"] = "cva"
    """Where LeJEPA's training starts: at the canonical variates of the filtered past with the
    future, a closed form, to which the encoder then adds what is not linear; or at random weights,
    from which read-ins need longer steps, and more of them, to get as far."""
    encoder: Literal["linear", "mlp", "gru", "tcn", "transformer"] = "mlp"
    """What makes latents of the filtered counts: a linear map of each session's units alone; or,
    added to it and shared by sessions, two hidden layers, a GRU, causal dilated convolutions, or
    causal attention."""
    encoder_width: Annotated[int, Field(ge=4, multiple_of=4)] = 64
    """Hidden units of the encoder's shared part; linear has none."""
    context_ms: Positive = 320.0
    """How far back tcn and transformer look, and how long a gru runs before its latents count."""
    views: Literal["none", "unit_dropout", "half_units", "replay"] = "none"
    """Units seen in training: all; a random three quarters for the past; or a random half for the
    past, the other half for the future. Or replay: each brain state has a map of its own, and the
    two are turned so that the same frames, shown again, give the same latents; which of them holds
    is inferred from slow counts."""
    components_per_s: Positive = 1.0
    """Principal components of a session's inputs that its read-in may use, for each second of train
    bins: of more, a recording of minutes is learnt by heart."""
    predictor_width: Annotated[int, Field(ge=1)] = 128
    """Hidden units of the predictor."""
    regulariser: Literal["sigreg", "vicreg", "none"] = "sigreg"
    """What keeps the latents from collapse; none lets them collapse."""
    sigreg_weight: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Weight of the regulariser, whichever it is; prediction error has one minus this."""
    sigreg_slices: Annotated[int, Field(ge=1)] = 16
    """Random projections drawn afresh each step."""
    sigreg_mix: Literal[1, 2, 4, 8, 16, 32] = 16
    """Samples that are mixed before SIGReg sees their distribution; 1 as published."""
    steps: Annotated[int, Field(ge=1)] = 200
    """Optimiser steps for each session at most."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Checks of the held-out loss, 100 steps a session apart, without a new best after which
    training ends and the best is kept; a tenth of the train groups, where there are ten, is then
    held out. 0: train on all of them to the end. On short recordings the held-out loss rises
    while the latents still improve."""
    batch_windows: Annotated[int, Field(ge=2)] = 4096
    """Samples in a batch, over all workers; few find only the dimensions of largest variance."""
    read_in_step: Positive = 1e-3
    """Length of each step of a latent dimension's read-in at its peak, cosine to zero; read-ins of
    unit variance have a length of about 1."""
    learning_rate: Positive = 5e-3
    """Peak learning rate of the predictor (AdamW), cosine to zero."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products in training; bfloat16 is for GPUs that have it."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Ray Train workers; part of the study, so that its numbers do not depend on the machine.
    Several are worth their start where there are many sessions, or nodes."""
    seed: int = 0
    """Root seed of the teacher."""

    @model_validator(mode="before")
    @classmethod
    def _further_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        linear = {} if data.get("kind", "lejepa") == "lejepa" else {"encoder": "linear"}
        return {**linear, **(RANDOM_START if data.get("start") == "random" else {}), **data}

    @property
    def num_dims(self) -> int:
        """Dimensions D that are trained."""
        return MOST_DIMS if self.latent_dim == "auto" else self.latent_dim
