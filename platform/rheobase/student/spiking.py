"""What networks of spiking neurons share: how they start, and the filter that reads them out."""

# Shape legend: T bins, R replicates, B windows, N units, M neurons.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rheobase.student.anatomy import mean_connection_prob
from rheobase.student.lif import membrane_decay, membrane_decays, smoothed
from rheobase.student.students import Replicate, Students, TrainCounts, of_each

INPUT_STD = 0.4  # of the threshold: with INPUT_MEAN about 10 Hz before training
INPUT_MEAN = 0.1  # of the threshold, a bin


def spiking_start(
    drawn: Students, train: TrainCounts, replicates: Sequence[Replicate], bin_ms: float
) -> Students:
    """Return untrained networks of weights that were drawn.

    Parameters
    ----------
    drawn
        R networks whose weights are standard normal.
    train
        Counts that will drive them.
    replicates
        Their settings.
    bin_ms
        Width of a bin.

    Notes
    -----
    Input weights are scaled so that train counts drive every neuron with the same mean and
    variance, whatever its synapse. Recurrent weights are half-normal with the sign of the
    presynaptic neuron, scaled so that their sum's variance does not depend on how many pairs are
    connected; inhibitory ones are larger by f / (1 - f) where `initially_balanced`, so that
    excitation and inhibition balance at equal rates, times `initial_inhibitory_gain`.
    """
    signs, neurons = drawn.signs, drawn.signs.shape[1]
    threshold = of_each(replicates, "threshold")[:, None]
    beta = membrane_decays(replicates, bin_ms)
    synaptic = [[membrane_decay(bin_ms, own.tau_syn_ms)] for _, own in replicates]
    alpha = torch.tensor(synaptic, dtype=torch.float64)
    # The variance of a membrane behind a synapse, white noise given, over that without one.
    wider = (1 + alpha * beta) / ((1 - alpha**2) * (1 - alpha * beta))
    size = threshold * INPUT_STD / train.spread / wider.sqrt()
    input_weights = drawn.input_weights * size[:, None].float()
    actual = (signs > 0).float().mean(dim=1, keepdim=True).double()
    is_balanced = of_each(replicates, "initially_balanced")[:, None]
    balance = torch.where(is_balanced, actual / (1 - actual), 1.0)
    inhibitory = of_each(replicates, "initial_inhibitory_gain")[:, None] * balance
    scale = torch.where(signs > 0, 1.0, inhibitory.float()) * signs
    probs = [[mean_connection_prob(own, seed)] for seed, own in replicates]
    kept = torch.tensor(probs, dtype=torch.float64) * neurons
    kept = kept.clamp(min=1) * wider
    gain = of_each(replicates, "recurrent_gain")[:, None] * threshold / kept.sqrt()
    recurrent = drawn.recurrent.abs() * scale[:, :, None] * drawn.connected
    return replace(
        drawn,
        input_weights=input_weights,
        recurrent=recurrent * gain[:, None].float(),
        bias=(threshold * INPUT_MEAN * (1 - alpha)).float() - (train.mean @ input_weights),
    )


def filtered_spikes(
    spikes: Tensor, replicates: Sequence[Replicate], bin_ms: float, first: int
) -> tuple[Tensor, Tensor]:
    """Return spikes through the readout's filter, and their mean.

    Parameters
    ----------
    spikes
        (R, T, B, M), or counts of units.
    replicates
        Whose readout it is.
    bin_ms
        Width of a bin.
    first
        Bin from which on they are returned.

    Returns
    -------
    Features (R, T - first, B, M), and the mean spikes in a bin (R, M).
    """
    decays = [membrane_decay(bin_ms, own.tau_readout_ms) for _, own in replicates]
    return smoothed(spikes, torch.tensor(decays, dtype=torch.float64), first)
