"""Recurrent networks of Izhikevich neurons, many at once, and the gradients through them."""

# Shape legend: T bins, R replicates, B windows, M neurons.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rheobase.student.inputs import Windows
from rheobase.student.kernels import (
    CHARGE,
    LEAST_MV,
    PEAK_MV,
    REST_MV,
    izhikevich_backward,
    izhikevich_forward,
)
from rheobase.student.lif import currents_of
from rheobase.student.settings import Surrogate
from rheobase.student.students import Replicate, Students, of_each
from rheobase.student.surrogates import SURROGATES, spike

# (a, b, c, d) of Izhikevich 2003: regular spiking if excitatory, fast spiking if inhibitory.
EXCITATORY = 0.02, 0.2, -65.0, 8.0
INHIBITORY = 0.1, 0.2, -65.0, 2.0
CURRENT = 10.0  # of the model's units, for a current that brings an LIF neuron to its threshold
STEP_MS = 1.0
ARRIVED = 1e-6  # the peak counts as a spike


def izhikevich_activity(
    students: Students, windows: Windows, replicates: Sequence[Replicate], bin_ms: float
) -> Tensor:
    """Return spike counts (R, T, B, M) of networks, as `izhikevich_spikes` gives them.

    Parameters
    ----------
    students, replicates
        R networks and their settings.
    windows
        Counts of B windows of T bins for each network.
    bin_ms
        Width of a bin.
    """
    counts = windows.dense(students.input_weights.device)
    return izhikevich_spikes(
        currents_of(counts, students.input_weights, students.bias),
        students.recurrent,
        students.signs,
        bin_ms,
        replicates[0].settings.surrogate,
        of_each(replicates, "surrogate_slope"),
    )


def izhikevich_spikes(
    currents: Tensor,
    recurrent: Tensor,
    signs: Tensor,
    bin_ms: float,
    surrogate: Surrogate,
    slope: Tensor,
) -> Tensor:
    r"""Return how often each neuron fires in each bin.

    Parameters
    ----------
    currents
        (R, T, B, M) input current in each bin, bias included, in units of `CURRENT`.
    recurrent
        (R, M, M) weights, [pre, post], in the same units a spike.
    signs
        (R, M): +1 neurons are regular spiking, -1 fast spiking.
    bin_ms
        Width of a bin, which is cut into steps of about 1 ms.
    surrogate, slope
        Of dS/dx in the backward pass, with x = -1 at rest (-65 mV) and 0 at the peak (30 mV);
        the slope is (R,).

    Returns
    -------
    (R, T, B, M) spike counts; spikes of a bin reach the other neurons in the next one.

    Notes
    -----
    .. math::
        v' = 0.04 v^2 + 5 v + 140 - u + I, \quad u' = a (b v - u)

    and where v reaches 30 mV: v = c, u = u + d (Izhikevich 2003), v in two half steps as there.
    v stays above -90 mV, near the reversal of inhibition: further down the steps would rebound
    into spikes that the equations do not have.
    The gradient is a surrogate in two more ways than an LIF neuron's, or it would be useless: the
    upstroke multiplies v by hundreds before each spike, so that the factor of each half step,
    1 + h (0.08 v + 5), is held to 0..1 in the backward pass; and a step that overshoots
    either end is taken for one that just reaches it. The reset is detached.
    """
    if currents.device.type != "cpu":
        return looped_izhikevich(currents, recurrent, signs, bin_ms, surrogate, slope)
    spikes: Tensor = _Izhikevich.apply(  # type: ignore[no-untyped-call]
        currents, recurrent, signs, bin_ms, surrogate, slope
    )
    return spikes


def looped_izhikevich(
    currents: Tensor,
    recurrent: Tensor,
    signs: Tensor,
    bin_ms: float,
    surrogate: Surrogate,
    slope: Tensor,
) -> Tensor:
    """Return the spikes of `izhikevich_spikes` by autograd, on any device."""
    a, b, c, d = _kinds(signs, currents)[:, :, None].unbind(dim=1)
    num_steps, step_ms = _steps(bin_ms)
    slope = slope.to(currents.device)[:, None, None]
    V = torch.full_like(currents[:, 0], REST_MV)
    U = b * V
    S = torch.zeros_like(V)
    spikes = []
    for t in range(currents.shape[1]):
        I = CURRENT * (currents[:, t] + torch.bmm(S, recurrent))
        S = torch.zeros_like(V)
        for _ in range(num_steps):
            for _ in range(2):
                V = _half(V, U, I, step_ms / 2)
            U = U + step_ms * a * (b * V - U)
            Z = (V - PEAK_MV) / (PEAK_MV - REST_MV) + ARRIVED
            fires = spike(Z, surrogate, slope)
            V = torch.where(fires.detach() > 0, c, V)
            U = U + d * fires.detach()
            S = S + fires
        spikes.append(S)
    return torch.stack(spikes, dim=1)


def _kinds(signs: Tensor, like: Tensor) -> Tensor:
    """Return a, b, c and d of each neuron, (R, 4, M)."""
    kinds = torch.tensor([EXCITATORY, INHIBITORY], dtype=like.dtype, device=like.device)
    return kinds[(signs < 0).long()].transpose(1, 2)


def _steps(bin_ms: float) -> tuple[int, float]:
    """Return the number of steps in a bin, and their width in ms."""
    num_steps = max(1, round(bin_ms / STEP_MS))
    return num_steps, bin_ms / num_steps


def _half(V: Tensor, U: Tensor, I: Tensor, half_ms: float) -> Tensor:
    after: Tensor = _HalfStep.apply(V, U, I, half_ms)  # type: ignore[no-untyped-call]
    return after


class _HalfStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, V: Tensor, U: Tensor, I: Tensor, half_ms: float) -> Tensor:
        ctx.save_for_backward(V)
        ctx.half_ms = half_ms
        dV_dt = (0.04 * V + 5) * V + CHARGE - U + I
        return (V + half_ms * dV_dt).clamp(LEAST_MV, PEAK_MV)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (V,), (grad,) = ctx.saved_tensors, grad_outputs
        factor = (1 + ctx.half_ms * (0.08 * V + 5)).clamp(0, 1)
        return factor * grad, -ctx.half_ms * grad, ctx.half_ms * grad, None


class _Izhikevich(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        currents: Tensor,
        recurrent: Tensor,
        signs: Tensor,
        bin_ms: float,
        surrogate: Surrogate,
        slope: Tensor,
    ) -> Tensor:
        kinds = _kinds(signs, currents).contiguous().numpy()
        num_steps, step_ms = _steps(bin_ms)
        S = torch.empty(currents.shape, dtype=currents.dtype)
        # Both states before each bin: what is between is computed again in the backward pass.
        VU = torch.empty((2, *currents.shape), dtype=currents.dtype)
        W = recurrent.detach().contiguous()
        izhikevich_forward(
            currents.detach().contiguous().numpy(), W.numpy(), kinds, num_steps,
            step_ms, CURRENT, S.numpy(), VU.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(currents, W, S, VU)
        ctx.kept = kinds, num_steps, step_ms, SURROGATES.index(surrogate), slope
        return S

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        currents, W, S, VU = ctx.saved_tensors
        kinds, num_steps, step_ms, surrogate, slope = ctx.kept
        dX, dW = torch.empty_like(S), torch.zeros_like(W)
        izhikevich_backward(
            currents.detach().contiguous().numpy(), W.numpy(), kinds, num_steps,
            step_ms, CURRENT, ARRIVED, surrogate, slope.to(S).numpy(), S.numpy(),
            VU.numpy(), grad_outputs[0].contiguous().numpy(), dX.numpy(),
            dW.numpy(),
        )  # fmt: skip
        return dX, dW, None, None, None, None
