"""The teacher's optimisers: of its read-ins, all latent dimensions alike, and of the rest."""

# Shape legend: D latent dimensions, M features of the input.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

LEAST = 1e-12
"""Share of the largest squared singular value below which a direction of momentum is noise."""


class PolarMomentum:
    """Steps by the polar factor of the momentum of each weight (D, M), D at most M.

    Every latent dimension moves by the same length in a direction of its own. Under Adam the few
    directions in which the gradient is large move, and weak latents wait thousands of steps. A
    weight without a gradient, of a session that the batch does not hold, keeps still.

    Parameters
    ----------
    weights
        Matrices (D, M).
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

    def __init__(self, weights: Iterable[nn.Parameter], momentum: float = 0.9) -> None:
        self._weights, self._share = list(weights), momentum
        self._momenta = [torch.zeros_like(weight) for weight in self._weights]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move each dimension of every weight that has a gradient by the length `lr`."""
        for weight, momentum in zip(self._weights, self._momenta, strict=True):
            if weight.grad is not None:
                momentum.mul_(self._share).add_(weight.grad)
                weight.sub_(lr * polar_factor(momentum))

    def state(self) -> dict[str, list[Tensor]]:
        """Return what `restore` takes."""
        return {"momenta": self._momenta}

    def restore(self, state: Mapping[str, Sequence[Tensor]]) -> None:
        """Go on as the one whose state is given."""
        _copy(state["momenta"], self._momenta)


class AdamW:
    """Steps by `torch.optim`'s AdamW at its defaults; a weight without a gradient keeps still.

    Parameters
    ----------
    weights
        Of any shape.
    weight_decay
        Share of a weight that it loses at a learning rate of 1.

    Notes
    -----
    The function behind `torch.optim.AdamW`: the class loads torch's compiler, a second or two in
    each process that trains.
    """

    def __init__(self, weights: Iterable[nn.Parameter], weight_decay: float) -> None:
        self._weights, self._decay = list(weights), weight_decay
        self._state = {
            "means": [torch.zeros_like(weight) for weight in self._weights],
            "squares": [torch.zeros_like(weight) for weight in self._weights],
            "steps": [torch.zeros(()) for _ in self._weights],
        }

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move every weight that has a gradient, at the learning rate `lr`."""
        moved = [number for number, one in enumerate(self._weights) if one.grad is not None]
        means, squares, steps = ([one[number] for number in moved] for one in self._state.values())
        adamw(
            [self._weights[number] for number in moved],
            [grad for number in moved if (grad := self._weights[number].grad) is not None],
            means,
            squares,
            [],
            steps,
            foreach=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=lr,
            weight_decay=self._decay,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> dict[str, list[Tensor]]:
        """Return what `restore` takes."""
        return self._state

    def restore(self, state: Mapping[str, Sequence[Tensor]]) -> None:
        """Go on as the one whose state is given."""
        for name, kept in self._state.items():
            _copy(state[name], kept)


def _copy(given: Sequence[Tensor], kept: Sequence[Tensor]) -> None:
    for value, place in zip(given, kept, strict=True):
        place.copy_(value)


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
