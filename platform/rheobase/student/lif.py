"""Recurrent leaky integrate-and-fire networks, many at once, and the gradients through them."""

# Shape legend: T bins, R replicates, B windows, N units, M neurons.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rheobase.student.anatomy import cell_types, delays, of_neurons
from rheobase.student.inputs import Windows
from rheobase.student.kernels import lif_backward, lif_forward, smooth_backward, smooth_forward
from rheobase.student.settings import StudentSettings, Surrogate
from rheobase.student.students import Replicate, Students, of_each, weights_of
from rheobase.student.surrogates import SURROGATES, spike


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """What makes the neurons of R networks, all float64 but `beta`.

    Attributes
    ----------
    beta
        (R, M) decay of the membrane in a bin, ``exp(-bin / tau_mem)``; of the weights' type.
    threshold
        (R,) potential that must be exceeded to fire.
    alpha
        (R,) decay of the synaptic current in a bin; 0: it lasts one bin.
    adaptation
        (R, M) rise of the threshold with the filtered spikes of the neuron.
    rho
        (R,) that filter's decay.
    delays
        (R, M) int64 bins after which a neuron's spikes reach the others, 1 or more.
    refractory
        (R,) bins after a spike in which none follows.
    surrogate, slope
        Shape of dS/dU in the backward pass, and its slope (R,).
    """

    beta: Tensor
    threshold: Tensor
    alpha: Tensor
    adaptation: Tensor
    rho: Tensor
    delays: Tensor
    refractory: Tensor
    surrogate: Surrogate
    slope: Tensor

    @property
    def is_uniform(self) -> bool:
        """Whether the neurons of each network adapt alike, and all spikes take one bin."""
        return bool((self.delays == 1).all() and (self.adaptation == self.adaptation[:, :1]).all())


def lif_trainable(students: Students, settings: StudentSettings) -> tuple[Tensor, ...]:
    """Return what an optimiser may change: the weights, and time constants if they are learned."""
    weights = weights_of(students)
    return (*weights, students.log_tau) if settings.learn_tau else weights


def lif_activity(
    students: Students, windows: Windows, replicates: Sequence[Replicate], bin_ms: float
) -> Tensor:
    """Return the spikes (R, T, B, M) of networks of LIF neurons, as `lif_spikes` gives them.

    Parameters
    ----------
    students, replicates
        R networks and their settings.
    windows
        Counts of B windows of T bins for each network.
    bin_ms
        Width of a bin.
    """
    weights = students.input_weights, students.bias, students.recurrent
    cells = cells_of(students, replicates, bin_ms)
    if replicates[0].settings.backend == "snntorch":
        # A package of an extra, which is there for this alone.
        from rheobase.student.snntorch_loop import snntorch_spikes

        return snntorch_spikes(windows, *weights, cells)
    return lif_spikes(windows, *weights, cells)


def cells_of(students: Students, replicates: Sequence[Replicate], bin_ms: float) -> Cells:
    """Return what makes the neurons of networks.

    Parameters
    ----------
    students, replicates
        R networks and their settings.
    bin_ms
        Width of a bin.
    """
    settings = replicates[0].settings
    if settings.learn_tau:
        beta = torch.exp(-bin_ms / students.log_tau.exp())
    else:
        beta = membrane_decays(replicates, bin_ms).to(students.bias)
    alpha, rho = (
        torch.tensor([membrane_decay(bin_ms, getattr(own, tau)) for _, own in replicates]).double()
        for tau in ("tau_syn_ms", "tau_adapt_ms")
    )
    g = [of_neurons(own, "adaptation", "type_adaptation") for _, own in replicates]
    # A period that ends inside a bin ends with it.
    refractory = torch.tensor([math.ceil(own.refractory_ms / bin_ms - 1) for _, own in replicates])
    return Cells(
        beta=beta,
        threshold=of_each(replicates, "threshold"),
        alpha=alpha,
        adaptation=torch.stack(g) * of_each(replicates, "threshold")[:, None],
        rho=rho,
        delays=torch.stack([delays(own, seed, bin_ms) for seed, own in replicates]),
        refractory=refractory.clamp(min=0),
        surrogate=settings.surrogate,
        slope=of_each(replicates, "surrogate_slope"),
    )


def lif_spikes(
    windows: Windows, input_weights: Tensor, bias: Tensor, recurrent: Tensor, cells: Cells
) -> Tensor:
    r"""Return the spikes of recurrent LIF networks that start at rest.

    Parameters
    ----------
    windows
        Counts of B windows of T bins for each network.
    input_weights, bias, recurrent
        (R, N, M), (R, M), (R, M, M) [pre, post].
    cells
        Of the R networks.

    Returns
    -------
    (R, T, B, M) spikes, 0.0 or 1.0.

    Notes
    -----
    With X the counts through the input weights, bias included:

    .. math::
        I_t &= \alpha I_{t-1} + X_t + S_{t-d} W \\
        U_t &= \beta U_{t-1} + I_t - \theta S_{t-1} \\
        A_t &= \rho A_{t-1} + (1 - \rho) S_{t-1} \\
        Z_t &= U_t - \theta - g A_t \\
        S_t &= H(Z_t)

    and :math:`S_t = 0` in refractory bins; d is the delay of the neuron that sends, g the
    adaptation of the one that fires. With :math:`\alpha = g = 0` and no refractory period
    it is snntorch's Leaky with reset by subtraction, one step after the spike; with
    :math:`\alpha` its Synaptic; with :math:`g` the adaptive threshold of Bellec et al. 2018. The
    reset and the refractory period are detached. The backward pass is the adjoint recursion, in
    compiled loops on the CPU (`kernels`) and in kernels on a GPU (`cuda_kernels`), which give the
    same spikes bit for bit; networks of more than 1,024 neurons, and those that are not uniform,
    run on a GPU by autograd through `looped_lif`. A replicate's numbers do not depend on the
    replicates beside it.

    Examples
    --------
    A steady current fires a neuron only above the rheobase, threshold * (1 - beta):

    >>> import numpy as np
    >>> from rheobase.student.inputs import SparseCounts
    >>> silence = SparseCounts.of(np.zeros((50, 1), np.uint8))
    >>> none = torch.zeros(1)
    >>> cells = Cells(beta=torch.full((1, 2), 0.5), threshold=torch.ones(1).double(),
    ...               alpha=none.double(), adaptation=torch.zeros(1, 2).double(),
    ...               rho=none.double(), delays=torch.ones(1, 2).long(),
    ...               refractory=none.long(), surrogate="atan", slope=torch.ones(1).double())
    >>> spikes = lif_spikes(Windows(silence, np.zeros((1, 1), np.int64), 50),
    ...                     torch.zeros(1, 1, 2), torch.tensor([[0.49, 0.51]]),
    ...                     torch.zeros(1, 2, 2), cells)
    >>> spikes.sum(1).flatten() > 0
    tensor([False,  True])
    """
    run: Any = _LIF
    if input_weights.device.type == "cuda":
        from rheobase.student.lif_cuda import MOST_NEURONS, CudaLIF  # Triton is not everywhere

        if bias.shape[1] > MOST_NEURONS or not cells.is_uniform:
            counts = windows.dense(input_weights.device)
            return looped_lif(currents_of(counts, input_weights, bias), recurrent, cells)
        run = CudaLIF
    spikes: Tensor = run.apply(input_weights, bias, recurrent, cells.beta, windows, cells)
    return spikes


def currents_of(counts: Tensor, input_weights: Tensor, bias: Tensor) -> Tensor:
    """Return what counts (R, T, B, N) give each neuron, bias included, as (R, T, B, M)."""
    # Each network's product by itself, of copies: how MKL sums depends on where arrays lie.
    each = [
        torch.addmm(
            bias[r].clone(), fed.flatten(0, 1).to(input_weights, copy=True), weights.clone()
        )
        for r, (fed, weights) in enumerate(zip(counts, input_weights, strict=True))
    ]
    return torch.stack(each).view(*counts.shape[:3], -1)


def looped_lif(currents: Tensor, recurrent: Tensor, cells: Cells) -> Tensor:
    """Return the spikes of `lif_spikes` for currents (R, T, B, M), by autograd on any device."""
    num_bins = currents.shape[1]
    theta, alpha, rho, slope = (
        value.to(currents.device)[:, None, None]
        for value in (cells.threshold, cells.alpha, cells.rho, cells.slope)
    )
    theta, alpha, rho = (v.to(currents) for v in (theta, alpha, rho))
    g = cells.adaptation.to(currents)[:, None, :]
    delay = cells.delays.to(currents.device)[:, None, :]
    lags = delay.unique().tolist()
    bins = cells.refractory.to(currents.device)[:, None, None]
    beta = cells.beta[:, None, :]
    I = U = A = S = torch.zeros_like(currents[:, 0])
    waits = torch.zeros_like(S, dtype=torch.long)
    spikes: list[Tensor] = []
    for t in range(num_bins):
        arriving = sum((spikes[t - d] * (delay == d) for d in lags if d <= t), torch.zeros_like(S))
        I = alpha * I + (currents[:, t] + torch.bmm(arriving, recurrent))
        U = beta * U + I - theta * S.detach()
        A = rho * A + (1 - rho) * S
        Z = U - (theta + g * A)
        S = spike(Z.masked_fill(waits > 0, -math.inf), cells.surrogate, slope)
        waits = torch.where(S > 0, bins, (waits - 1).clamp(min=0))
        spikes.append(S)
    return torch.stack(spikes, dim=1)


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input_weights: Tensor,
        bias: Tensor,
        recurrent: Tensor,
        beta: Tensor,
        windows: Windows,
        cells: Cells,
    ) -> Tensor:
        num_replicates, neurons = bias.shape
        num_windows = windows.starts.shape[1]
        shape = num_replicates, windows.num_bins, num_windows, neurons
        S = torch.empty(shape, dtype=bias.dtype)
        Z = torch.empty_like(S)
        U_kept = torch.empty(shape if beta.requires_grad else (0, 0, 0, 0), dtype=bias.dtype)
        # Room for every neuron in every bin; what is never written takes no memory.
        fired = np.empty((num_replicates, math.prod(shape[1:]) + 1), np.uint16)
        ends = np.empty((num_replicates, (windows.num_bins + 1) * num_windows + 1), np.int64)
        each = [cells.alpha, cells.threshold, cells.rho]
        constants = torch.stack(each, dim=1).to(bias).numpy(), cells.adaptation.to(bias).numpy()
        weights = [tensor.detach().contiguous().numpy() for tensor in (input_weights, bias)]
        inner = [tensor.detach().contiguous().numpy() for tensor in (recurrent, beta)]
        fed = windows.starts, windows.counts.ends, windows.counts.unit, windows.counts.count
        lif_forward(
            *fed,
            *weights,
            *inner,
            *constants,
            cells.delays.numpy(),
            cells.refractory.numpy(),
            S.numpy(),
            Z.numpy(),
            U_kept.numpy(),
            fired,
            ends,
        )
        ctx.save_for_backward(input_weights, bias, recurrent, beta, Z, U_kept)
        ctx.kept = fed, constants, cells, fired, ends
        return S

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        input_weights, bias, recurrent, beta, Z, U_kept = ctx.saved_tensors
        fed, constants, cells, fired, ends = ctx.kept
        grads = [torch.zeros_like(tensor) for tensor in (input_weights, bias, recurrent, beta)]
        lif_backward(
            *fed,
            recurrent.detach().contiguous().numpy(),
            beta.detach().contiguous().numpy(),
            *constants,
            cells.delays.numpy(),
            SURROGATES.index(cells.surrogate),
            cells.slope.to(bias).numpy(),
            Z.numpy(),
            U_kept.numpy(),
            fired,
            ends,
            grad_outputs[0].contiguous().numpy(),
            *(grad.numpy() for grad in grads),
        )
        return (*grads[:3], grads[3] if beta.requires_grad else None, None, None)


class _Smooth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, decay: Tensor, first: int) -> tuple[Tensor, Tensor]:
        ctx.decay, ctx.shape = decay.to(values).numpy(), values.shape
        num_replicates, num_bins, num_windows, neurons = values.shape
        F = values.new_empty(num_replicates, num_bins - first, num_windows, neurons)
        smooth_forward(values.detach().contiguous().numpy(), ctx.decay, F.numpy())
        return F, values[:, first:].mean(dim=(1, 2))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        dF, d_mean = (grad.contiguous() for grad in grad_outputs)
        dS = dF.new_empty(ctx.shape)
        num_averaged = dF.shape[1] * dF.shape[2]
        smooth_backward(dF.numpy(), (d_mean / num_averaged).numpy(), ctx.decay, dS.numpy())
        return dS, None, None


def smoothed(values: Tensor, decay: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
    """Return values (R, T, B, M) through ``F[t] = a F[t-1] + (1 - a) S[t]``, at rest before.

    Parameters
    ----------
    values
        (R, T, B, M).
    decay
        (R,) float64, a of each replicate, ``exp(-bin / tau)``.
    first
        The bin from which on F is returned.

    Returns
    -------
    F (R, T - first, B, M), and the mean (R, M) of the values themselves in those bins.
    """
    run: Any = _Smooth
    if values.device.type == "cuda":
        from rheobase.student.lif_cuda import CudaSmooth  # Triton is not everywhere

        run = CudaSmooth
    both: tuple[Tensor, Tensor] = run.apply(values, decay, first)
    return both


def membrane_decays(replicates: Sequence[Replicate], bin_ms: float) -> Tensor:
    """Return the decay of each neuron's membrane in a bin before anything is learned, (R, M).

    Parameters
    ----------
    replicates
        R networks.
    bin_ms
        Width of a bin.
    """
    each = []
    for _, own in replicates:
        decays = [membrane_decay(bin_ms, tau) for tau in own.type_tau_mem_ms or (own.tau_mem_ms,)]
        of_types = torch.tensor(decays, dtype=torch.float64)
        each.append(
            of_types[cell_types(own)] if own.type_tau_mem_ms else of_types.expand(own.num_neurons)
        )
    return torch.stack(each)


def membrane_decay(bin_ms: float, tau_ms: float) -> float:
    """Return ``exp(-bin / tau)``; 0 for a time constant of 0."""
    return math.exp(-bin_ms / tau_ms) if tau_ms > 0 else 0.0
