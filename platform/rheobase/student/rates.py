"""The homeostatic rate penalty: two-sided, for every neuron."""

# Shape legend: T bins, R replicates, B windows, M neurons.

from __future__ import annotations

from torch import Tensor


def rate_penalty(spikes: Tensor, bin_ms: float, low_hz: Tensor, high_hz: Tensor) -> Tensor:
    r"""Return each replicate's mean squared distance of its neurons' rates from a band.

    Parameters
    ----------
    spikes
        (R, T, B, M).
    bin_ms
        Width of a bin.
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
    rates = spikes.mean(dim=(1, 2)) * (1000 / bin_ms)
    return ((low - rates).relu().square() + (rates - high).relu().square()).mean(dim=-1)
