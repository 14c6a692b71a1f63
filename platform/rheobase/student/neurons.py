"""What is known of each kind of neuron before a network of it is made."""

# Apart from `dynamics`, which needs torch: a study file is read and planned without it.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

NeuronName = Literal["lif", "izhikevich", "gru", "linear"]


@dataclass(frozen=True, kw_only=True)
class NeuronKind:
    """A kind of neuron, as settings, plans and measures need to know it.

    Attributes
    ----------
    spikes
        Whether it has spikes, and so rates and Dale's principle.
    is_trained
        Whether there is anything to train.
    num_gates
        Columns of each weight matrix for a neuron.
    forgets_rest_over
        Settings whose time constants add up to that with which it forgets that a window began at
        rest. Empty: a window of any length will do.
    s_per_bin
        CPU seconds of a training step for a neuron and a bin of its batch, above an LIF neuron's;
        from the rows of ``python benchmarks/plan.py``, to a factor of two on one core.
    num_activity
        Arrays of bins, windows and neurons that live at the peak of a step, the backward pass of
        the dynamics: spikes, distances, potentials, features, gradients, and copies in another
        order of axes. Measured as the rise of a process's peak memory, as its test does it.
    """

    spikes: bool
    is_trained: bool
    num_gates: int
    forgets_rest_over: tuple[str, ...]
    s_per_bin: float
    num_activity: int


NEURONS: Mapping[NeuronName, NeuronKind] = {
    "lif": NeuronKind(
        spikes=True,
        is_trained=True,
        num_gates=1,
        forgets_rest_over=("tau_mem_ms", "tau_syn_ms"),
        s_per_bin=0.0,
        num_activity=12,
    ),
    "izhikevich": NeuronKind(
        spikes=True,
        is_trained=True,
        num_gates=1,
        forgets_rest_over=(),
        s_per_bin=0.11e-6,
        num_activity=16,
    ),
    "gru": NeuronKind(
        spikes=False,
        is_trained=True,
        num_gates=3,  # reset, update, candidate
        forgets_rest_over=(),
        s_per_bin=0.17e-6,
        num_activity=16,
    ),
    "linear": NeuronKind(
        spikes=False,
        is_trained=False,
        num_gates=1,
        forgets_rest_over=(),
        s_per_bin=0.0,
        num_activity=0,
    ),
}
