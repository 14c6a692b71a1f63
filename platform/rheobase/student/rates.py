"""Homeostatic penalties on every neuron's firing, two-sided: of its rate, its irregularity."""

# Shape legend: T bins, R replicates, B windows, M neurons, K stretches of a window.

from __future__ import annotations

import torch
from torch import Tensor

STRETCH_MS = 500.0  # at 5 Hz and more a mean of 2 intervals, from where counts tell of intervals
LEAST_SPIKES = 2.0  # in a stretch, on average


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


def irregularity_penalty(spikes: Tensor, bin_ms: float, low_cv: Tensor, high_cv: Tensor) -> Tensor:
    r"""Return each replicate's mean squared distance of its neurons' Fano factors from a band.

    Parameters
    ----------
    spikes
        (R, T, B, M), counts in each bin.
    bin_ms
        Width of a bin.
    low_cv, high_cv
        (R,) ends of the band of coefficients of variation of inter-spike intervals that cost
        nothing.

    Returns
    -------
    (R,), :math:`\frac{1}{|A|} \sum_{m \in A} \mathrm{relu}(l^2 - F_m)^2 +
    \mathrm{relu}(F_m - h^2)^2`; 0 where A is empty or a window has fewer than 2 bins.

    Notes
    -----
    Intervals have no gradient; counts do. Of a stationary renewal process the Fano factor F of
    the counts in long stretches, variance over mean, tends to CV² (Cox 1962; Nawrot et al.
    2008). Each window is cut into as many stretches side by side of at least `STRETCH_MS` as
    fit, two at least; the variance is that between the stretches of one window (K - 1 in the
    denominator), averaged over windows, so that a rate that differs from window to window does
    not count as irregularity. A holds the neurons with at least `LEAST_SPIKES` in a mean
    stretch: with fewer, F goes to 1 whatever the intervals are.

    It is not CV² where stretches hold few spikes (F leans to 1: of gamma-distributed intervals
    in two stretches by about (1 - CV⁴) / 4 over the mean count), where the rate changes within
    a window (F grows, by more than CV does), where successive intervals are correlated, as by
    adaptation (F is smaller or larger, CV the same), or where windows are few: B windows give
    B (K - 1) degrees of freedom, and the noise of F costs a little near the ends of the band.
    """
    num_bins = spikes.shape[1]
    num_stretches = max(2, int(num_bins * bin_ms // STRETCH_MS))
    width = num_bins // num_stretches
    if width == 0:
        return torch.zeros_like(low_cv)
    used = spikes[:, : num_stretches * width]
    stretches = used.unflatten(1, (num_stretches, width)).sum(dim=2)
    mean = stretches.mean(dim=(1, 2))
    variance = stretches.var(dim=1).mean(dim=1)
    takes_part = (mean >= LEAST_SPIKES).to(mean)
    fano = variance / mean.clamp(min=LEAST_SPIKES)
    low, high = low_cv.square()[:, None], high_cv.square()[:, None]
    cost = (low - fano).relu().square() + (fano - high).relu().square()
    penalty: Tensor = (cost * takes_part).sum(dim=-1) / takes_part.sum(dim=-1).clamp(min=1)
    return penalty
