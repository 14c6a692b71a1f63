"""Recurrent LIF dynamics of many networks at once, with a hand-written backward pass."""

# Shape legend: T bins, R replicates, B windows, M neurons.

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def surrogate_gradient(distance: Tensor, surrogate: str, slope: Tensor) -> Tensor:
    """Return dS/dU at `distance` = U - threshold; `slope` is float64 and broadcasts to it.

    Notes
    -----
    ``fast_sigmoid``: ``1 / (1 + k |x|)^2`` with k = `slope` (Zenke & Ganguli 2018).
    ``atan``: ``alpha / 2 / (1 + (pi / 2 * alpha * x)^2)`` with alpha = `slope` (Fang et al.
    2021). Both as in snntorch 1.0.
    """
    if surrogate == "fast_sigmoid":
        steepness = slope.to(distance)
        return (distance.abs().mul_(steepness).add_(1)).square_().reciprocal_()
    width, height = (math.pi / 2 * slope).to(distance), (slope / 2).to(distance)
    return (1 + (width * distance).square_()).reciprocal_().mul_(height)


class _RecurrentLIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        currents: Tensor,
        recurrent: Tensor,
        beta: Tensor,
        threshold: Tensor,
        surrogate: str,
        slope: Tensor,
    ) -> Tensor:
        beta, threshold = beta.to(currents), threshold.to(currents)
        potentials = torch.empty_like(currents)
        spikes = torch.empty_like(currents)
        # The reset, one step after a spike, is a self-connection of weight -threshold.
        feedback = recurrent - threshold * torch.eye(recurrent.shape[-1]).to(recurrent)
        potential, spike = torch.zeros_like(currents[0]), torch.zeros_like(currents[0])
        for t in range(len(currents)):
            torch.baddbmm(currents[t], spike, feedback, out=potentials[t])
            potential = potentials[t].addcmul_(potential, beta)
            spike = torch.gt(potential, threshold, out=spikes[t])
        ctx.save_for_backward(potentials, spikes, recurrent)
        ctx.constants = beta, threshold, surrogate, slope
        return spikes

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_spikes,) = grad_outputs
        potentials, spikes, recurrent = ctx.saved_tensors
        beta, threshold, surrogate, slope = ctx.constants
        gate = surrogate_gradient(potentials - threshold, surrogate, slope)
        backwards = recurrent.transpose(1, 2)
        # adjoint[t] = dL/dU[t] = beta * adjoint[t+1] + gate[t] * dL/dS[t]. The reset is left
        # out of dL/dS, as in snntorch, where it is detached.
        adjoint = torch.empty_like(potentials)
        after = torch.zeros_like(potentials[0])
        for t in range(len(potentials) - 1, -1, -1):
            torch.baddbmm(grad_spikes[t], after, backwards, out=adjoint[t])
            after = adjoint[t].mul_(gate[t]).addcmul_(after, beta)
        num_replicates, neurons = recurrent.shape[0], recurrent.shape[-1]
        before = spikes[:-1].transpose(0, 1).reshape(num_replicates, -1, neurons)
        later = adjoint[1:].transpose(0, 1).reshape(num_replicates, -1, neurons)
        return adjoint, torch.bmm(before.transpose(1, 2), later), None, None, None, None


def recurrent_lif(
    currents: Tensor,
    recurrent: Tensor,
    *,
    beta: Tensor | float,
    threshold: Tensor | float,
    surrogate: str = "fast_sigmoid",
    slope: Tensor | float = 25.0,
) -> Tensor:
    r"""Return the spikes of recurrent LIF networks that start at rest.

    Parameters
    ----------
    currents
        (T, R, B, M) input current in each bin, bias included.
    recurrent
        (R, M, M) weights, [pre, post].
    beta
        Decay of the membrane in one bin, ``exp(-bin / tau_mem)``, of each network (R,) or of
        all.
    threshold
        Potential that must be exceeded to fire, (R,) or of all.
    surrogate, slope
        Shape and slope of dS/dU in the backward pass; the slope is (R,) or of all.

    Returns
    -------
    (T, R, B, M) spikes, 0.0 or 1.0.

    Notes
    -----
    snntorch's dynamics with reset by subtraction, one step after the spike:

    .. math:: U_t = \beta U_{t-1} + I_t + S_{t-1} W - \theta S_{t-1}, \quad S_t = H(U_t - \theta)

    The backward pass is the adjoint recursion over all bins in one function; its gradients
    equal autograd's through a plain snntorch loop. A replicate's numbers do not depend on the
    replicates beside it.

    Examples
    --------
    A steady current fires a neuron only above the rheobase, threshold * (1 - beta):

    >>> spikes = recurrent_lif(torch.tensor([0.49, 0.51]).expand(50, 1, 1, 2),
    ...                        torch.zeros(1, 2, 2), beta=0.5, threshold=1.0)
    >>> spikes.sum(0).flatten() > 0
    tensor([False,  True])
    """
    of_each = [
        torch.as_tensor(value, dtype=torch.float64, device=currents.device).expand(len(recurrent))
        for value in (beta, threshold, slope)
    ]
    decay, level, steepness = (value[:, None, None] for value in of_each)
    spikes: Tensor = _RecurrentLIF.apply(  # type: ignore[no-untyped-call]
        currents.contiguous(), recurrent, decay, level, surrogate, steepness
    )
    return spikes


def membrane_decay(bin_ms: float, tau_ms: float) -> float:
    """Return ``exp(-bin / tau)``."""
    return math.exp(-bin_ms / tau_ms)


def smoothing_kernel(num_bins: int, bin_ms: float, tau_ms: float) -> Tensor:
    """Return the (T, T) matrix of a causal exponential filter started at rest.

    ``F = K @ S`` equals ``F[t] = a F[t-1] + (1 - a) S[t]`` with ``a = exp(-bin / tau)``.
    """
    decay = membrane_decay(bin_ms, tau_ms)
    lag = torch.arange(num_bins)[:, None] - torch.arange(num_bins)[None, :]
    kernel = (1 - decay) * decay ** lag.clamp(min=0).double()
    return torch.where(lag >= 0, kernel, 0.0).float()
