"""What tells neurons of one network apart: their types, places, connections and delays."""

# Shape legend: M neurons; connections are [pre, post].

from __future__ import annotations

import torch
from torch import Tensor

from rheobase.core.seeds import generator
from rheobase.student.settings import CELL_TYPES, StudentSettings


def cell_types(settings: StudentSettings) -> Tensor:
    """Return the type of each neuron (M,), an index into `CELL_TYPES`: in their order.

    Parameters
    ----------
    settings
        Of the network.

    Examples
    --------
    >>> cell_types(StudentSettings(num_neurons=10, sst_share=0.5)).tolist()
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    """
    excitatory, neurons = settings.num_excitatory, settings.num_neurons
    num_sst = round(settings.sst_share * (neurons - excitatory))
    numbers = torch.tensor([excitatory, neurons - excitatory - num_sst, num_sst])
    return torch.arange(len(CELL_TYPES)).repeat_interleave(numbers)


def of_neurons(settings: StudentSettings, name: str, type_name: str) -> Tensor:
    """Return a setting of each neuron (M,), float64.

    Parameters
    ----------
    settings
        Of the network.
    name
        The setting that all neurons share.
    type_name
        The one with a value for each of `CELL_TYPES`, which holds where it is not empty.
    """
    of_types = getattr(settings, type_name)
    if not of_types:
        return torch.full((settings.num_neurons,), getattr(settings, name), dtype=torch.float64)
    return torch.tensor(of_types, dtype=torch.float64)[cell_types(settings)]


def places(settings: StudentSettings, seed: int) -> Tensor:
    """Return where neurons lie, (M, 2) float64 in the unit square, drawn by the root seed.

    Parameters
    ----------
    settings, seed
        Of the network.
    """
    return torch.from_numpy(generator(seed, "student", "places").random((settings.num_neurons, 2)))


def connection_probs(settings: StudentSettings, seed: int) -> Tensor | float:
    r"""Return with what probability neurons are connected: (M, M), or one number for all.

    Parameters
    ----------
    settings, seed
        Of the network.

    Notes
    -----
    `connection_prob`, times the entry of `type_connection_prob` for the types of the two, times
    :math:`\exp(-d^2 / 2 \sigma^2)` where :math:`\sigma` = `connection_reach` is not 0. Opposite
    edges of the square of `places` meet, so that d has no border, and no neuron fewer neighbours.
    """
    probs: Tensor | float = settings.connection_prob
    if settings.type_connection_prob:
        table = torch.tensor(settings.type_connection_prob, dtype=torch.float64)
        types = cell_types(settings)
        probs = probs * table[types][:, types]
    if settings.connection_reach:
        at = places(settings, seed)
        apart = (at[:, None] - at).abs()
        square = torch.minimum(apart, 1 - apart).square().sum(dim=-1)
        probs = probs * torch.exp(-square / (2 * settings.connection_reach**2))
    return probs


def mean_connection_prob(settings: StudentSettings, seed: int) -> float:
    """Return the mean of `connection_probs` over pairs of two neurons.

    Parameters
    ----------
    settings, seed
        Of the network.
    """
    probs = connection_probs(settings, seed)
    if isinstance(probs, float):
        return probs
    pairs = settings.num_neurons * (settings.num_neurons - 1)
    return float((probs.sum() - probs.trace()) / pairs)


def delays(settings: StudentSettings, seed: int, bin_ms: float) -> Tensor:
    """Return after how many bins each neuron's spikes reach the others, (M,) int64.

    Parameters
    ----------
    settings, seed
        Of the network.
    bin_ms
        Width of a bin, the least delay.
    """
    low, high = settings.delays_ms
    neurons = settings.num_neurons
    if high <= bin_ms:
        return torch.ones(neurons, dtype=torch.int64)
    drawn_ms = generator(seed, "student", "delays").uniform(low, high, neurons)
    return torch.from_numpy(drawn_ms / bin_ms).round().clamp(min=1).long()
