"""The plain loop of snntorch over bins, which the compiled loops are held to."""

# Shape legend: T bins, R replicates, B windows, N units, M neurons.

from __future__ import annotations

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor

from rheobase.student.inputs import Windows
from rheobase.student.lif import Cells

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
    learnt = input_weights, bias, recurrent, cells.beta
    trains = torch.is_grad_enabled() and any(one.requires_grad for one in learnt)
    product = torch.matmul if trains else summed_in_order
    each = []
    for r, counts in enumerate(windows.dense(bias.device)):
        # Copies, for how a product rounds depends on where arrays lie.
        given, returning = input_weights[r].clone(), recurrent[r].clone()
        neurons, num_states = _neurons(cells, r)
        fired, *state = bias.new_zeros(1 + num_states, counts.shape[1], bias.shape[1])
        spikes = []
        for fed in product(counts.flatten(0, 1).to(bias), given).split(counts.shape[1]):
            fired, *state = neurons(fed + bias[r] + product(fired, returning), *state)
            fired = fired.to(bias)
            spikes.append(fired)
        each.append(torch.stack(spikes))
    return torch.stack(each)


def _neurons(cells: Cells, index: int) -> tuple[snntorch.SpikingNeuron, int]:
    """Return the neurons of one network, and how many arrays their state is."""
    common = {
        "beta": cells.beta[index],
        "threshold": cells.threshold[index].to(cells.beta),
        "reset_mechanism": "subtract",
        "spike_grad": SURROGATES[cells.surrogate](float(cells.slope[index])),
    }
    alpha = cells.alpha[index].to(cells.beta)
    has_synapse = bool(alpha > 0)
    neurons = snntorch.Synaptic(alpha=alpha, **common) if has_synapse else snntorch.Leaky(**common)
    snntorch.SpikingNeuron.instances.pop()  # snntorch keeps every neuron that was ever made
    return neurons, 1 + has_synapse


def summed_in_order(rows: Tensor, weights: Tensor) -> Tensor:
    """Return rows (B, N) times weights (N, M), what is not 0 added in order, as compiled."""
    row, column = rows.nonzero(as_tuple=True)
    total = weights.new_zeros(len(rows), weights.shape[1])
    return total.index_add(0, row, rows[row, column, None] * weights[column])
