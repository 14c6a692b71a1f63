"""A gated recurrent network without spikes: what as many units reach without constraints."""

# Shape legend: T bins, R replicates, B windows, N units, M gated neurons.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rheobase.student.inputs import Windows
from rheobase.student.students import Replicate, Students, TrainCounts


def gru_start(
    drawn: Students, train: TrainCounts, replicates: Sequence[Replicate], bin_ms: float
) -> Students:
    """Return untrained networks: recurrent weights of variance 1 / M, inputs of variance 1.

    Parameters
    ----------
    drawn
        R networks whose weights are standard normal.
    train
        Counts that will drive them.
    replicates, bin_ms
        Settings and width of a bin, which change nothing here.
    """
    input_weights = drawn.input_weights / train.spread
    return replace(
        drawn,
        input_weights=input_weights,
        recurrent=drawn.recurrent / math.sqrt(drawn.signs.shape[1]),
        bias=-(train.mean @ input_weights),
        connected=torch.ones_like(drawn.recurrent, dtype=torch.bool),
    )


def gru_activity(
    students: Students, windows: Windows, replicates: Sequence[Replicate], bin_ms: float
) -> Tensor:
    """Return the states (R, T, B, M) of gated networks, as `gru_states` gives them.

    Parameters
    ----------
    students
        R networks.
    windows
        Counts of B windows of T bins for each network.
    replicates, bin_ms
        Settings and width of a bin, which change nothing here.
    """
    counts = windows.dense(students.input_weights.device).to(students.input_weights)
    return gru_states(counts, students.input_weights, students.bias, students.recurrent)


def gru_features(
    states: Tensor, replicates: Sequence[Replicate], bin_ms: float, first: int
) -> tuple[Tensor, Tensor]:
    """Return states (R, T - first, B, M) from bin `first` on, which need no filter; their mean.

    Parameters
    ----------
    states
        (R, T, B, M).
    replicates, bin_ms
        Settings and width of a bin, which change nothing here.
    first
        Bin from which on they are returned.
    """
    return states[:, first:], states[:, first:].mean(dim=(1, 2))


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
        arrays = [*weights, *biases]
        if bias.is_cuda:
            # Of one piece of memory, or cuDNN copies them and warns.
            whole = torch.cat([array.flatten() for array in arrays])
            parts = whole.split([array.numel() for array in arrays])
            arrays = [part.view_as(array) for part, array in zip(parts, arrays, strict=True)]
        start = counts.new_zeros(1, counts.shape[2], recurrent.shape[1])
        # Layers, dropout, training, both directions, batch first.
        layout = (1, 0.0, True, False, False)
        of_network, _ = torch.gru(counts[r].clone(), start, arrays, True, *layout)
        states.append(of_network)
    return torch.stack(states)
