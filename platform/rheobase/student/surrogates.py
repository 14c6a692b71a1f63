"""Surrogate gradients: what stands for the derivative of a spike in the backward pass."""

from __future__ import annotations

import math
from typing import Any, get_args

import torch
from torch import Tensor

from rheobase.student.settings import Surrogate

SURROGATES: tuple[Surrogate, ...] = get_args(Surrogate)


def surrogate_gradient(distance: Tensor, surrogate: Surrogate, slope: Tensor) -> Tensor:
    """Return dS/dU at `distance` = U - threshold; `slope` is float64 and broadcasts to it.

    Notes
    -----
    With x the distance and k the slope:
    ``fast_sigmoid``: ``1 / (1 + k |x|)^2`` (Zenke & Ganguli 2018).
    ``atan``: ``k / 2 / (1 + (pi / 2 * k * x)^2)``, k being called alpha (Fang et al. 2021). Both
    as in snntorch 1.0.
    ``straight_through``: 1 where ``|x| <= 1 / k``, 0 beyond (Hubara et al. 2016).
    ``triangular``: ``max(0, 1 - k |x|)`` (Bellec et al. 2018, k = 1 / threshold there).
    """
    steepness = slope.to(distance)
    if surrogate == "atan":
        width, height = (math.pi / 2 * slope).to(distance), (slope / 2).to(distance)
        return (1 + (width * distance).square_()).reciprocal_().mul_(height)
    scaled = distance.abs().mul_(steepness)
    if surrogate == "fast_sigmoid":
        return scaled.add_(1).square_().reciprocal_()
    if surrogate == "triangular":
        return (1 - scaled).clamp_(min=0)
    return (scaled <= 1).to(distance)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor, surrogate: Surrogate, slope: Tensor) -> Tensor:
        ctx.save_for_backward(distance, slope)
        ctx.surrogate = surrogate
        return (distance > 0).to(distance)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        distance, slope = ctx.saved_tensors
        gate = surrogate_gradient(distance, ctx.surrogate, slope)
        return gate * grad_outputs[0], None, None


def spike(distance: Tensor, surrogate: Surrogate, slope: Tensor) -> Tensor:
    """Return 1.0 where `distance` > 0, else 0.0; its gradient is `surrogate_gradient`."""
    fired: Tensor = _Spike.apply(distance, surrogate, slope)  # type: ignore[no-untyped-call]
    return fired
