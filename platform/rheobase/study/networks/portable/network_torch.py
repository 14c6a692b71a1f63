"""A network that rheobase trained, by itself: it needs PyTorch and NumPy alone.

    from network_torch import load

    network = load("seed-3.network.npz")
    counts = network.counts_of(spike_times_s, 0.0, 60.0)  # spikes of each unit of network.unit_id
    spikes = network(counts)
    latents = network.latents(network.features(spikes))

The archive holds plain arrays: nothing in it is unpickled. On a CPU the spikes are those of
rheobase, bit for bit.
"""

# Shape legend: B windows, T bins, N units, M neurons, D latent dimensions.

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

SCHEMA = 2  # the newest that is read; 1 where spikes take a bin
Arrays = Mapping[str, Any]


class State(NamedTuple):
    """What LIF neurons carry from one bin to the next, each (B, M).

    `recent` are the spikes of the last bins, as many as a delay looks back, the latest first.
    """

    current: Tensor
    potential: Tensor
    trace: Tensor
    waits: Tensor
    recent: tuple[Tensor, ...]

    @property
    def spikes(self) -> Tensor:
        """Return those of the last bin."""
        return self.recent[0]


class Summed(nn.Linear):
    """A linear layer that adds the rows of what is not 0 in order, as rheobase does.

    A matrix product adds in an order of its own, and a last digit decides now and then whether a
    neuron fires. Where a gradient is to flow into what it is given, it is a matrix product.
    """

    def forward(self, given: Tensor) -> Tensor:
        """Return (…, out) of given (…, in)."""
        if given.requires_grad:
            return super().forward(given)
        rows = given.reshape(-1, self.in_features)
        row, column = rows.nonzero(as_tuple=True)
        often = rows[row, column].to(self.weight.dtype)
        total = self.weight.new_zeros(len(rows), self.out_features)
        total = total.index_add(0, row, often[:, None] * self.weight.T[column])
        if self.bias is not None:
            total = total + self.bias
        return total.view(*given.shape[:-1], self.out_features)


class Network(nn.Module):
    """What networks of every kind hold: units, width of a bin, and how they are read out.

    Attributes
    ----------
    unit_id
        (N,) the units whose counts it takes, in this order.
    bin_ms
        Width of a bin.
    settings
        The [student] table that it was trained with.
    """

    dale_sign: Tensor
    readout_weights: Tensor
    readout_offset: Tensor

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()
        self.unit_id = np.asarray(arrays["unit_id"])
        self.bin_ms = float(arrays["bin_ms"])
        self.settings: dict[str, Any] = json.loads(str(arrays["settings"]))
        self.readout_decay = float(arrays["readout_decay"])
        for name in ("dale_sign", "readout_weights", "readout_offset"):
            self.register_buffer(name, torch.from_numpy(np.array(arrays[name])))

    def counts_of(self, spike_times_s: Sequence[Any], start_s: float, stop_s: float) -> Tensor:
        """Return counts (T, N) of spikes, one array of times for each unit of `unit_id`."""
        if len(spike_times_s) != len(self.unit_id):
            raise ValueError(
                f"spikes of the {len(self.unit_id)} units of unit_id must be given, in its order, "
                f"but got {len(spike_times_s)}; give an empty array for a unit that is missing"
            )
        if not stop_s > start_s:
            raise ValueError(f"stop_s must be later than start_s, but got {start_s} to {stop_s}")
        bin_s = self.bin_ms / 1000
        num_bins = int(np.floor((stop_s - start_s) / bin_s + 1e-9))
        counts = np.zeros((num_bins, len(self.unit_id)), np.uint8)
        for unit, times in enumerate(spike_times_s):
            at = np.floor((np.asarray(times, np.float64) - start_s) / bin_s).astype(np.int64)
            inside = np.bincount(at[(at >= 0) & (at < num_bins)], minlength=num_bins)
            counts[:, unit] = np.minimum(inside, 255)
        return torch.from_numpy(counts)

    def features(self, activity: Tensor) -> Tensor:
        """Return spikes (T, M) or (B, T, M) through the causal filter that CCA sees."""
        smooth = torch.zeros_like(activity[..., 0, :])
        kept = []
        for now in activity.unbind(-2):
            smooth = self.readout_decay * smooth + (1 - self.readout_decay) * now
            kept.append(smooth)
        return torch.stack(kept, dim=-2)

    def latents(self, features: Tensor) -> Tensor:
        """Return the teacher's latents (…, D) as a linear map reads them from features (…, M)."""
        return features.to(self.readout_weights) @ self.readout_weights.T + self.readout_offset

    def _windows(self, counts: Any) -> Tensor:
        given = torch.as_tensor(counts)
        if given.ndim not in (2, 3) or given.shape[-1] != len(self.unit_id):
            raise ValueError(
                f"counts must be (bins, {len(self.unit_id)}) or (windows, bins, "
                f"{len(self.unit_id)}), a column for each unit of unit_id, but have shape "
                f"{tuple(given.shape)}"
            )
        if not bool(torch.isfinite(given).all()):
            raise ValueError("counts must be finite, but some are NaN or infinite")
        return given if given.ndim == 3 else given[None]


class Lif(Network):
    """A recurrent network of leaky integrate-and-fire neurons.

    With X what the counts give and W the recurrent weights: I = alpha I + X + W S,
    U = beta U + I - theta S, A = rho A + (1 - rho) S, and a neuron fires where U > theta + g A
    and no refractory period goes on; S is what fired in the bin before, and in W S what fired as
    many bins before as each neuron's spikes are delayed.
    """

    beta: Tensor
    alpha: Tensor
    threshold: Tensor
    adaptation: Tensor
    rho: Tensor
    refractory: Tensor
    delays: Tensor

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        num_neurons, num_units = arrays["input_weights"].shape
        self.input = Summed(num_units, num_neurons)
        self.recurrent = Summed(num_neurons, num_neurons, bias=False)
        take_weights(self.input, self.recurrent, arrays)
        for name in ("beta", "alpha", "threshold", "adaptation", "rho", "refractory"):
            self.register_buffer(name, torch.from_numpy(np.array(arrays[name])))
        delays = np.array(arrays.get("delays", np.ones(num_neurons, np.int64)))
        self.register_buffer("delays", torch.from_numpy(delays))
        self.longest = int(delays.max())

    def start(self, num_windows: int = 1) -> State:
        """Return the state at rest."""
        rest = self.beta.new_zeros(num_windows, len(self.beta))
        return State(rest, rest, rest, rest.long(), (rest,) * self.longest)

    def step(self, counts: Tensor, state: State) -> State:
        """Return the state after one more bin of counts (B, N); its `spikes` are that bin's."""
        return self._after(self.input(counts), state)

    def _after(self, given: Tensor, state: State) -> State:
        fired = state.spikes
        arriving = fired
        if self.longest > 1:
            sent = (self.delays - 1).expand(1, *fired.shape)
            arriving = torch.stack(state.recent).gather(0, sent)[0]
        current = self.alpha * state.current + (given + self.recurrent(arriving))
        potential = self.beta * state.potential + current - self.threshold * fired
        trace = self.rho * state.trace + (1 - self.rho) * fired
        distance = potential - (self.threshold + self.adaptation * trace)
        fires = (distance > 0) & (state.waits == 0)
        waits = torch.where(fires, self.refractory, (state.waits - 1).clamp(min=0))
        recent = fires.to(potential), *state.recent[:-1]
        return State(current, potential, trace, waits, recent)

    @torch.no_grad()
    def forward(self, counts: Any) -> Tensor:
        """Return spikes (T, M) of counts (T, N), or (B, T, M) of (B, T, N), from rest."""
        windows = self._windows(counts)
        state = self.start(len(windows))
        spikes = []
        for given in self.input(windows).unbind(1):
            state = self._after(given, state)
            spikes.append(state.spikes)
        return torch.stack(spikes, dim=1).view(*np.shape(counts)[:-1], -1)


class Gated(Network):
    """Gated recurrent units, the control without spikes; `features` are their states."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        num_units, num_neurons = arrays["input_weights"].shape[1], len(arrays["dale_sign"])
        self.gru = nn.GRU(num_units, num_neurons)
        weights = {
            "weight_ih_l0": arrays["input_weights"],
            "weight_hh_l0": arrays["recurrent_weights"],
            "bias_ih_l0": arrays["bias"],
            "bias_hh_l0": np.zeros_like(arrays["bias"]),
        }
        self.gru.load_state_dict({n: torch.from_numpy(np.array(w)) for n, w in weights.items()})

    @torch.no_grad()
    def forward(self, counts: Any) -> Tensor:
        """Return states (T, M) of counts (T, N), or (B, T, M) of (B, T, N), from 0."""
        windows = self._windows(counts).to(self.readout_weights)
        states: Tensor = self.gru(windows.transpose(0, 1).contiguous())[0].transpose(0, 1)
        return states.reshape(*np.shape(counts)[:-1], -1)

    def features(self, activity: Tensor) -> Tensor:
        """Return the states as they are."""
        return activity


def take_weights(given: nn.Linear, recurrent: nn.Linear, arrays: Arrays) -> None:
    """Put the weights of an archive into the two layers of a network."""
    with torch.no_grad():
        given.weight.copy_(torch.from_numpy(np.array(arrays["input_weights"])))
        given.bias.copy_(torch.from_numpy(np.array(arrays["bias"])))
        recurrent.weight.copy_(torch.from_numpy(np.array(arrays["recurrent_weights"])))


def read(path: str | Path) -> dict[str, Any]:
    """Return the arrays of an archive; nothing is unpickled."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: an archive of arrays must be there, but none is")
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    found = arrays.get("schema")
    if found is None or int(found) > SCHEMA:
        what = "names none" if found is None else f"is of schema {int(found)}"
        raise ValueError(
            f"{path}: a network of schema {SCHEMA} must be given, but this archive {what}; take "
            "network_torch.py from the same export"
        )
    return arrays


def load(path: str | Path) -> Lif | Gated:
    """Return the network of an archive, frozen."""
    return of_arrays(read(path))


def of_arrays(arrays: Arrays) -> Lif | Gated:
    """Return the network that the arrays of an archive make, frozen."""
    kinds: dict[str, type[Lif] | type[Gated]] = {"lif": Lif, "gru": Gated}
    neuron = str(arrays["neuron"])
    if neuron not in kinds:
        raise ValueError(f"neurons must be one of {', '.join(kinds)}, but are {neuron}")
    network = kinds[neuron](arrays)
    network.requires_grad_(requires_grad=False)
    return network
