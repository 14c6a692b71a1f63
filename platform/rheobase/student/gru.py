"""A gated recurrent network without spikes: what as many units reach without constraints."""

# Shape legend: T bins, R replicates, B windows, N units, M gated units.

from __future__ import annotations

import torch
from torch import Tensor

NUM_GATES = 3  # reset, update, candidate: columns of each weight matrix, M each


def gru_states(counts: Tensor, input_weights: Tensor, bias: Tensor, recurrent: Tensor) -> Tensor:
    """Return the states (R, T, B, M) of gated recurrent units that start at 0.

    Parameters
    ----------
    counts
        (R, T, B, N).
    input_weights, bias, recurrent
        (R, N, 3 M), (R, 3 M), (R, M, 3 M) [pre, post] of the three gates in torch's order.

    Notes
    -----
    `torch.gru` (Cho et al. 2014) without its second bias, one network after the other, so that a
    network's numbers do not depend on those beside it.
    """
    states = []
    for r in range(len(bias)):
        weights = input_weights[r].T.contiguous(), recurrent[r].T.contiguous()
        biases = bias[r].clone(), torch.zeros_like(bias[r])
        start = counts.new_zeros(1, counts.shape[2], recurrent.shape[1])
        # Layers, dropout, training, both directions, batch first.
        layout = (1, 0.0, True, False, False)
        found, _ = torch.gru(counts[r].clone(), start, [*weights, *biases], True, *layout)
        states.append(found)
    return torch.stack(states)
