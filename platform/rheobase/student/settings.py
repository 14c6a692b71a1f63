"""The [student] table of a study file: every constraint is a setting an ablation can lift."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from rheobase.core.settings import Settings

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class StudentSettings(Settings):
    """A recurrent LIF network distilled to the teacher."""

    num_neurons: Annotated[int, Field(ge=2)] = 128
    """LIF neurons M."""
    neuron: Literal["lif", "izhikevich", "gru", "linear"] = "lif"
    """What a neuron is."""
    input: Literal["counts", "shuffled"] = "counts"
    """What the network is fed."""
    dale: bool = True
    """Each neuron's outgoing recurrent weights share one sign, exactly, after every step."""
    excitatory_fraction: float = 0.8
    """Share of excitatory neurons; 0.8 is a 4:1 count ratio."""
    inhibitory_gain: NonNegative = 1.0
    """Scale of the initial inhibitory weights; 1 balances excitation."""
    recurrent_gain: NonNegative = 1.0
    """Scale of the initial recurrent weights, in units of the threshold over sqrt(M)."""
    tau_mem_ms: Positive = 20.0
    """Membrane time constant; beta = exp(-bin / tau_mem)."""
    threshold: Positive = 1.0
    """Membrane potential at which a neuron fires."""
    surrogate: Literal["fast_sigmoid", "atan"] = "fast_sigmoid"
    """Shape of the surrogate gradient dS/dU."""
    surrogate_slope: Positive = 10.0
    """k of the fast sigmoid 1 / (1 + k |U|)^2; alpha of atan."""
    rate_weight: NonNegative = 0.1
    """Weight of the two-sided, per-neuron homeostatic rate penalty, per Hz^2."""
    rate_band_hz: tuple[NonNegative, Positive] = (5.0, 20.0)
    """Rates that the penalty leaves alone."""
    regularity_weight: NonNegative = 0.0
    """Weight of the two-sided, per-neuron penalty of irregularity: of the Fano factor of spike
    counts, which for a renewal process is about the squared CV of its intervals."""
    cv_isi_band: tuple[NonNegative, Positive] = (0.5, 1.5)
    """Coefficients of variation of inter-spike intervals that the penalty leaves alone."""
    tau_readout_ms: Positive = 80.0
    """Time constant of the causal filter whose output is compared with the latents."""
    distill: Literal["cca", "readout", "procrustes", "cka", "rsa"] = "cca"
    """What a batch of features is trained to share with the latents: CCA (any invertible map of
    either), a linear readout of each latent, or up to rotation and scale Procrustes, linear CKA,
    or distances between samples."""
    distill_shrinkage: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Shrinkage of the batch covariances inside cca and readout."""
    steps: Annotated[int, Field(ge=0)] = 400
    """Optimiser steps; 0 leaves the network untrained."""
    batch_windows: Annotated[int, Field(ge=1)] = 32
    """Windows in a batch of one replicate."""
    learning_rate: Positive = 3e-3
    """Peak learning rate of Adam, cosine to a tenth."""

    @field_validator("excitatory_fraction")
    @classmethod
    def _is_a_fraction(cls, value: float) -> float:
        if not 0 < value < 1:
            ratio = f" For a {value:g}:1 ratio write {value / (1 + value):g}." if value > 1 else ""
            raise ValueError(f"0 < excitatory_fraction < 1 must hold, but got {value}.{ratio}")
        return value

    @field_validator("rate_band_hz", "cv_isi_band")
    @classmethod
    def _band_is_ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            raise ValueError(f"low < high must hold, but got (low={value[0]}, high={value[1]}).")
        return value


PER_REPLICATE = frozenset(
    {
        "dale",
        "excitatory_fraction",
        "inhibitory_gain",
        "recurrent_gain",
        "tau_mem_ms",
        "threshold",
        "surrogate_slope",
        "rate_weight",
        "rate_band_hz",
        "regularity_weight",
        "cv_isi_band",
        "tau_readout_ms",
        "distill_shrinkage",
        "learning_rate",
    }
)  # numbers and masks, of which a packed network has its own; the rest decide shapes or code


def population_key(settings: StudentSettings) -> str:
    """Return what networks that train as one population must share.

    Examples
    --------
    >>> slow, fast = StudentSettings(tau_mem_ms=20.0), StudentSettings(tau_mem_ms=10.0)
    >>> population_key(slow) == population_key(fast)
    True
    >>> population_key(slow) == population_key(StudentSettings(num_neurons=64))
    False
    """
    return settings.model_dump_json(exclude=set(PER_REPLICATE))
