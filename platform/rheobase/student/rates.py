"""Homeostasis of each neuron's firing, two-sided: of rates by penalty or bias, of irregularity."""

# Shape legend: T bins, R replicates, B windows, M neurons.

from __future__ import annotations

import torch
from torch import Tensor

LEAST_INTERVALS = 10  # as `measures.firing.cv_isi` asks


def rate_penalty(rates_hz: Tensor, low_hz: Tensor, high_hz: Tensor) -> Tensor:
    r"""Return each replicate's mean squared distance of its neurons' rates from a band.

    Parameters
    ----------
    rates_hz
        (R, M), of each neuron, or (R, B M), of each in each window.
    low_hz, high_hz
        (R,) ends of the band of rates that cost nothing.

    Returns
    -------
    (R,) in Hz².

    Notes
    -----
    :math:`\frac{1}{M} \sum_m \mathrm{relu}(l - r_m)^2 + \mathrm{relu}(r_m - h)^2`. The mean is
    over neurons, of each neuron's own cost: half silent and half at 40 Hz costs much, though
    the population's mean rate is inside the band.
    """
    low, high = low_hz[:, None], high_hz[:, None]
    return ((low - rates_hz).relu().square() + (rates_hz - high).relu().square()).mean(dim=-1)


def keep_rates_(
    bias: Tensor, rates: Tensor, low: Tensor, high: Tensor, homeostasis: Tensor
) -> None:
    r"""Move each neuron's bias against what its rate lies outside a band, in place.

    Parameters
    ----------
    bias
        (R, M).
    rates
        (R, M) mean spikes in a bin.
    low, high
        (R,) ends of the band, in spikes a bin.
    homeostasis
        (R,) how far it moves for a spike a bin.

    Notes
    -----
    :math:`b_m \leftarrow b_m - \eta (r_m - \mathrm{clip}(r_m, l, h))`: intrinsic plasticity
    (Desai et al. 1999), which leaves the weights to what is learned. A penalty moves weights too,
    and Adam all of a neuron's weights by the same step, so that it drowns what a batch says of
    the latents.

    Examples
    --------
    >>> bias = torch.zeros(1, 3)
    >>> band = torch.tensor([0.05]), torch.tensor([0.15])
    >>> keep_rates_(bias, torch.tensor([[0.0, 0.1, 0.25]]), *band, torch.tensor([2.0]))
    >>> bias
    tensor([[ 0.1000,  0.0000, -0.2000]])
    """
    beyond = rates - torch.minimum(torch.maximum(rates, low[:, None]), high[:, None])
    bias.sub_(homeostasis[:, None] * beyond)


def irregularity_penalty(spikes: Tensor, low_cv: Tensor, high_cv: Tensor) -> Tensor:
    r"""Return each replicate's mean squared distance of its neurons' CV of intervals from a band.

    Parameters
    ----------
    spikes
        (R, T, B, M); several in a bin count as one.
    low_cv, high_cv
        (R,) ends of the band of coefficients of variation of inter-spike intervals that cost
        nothing.

    Returns
    -------
    (R,), :math:`\frac{1}{|A|} \sum_{m \in A} \mathrm{relu}(l - c_m)^2 + \mathrm{relu}(c_m -
    h)^2`; 0 where A, the neurons with at least `LEAST_INTERVALS` intervals in the batch, is
    empty.

    Notes
    -----
    Intervals are sums of products of spikes: with the age :math:`a_{t+1} = (1 - s_t) a_t + 1` of
    the last spike, each spike that has a predecessor in its window ends an interval of
    :math:`a_t` bins. So :math:`c^2 = n \sum a^2 / (\sum a)^2 - 1` over the n intervals is exact,
    and has a gradient through the surrogate's. Intervals longer than what is left of a window are
    not seen, so that of neurons with few spikes in a window c is too small. (The Fano factor of
    counts, which for a renewal process tends to c², will not do: after a reset by subtraction
    intervals are correlated, and counts regular where intervals are not.)
    """
    fired = spikes.clamp(max=1)
    age, seen = torch.zeros_like(fired[:, 0]), torch.zeros_like(fired[:, 0])
    sums = [torch.zeros_like(fired[:, 0, 0]) for _ in range(3)]
    for now in fired.unbind(dim=1):
        ended = now * seen
        for power, total in enumerate(sums):
            sums[power] = total + (ended * age**power).sum(dim=1)
        seen, age = seen + now * (1 - seen), age * (1 - now) + 1
    takes_part = (sums[0] >= LEAST_INTERVALS).to(fired)
    square = sums[0] * sums[2] / sums[1].square().clamp(min=1) - 1
    # The floor keeps the root's gradient finite for a clock.
    cv = square.clamp(min=1e-4).sqrt()
    low, high = low_cv[:, None], high_cv[:, None]
    cost = (low - cv).relu().square() + (cv - high).relu().square()
    penalty: Tensor = (cost * takes_part).sum(dim=-1) / takes_part.sum(dim=-1).clamp(min=1)
    return penalty
