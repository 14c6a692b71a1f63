"""The [student] table of a study file: every constraint is a setting an ablation can lift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from rheobase.core.settings import Settings
from rheobase.shards.targets import Target
from rheobase.student.neurons import NEURONS, NeuronKind, NeuronName

InputKind = Literal["counts", "shuffled"]
InputSigns = Literal["free", "excitatory", "by_unit"]
InputTo = Literal["all", "excitatory"]
Recurrence = Literal["trained", "fixed", "none"]
EiOf = Literal["currents", "weights"]
RatePer = Literal["batch", "window"]
EiPer = Literal["network", "neuron"]
Backend = Literal["compiled", "snntorch"]
Surrogate = Literal["fast_sigmoid", "atan", "straight_through", "triangular"]
SNNTORCH_SURROGATES: tuple[Surrogate, ...] = ("fast_sigmoid", "atan")
"""Those of ours that snntorch has, in the same form."""
CELL_TYPES = ("excitatory", "pv", "sst")
"""Types of neurons: excitatory ones, and two that inhibit, named after those with parvalbumin and
with somatostatin, which they are like only as settings make them."""
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
LONGEST_DELAY_MS = 1000.0
RENAMED: Mapping[str, str] = {
    "inhibitory_gain": "initial_inhibitory_gain",
    "balanced": "initially_balanced",
}
"""Earlier names of settings, by which tables of earlier studies are still read."""


class StudentSettings(Settings):
    """A recurrent spiking network distilled to the teacher."""

    neuron: NeuronName = "lif"
    """`lif`; `izhikevich`; and two that do not spike, to compare with: `gru`, gated units, what as
    many of them reach without constraints; `linear`, the input counts through the readout's filter
    in a network's place."""
    backend: Backend = "compiled"
    """What runs LIF neurons: `compiled` loops; or `snntorch`, its plain loop over bins with
    autograd, to hold the first to: the same weights fire the same spikes, and training takes some
    three times as long. Needs `pip install 'rheobase[snntorch]'`."""
    num_neurons: Annotated[int, Field(ge=2)] = 128
    """Neurons M."""
    input: InputKind = "counts"
    """`shuffled`: each unit's bins permuted, to see what is left without the units' code."""
    target: Target = "latents"
    """What the network is to carry: the teacher's `latents`; its `future`, what the teacher's
    predictor makes of them for the longest of `teacher.horizons_ms` (of a closed form the latents
    again, up to a linear map); or `series:NAME`, a time series of the recording in the teacher's
    place, `series:position` for instance, and `series:true` the true latents of a simulation."""
    dale: bool = True
    """Each neuron's outgoing recurrent weights share one sign, exactly, after every step."""
    input_signs: InputSigns = "free"
    """Signs of input weights, held exactly after every step: `free`; `excitatory`, every recorded
    unit excites; `by_unit`, a unit excites or inhibits all neurons, as `input_sign_column` says."""
    input_sign_column: str = "waveform_duration"
    """Column of the units' table that `by_unit` reads: words, such as excitatory and inhibitory, RS
    and FS, E and I; or numbers, such as waveforms' durations. Empty: all signs are drawn."""
    fast_spiking_below: float = 0.4
    """Units whose number in that column lies below inhibit; 0.4 ms is a usual border between
    waveforms of fast and of regular spiking units."""
    input_excitatory_share: Share = 0.8
    """Share of excitatory units among those of which the column says nothing, drawn once a seed."""
    input_gain: NonNegative = 1.0
    """Scale of the initial input weights."""
    input_prob: Share = 1.0
    """Share of the pairs of a unit and a neuron that are connected, drawn once a seed."""
    input_to: InputTo = "all"
    """Which neurons get input."""
    input_share: Share = 1.0
    """Share of those neurons that get input, drawn once a seed."""
    excitatory_fraction: float = 0.8
    """Share of excitatory neurons; 0.8 is a 4:1 count ratio."""
    sst_share: Share = 0.0
    """Share of the inhibitory neurons that are of a second type, `sst`; the others are `pv`. What
    sets the types apart are the next three settings, each in the order excitatory, pv, sst."""
    type_tau_mem_ms: tuple[Positive, ...] = ()
    """Membrane time constant of each type, in the place of `tau_mem_ms`; []: that one. LIF."""
    type_adaptation: tuple[NonNegative, ...] = ()
    """`adaptation` of each type, in its place; []: that one. LIF."""
    type_connection_prob: tuple[tuple[Share, ...], ...] = ()
    """Shares of connected pairs by type, times `connection_prob`: a row for each type that sends,
    a column for each that receives; []: 1."""
    initial_inhibitory_gain: NonNegative = 1.0
    """Scale of the initial inhibitory weights; training moves them (`ei_balance` holds)."""
    initially_balanced: bool = True
    """Initial inhibitory weights are larger by f / (1 - f), which balances excitation; training
    moves them."""
    ei_balance: NonNegative = 0.0
    """Inhibitory over excitatory current, held after every step by the nearest weights that have
    it; 0: free."""
    ei_of: EiOf = "currents"
    """What is held: `currents`, weights times rates, of recurrent and input synapses, exact at the
    rates of the last batch; `weights`, summed recurrent weights, exact."""
    ei_per: EiPer = "network"
    """Whether `ei_balance` holds for the network's sums, or for each neuron's own."""
    ei_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """How far from `ei_balance`, as a share of it, a held balance may be measured in any state for
    the network to be feasible."""
    recurrence: Recurrence = "trained"
    """`fixed`: recurrent weights stay as drawn (an echo state network's); `none`: a feed-forward
    network."""
    recurrent_gain: NonNegative = 0.5
    """Scale of the initial recurrent weights, in units of the threshold over sqrt(M)."""
    connection_prob: Share = 1.0
    """Share of the pairs of neurons that are connected, drawn once a seed; 0: no recurrence."""
    connection_reach: NonNegative = 0.0
    """Standard deviation of the Gaussian by which `connection_prob` falls with the distance of two
    neurons, which lie in a unit square whose opposite edges meet, drawn once a seed; 0: it does not
    fall."""
    delays_ms: tuple[NonNegative, NonNegative] = (0.0, 0.0)
    """Least and greatest delay of recurrent spikes: each neuron's own, drawn once a seed, in whole
    bins; a bin is the least. LIF."""
    tau_mem_ms: Positive = 20.0
    """Membrane time constant; beta = exp(-bin / tau_mem). LIF."""
    learn_tau: bool = False
    """Each neuron learns its own membrane time constant, from `tau_mem_ms` on. LIF."""
    tau_syn_ms: NonNegative = 0.0
    """Time constant of the synaptic current; 0: it lasts one bin. LIF."""
    adaptation: NonNegative = 0.0
    """Rise of the threshold, in thresholds, at a spike in every bin. LIF."""
    tau_adapt_ms: Positive = 200.0
    """Time constant with which that rise comes and goes. LIF."""
    refractory_ms: NonNegative = 0.0
    """Least interval between spikes of a neuron, in whole bins; up to one bin is no limit. LIF."""
    threshold: Positive = 1.0
    """Membrane potential at which an LIF neuron fires."""
    surrogate: Surrogate = "fast_sigmoid"
    """Shape of the surrogate gradient dS/dU."""
    surrogate_slope: Positive = 5.0
    """k of the fast sigmoid 1 / (1 + k |U|)^2; alpha of atan; straight-through passes gradients
    within 1 / k of the threshold, and the triangle falls to 0 there."""
    rate_weight: NonNegative = 0.02
    """Weight of the two-sided, per-neuron homeostatic rate penalty, per Hz^2."""
    rate_band_hz: tuple[NonNegative, Positive] = (6.0, 18.0)
    """Rates that the penalty leaves alone; a margin inside the required ones."""
    rate_per: RatePer = "batch"
    """Of what rates are penalised: of a `batch`, which mixes the states, or of each `window`, so
    that no neuron keeps its rate by being silent in one state and loud in another."""
    homeostasis: NonNegative = 0.0
    """How far each neuron's bias moves after every step, in thresholds for each spike a bin by
    which its rate in the batch lies outside `rate_band_hz`: rates are kept by biases, and weights
    are left to what is learned. 0: not at all."""
    regularity_weight: NonNegative = 0.0
    """Weight of the two-sided, per-neuron penalty of irregularity, the coefficient of variation
    (CV) of inter-spike intervals."""
    cv_isi_band: tuple[NonNegative, Positive] = (0.5, 1.5)
    """CVs that this penalty leaves alone."""
    tau_readout_ms: Annotated[float, Field(gt=0, le=60_000)] = 80.0
    """Time constant of the causal filter whose output is compared with the latents."""
    distill: Literal["cca", "readout", "procrustes", "cka", "rsa"] = "cca"
    """What a batch of features is trained to share with the latents: CCA (any invertible map of
    either), a linear readout of each latent, or up to rotation and scale Procrustes, linear CKA,
    or distances between samples."""
    distill_shrinkage: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Shrinkage of the batch covariances inside the distillation loss."""
    steps: Annotated[int, Field(ge=0)] = 400
    """Optimiser steps; 0 leaves the network untrained."""
    batch_windows: Annotated[int, Field(ge=1)] = 32
    """Windows in a batch of one replicate."""
    learning_rate: Positive = 6e-3
    """Peak learning rate of Adam, cosine to a tenth."""

    @property
    def kind(self) -> NeuronKind:
        """What is known of its kind of neuron."""
        return NEURONS[self.neuron]

    def longest(self, name: str) -> float:
        """Return a time constant, or that of the slowest type where types have their own."""
        each: tuple[float, ...] = getattr(self, f"type_{name}", ()) or (getattr(self, name),)
        return max(each)

    @property
    def num_excitatory(self) -> int:
        """Excitatory neurons; the others inhibit."""
        return round(self.excitatory_fraction * self.num_neurons)

    @property
    def missing_sign(self) -> str:
        """Why the neurons would all be of one sign; empty where they are not."""
        if 0 < self.num_excitatory < self.num_neurons:
            return ""
        return (
            "at least one neuron of each sign must hold, but excitatory_fraction = "
            f"{self.excitatory_fraction} of {self.num_neurons} neurons gives {self.num_excitatory} "
            "excitatory ones; use more neurons or a less extreme fraction"
        )

    @property
    def is_recurrent(self) -> bool:
        """Whether neurons are connected with one another."""
        return self.recurrence != "none" and self.connection_prob > 0 and self.recurrent_gain > 0

    @property
    def missing_balance(self) -> str:
        """Why its signs and counts cannot give `ei_balance`; empty where it is free or they can."""
        if not self.ei_balance or not self.kind.spikes:
            return ""
        inhibits = self.is_recurrent and self.initial_inhibitory_gain > 0
        excites = self.is_recurrent
        if self.ei_of == "currents" and self.input_gain and self.input_prob and self.input_share:
            excites = True
            inhibits = inhibits or self.input_signs != "excitatory"
        if excites and inhibits:
            return ""
        lacking = "no synapse is inhibitory" if excites else "there is no synapse"
        of_what = "recurrent weights" if self.ei_of == "weights" else "currents"
        return (
            f"ei_balance = {self.ei_balance:g} of {of_what} must be held by excitatory and "
            f"inhibitory ones, but {lacking} (recurrence = '{self.recurrence}', connection_prob = "
            f"{self.connection_prob:g}, initial_inhibitory_gain = {self.initial_inhibitory_gain:g},"
            f" input_signs = '{self.input_signs}'); connect them, or set ei_balance = 0"
        )

    @property
    def num_steps(self) -> int:
        """Optimiser steps it takes; the linear readout has nothing to train."""
        return self.steps if self.kind.is_trained else 0

    @model_validator(mode="before")
    @classmethod
    def _earlier_names(cls, table: Any) -> Any:
        if not isinstance(table, Mapping) or not table.keys() & RENAMED.keys():
            return table
        twice = [old for old, new in RENAMED.items() if old in table and new in table]
        if twice:
            raise ValueError(
                f"'{twice[0]}' is now called '{RENAMED[twice[0]]}', but both are given; leave one "
                "out."
            )
        return {RENAMED.get(key, key): value for key, value in table.items()}

    @model_validator(mode="after")
    def _backend_has_it(self) -> StudentSettings:
        if self.backend != "snntorch" or not self.kind.spikes:
            return self
        lacking = [
            f"{name} = {getattr(self, name)!r}"
            for name, has in (
                ("neuron", self.neuron == "lif"),
                ("adaptation", self.adaptation == 0),
                ("type_adaptation", not any(self.type_adaptation)),
                ("refractory_ms", self.refractory_ms == 0),
                ("delays_ms", not any(self.delays_ms)),
                ("surrogate", self.surrogate in SNNTORCH_SURROGATES),
            )
            if not has
        ]
        if lacking:
            raise ValueError(
                "backend = 'snntorch' must be given what snntorch's Leaky and Synaptic have, LIF "
                "neurons without adaptation, refractory period and delays and a surrogate of "
                f"{' or '.join(SNNTORCH_SURROGATES)}, but got {', '.join(lacking)}; leave backend "
                "out."
            )
        return self

    @field_validator("excitatory_fraction")
    @classmethod
    def _is_a_fraction(cls, value: float) -> float:
        if not 0 < value < 1:
            ratio = f" For a {value:g}:1 ratio write {value / (1 + value):g}." if value > 1 else ""
            raise ValueError(f"0 < excitatory_fraction < 1 must hold, but got {value}.{ratio}")
        return value

    @field_validator("delays_ms")
    @classmethod
    def _delays_are_ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] <= value[1] <= LONGEST_DELAY_MS:
            raise ValueError(
                f"low <= high <= {LONGEST_DELAY_MS:g} must hold, but got (low={value[0]}, "
                f"high={value[1]})."
            )
        return value

    @field_validator("type_tau_mem_ms", "type_adaptation", "type_connection_prob")
    @classmethod
    def _one_for_each_type(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        rows = [value, *(one for one in value if isinstance(one, tuple))]
        if value and any(len(row) != len(CELL_TYPES) for row in rows):
            shape = " rows of 3 numbers" if len(rows) > 1 else " numbers"
            raise ValueError(
                f"{len(CELL_TYPES)}{shape} must be given, of {', '.join(CELL_TYPES)} neurons, but "
                f"got {[list(one) if isinstance(one, tuple) else one for one in value]}."
            )
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
        "input_gain",
        "input_prob",
        "input_share",
        "excitatory_fraction",
        "sst_share",
        "type_tau_mem_ms",
        "type_adaptation",
        "type_connection_prob",
        "connection_reach",
        "delays_ms",
        "initial_inhibitory_gain",
        "initially_balanced",
        "ei_balance",
        "recurrent_gain",
        "connection_prob",
        "tau_mem_ms",
        "tau_syn_ms",
        "adaptation",
        "tau_adapt_ms",
        "refractory_ms",
        "threshold",
        "surrogate_slope",
        "rate_weight",
        "rate_band_hz",
        "homeostasis",
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
