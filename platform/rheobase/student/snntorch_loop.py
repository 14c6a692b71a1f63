"""The plain loop of snntorch over bins, which the compiled loops are held to."""

# Shape legend: T bins, R replicates, B windows, N units, M neurons.

from __future__ import annotations

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor

from rheobase.student.inputs import Windows
from rheobase.student.lif import Cells, currents_of

SURROGATES = {"fast_sigmoid": surrogate.fast_sigmoid, "atan": surrogate.atan}


def snntorch_spikes(
    windows: Windows, input_weights: Tensor, bias: Tensor, recurrent: Tensor, cells: Cells
) -> Tensor:
    """Return the spikes of recurrent networks of snntorch's Leaky or Synaptic, from rest.

    Parameters
    ----------
    windows
        Counts of B windows of T bins for each of R networks.
    input_weights, bias, recurrent
        (R, N, M), (R, M), (R, M, M) [pre, post].
    cells
        Of the R networks, without adaptation and refractory period.

    Returns
    -------
    (R, T, B, M) spikes, 0.0 or 1.0: of given weights those of `lif.lif_spikes`, bit for bit,
    where no gradient is asked for. Where one is, matrix products round otherwise.
    """
    counts = windows.dense(input_weights.device)
    trains = torch.is_grad_enabled() and recurrent.requires_grad
    currents = (
        currents_of(counts, input_weights, bias)
        if trains
        else torch.stack(
            [
                summed_in_order(fed.flatten(0, 1).to(bias), weights).view(*fed.shape[:2], -1)
                + offset
                for fed, weights, offset in zip(counts, input_weights, bias, strict=True)
            ]
        )
    )
    each = zip(currents, recurrent, range(len(bias)), strict=True)
    return torch.stack([_spikes_of_one(given, inner, cells, r, trains) for given, inner, r in each])


def _spikes_of_one(
    currents: Tensor, recurrent: Tensor, cells: Cells, index: int, trains: bool
) -> Tensor:
    alpha, threshold = (v[index].to(currents) for v in (cells.alpha, cells.threshold))
    common = {
        "beta": cells.beta[index],
        "threshold": threshold,
        "reset_mechanism": "subtract",
        "spike_grad": SURROGATES[cells.surrogate](float(cells.slope[index])),
    }
    has_synapse = bool(alpha > 0)
    neurons = snntorch.Synaptic(alpha=alpha, **common) if has_synapse else snntorch.Leaky(**common)
    snntorch.SpikingNeuron.instances.pop()  # snntorch keeps every neuron that was ever made
    fired = torch.zeros_like(currents[0])
    state = [fired] * (2 if has_synapse else 1)
    spikes = []
    for given in currents:
        returned = fired @ recurrent if trains else summed_in_order(fired, recurrent)
        fired, *state = neurons(given + returned, *state)
        fired = fired.to(currents)
        spikes.append(fired)
    return torch.stack(spikes)


def summed_in_order(rows: Tensor, weights: Tensor) -> Tensor:
    """Return rows (B, N) times weights (N, M), what is not 0 added in order, as compiled."""
    row, column = rows.nonzero(as_tuple=True)
    total = weights.new_zeros(len(rows), weights.shape[1])
    return total.index_add(0, row, rows[row, column, None] * weights[column])
