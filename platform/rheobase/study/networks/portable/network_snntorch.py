"""A network that rheobase trained, as layers of snntorch: it needs snntorch and network_torch.py.

    from network_snntorch import load

    network = load("seed-3.network.npz")
    spikes = network(counts)  # counts (T, N) of the units of network.unit_id

`input` and `recurrent` are linear layers, `neurons` a Leaky, or a Synaptic where there is a
synaptic current. On a CPU the spikes are those of rheobase, bit for bit. To train it further, say
`network.requires_grad_()`: gradients then flow through snntorch's surrogate, and matrix products.
"""

# Shape legend: B windows, T bins, N units, M neurons.

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import snntorch
import torch
from snntorch import surrogate
from torch import Tensor

from rheobase.study.networks.portable.network_torch import (
    Arrays,
    Network,
    Summed,
    read,
    take_weights,
)

SURROGATES = {"fast_sigmoid": surrogate.fast_sigmoid, "atan": surrogate.atan}
"""Those of rheobase that snntorch has; another one is trained further with its own default."""


class Snntorch(Network):
    """Linear layers and a Leaky or Synaptic of snntorch."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        num_neurons, num_units = arrays["input_weights"].shape
        self.input = Summed(num_units, num_neurons)
        self.recurrent = Summed(num_neurons, num_neurons, bias=False)
        take_weights(self.input, self.recurrent, arrays)
        beta, alpha, threshold = (
            torch.from_numpy(np.array(arrays[name])) for name in ("beta", "alpha", "threshold")
        )
        shape = SURROGATES.get(self.settings["surrogate"])
        spike_grad = shape(self.settings["surrogate_slope"]) if shape else None
        common = {"threshold": threshold, "reset_mechanism": "subtract", "spike_grad": spike_grad}
        self.has_synapse = bool(alpha > 0)
        if self.has_synapse:
            self.neurons = snntorch.Synaptic(alpha=alpha, beta=beta, **common)
        else:
            self.neurons = snntorch.Leaky(beta=beta, **common)

    def forward(self, counts: Any) -> Tensor:
        """Return spikes (T, M) of counts (T, N), or (B, T, M) of (B, T, N), from rest."""
        windows = self._windows(counts)
        fired = self.input.weight.new_zeros(len(windows), self.input.out_features)
        state = (fired,) * (2 if self.has_synapse else 1)
        spikes = []
        for given in self.input(windows).unbind(1):
            fired, *state = self.neurons(given + self.recurrent(fired), *state)
            spikes.append(fired)
        return torch.stack(spikes, dim=1).view(*np.shape(counts)[:-1], -1)


def load(path: str | Path) -> Snntorch:
    """Return the network of an archive, frozen until `requires_grad_`."""
    arrays = read(path)
    has_more = bool(np.any(arrays.get("adaptation", 0))) or int(arrays.get("refractory", 0)) > 0
    has_more = has_more or "delays" in arrays
    if str(arrays["neuron"]) != "lif" or has_more:
        raise ValueError(
            f"{path}: LIF neurons without adaptation, refractory period or delays must be given, "
            "which snntorch has, but these are others; load it with network_torch.py"
        )
    return Snntorch(arrays).requires_grad_(requires_grad=False)
