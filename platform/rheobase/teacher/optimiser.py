"""The optimiser of the read-ins: momentum whose update turns all latent dimensions alike."""

# Shape legend: D latent dimensions, M features of the input.

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

LEAST = 1e-12
"""Share of the largest squared singular value below which a direction of momentum is noise."""


class PolarMomentum(torch.optim.Optimizer):
    """Steps by the polar factor of the momentum of each weight (D, M), D at most M.

    Every latent dimension moves by the same length in a direction of its own. Under Adam the few
    directions in which the gradient is large move, and weak latents wait thousands of steps. A
    weight without a gradient, of a session that the batch does not hold, keeps still.

    Parameters
    ----------
    weights
        Matrices (D, M).
    lr
        Length of each dimension's step.
    momentum
        Share of the momentum that a step keeps.

    Notes
    -----
    `torch.optim.Muon` finds the polar factor of large matrices by iterations in half precision.
    Here D is small, and its Gram matrix has an exact root at a fraction of the time.

    References
    ----------
    Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.9) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                kept = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                weight.sub_(group["lr"] * polar_factor(kept))


def polar_factor(matrix: Tensor) -> Tensor:
    """Return the matrix (D, M) with all its singular values set to one, those of zero kept.

    Examples
    --------
    >>> polar_factor(torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.1, 0.0]]))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    wide = matrix.double()
    values, vectors = torch.linalg.eigh(wide @ wide.T)
    roots = torch.where(values > LEAST * values[-1], values.clamp(min=0).rsqrt(), 0.0)
    turned: Tensor = (vectors * roots) @ vectors.T @ wide
    return turned.to(matrix.dtype)
