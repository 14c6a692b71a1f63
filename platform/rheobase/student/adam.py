"""Adam with a learning rate for each packed network."""

# Shape legend: R replicates.

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Kingma & Ba 2015


def adam_step_(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    learning_rates: Tensor,
    step: int,
) -> None:
    """Change weights (R, ...) and their moments in place, as `torch.optim.Adam` would.

    Parameters
    ----------
    weights, gradients
        Of each trainable array.
    first, second
        Moments of the gradients, zero before the first step.
    learning_rates
        (R,) float64.
    step
        Number of this step, from 1.

    Notes
    -----
    torch's takes one learning rate for a whole tensor; with equal ones the numbers are the
    same bit for bit (Kingma & Ba 2015).
    """
    size = -learning_rates / (1 - BETA_1**step)
    spread = math.sqrt(1 - BETA_2**step)
    with torch.no_grad():
        for weight, gradient, mean, square in zip(weights, gradients, first, second, strict=True):
            mean.lerp_(gradient, 1 - BETA_1)
            square.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
            change = mean * size.to(mean).view(-1, *[1] * (mean.ndim - 1))
            weight.add_(change.div_((square.sqrt() / spread).add_(EPSILON)))
