"""Recurrent LIF networks and the readout's filter on a GPU: a kernel each way, as autograd sees it.

Imported only where a tensor is on a GPU: it needs Triton, which comes with torch's CUDA builds.
"""

# Shape legend: T bins, R replicates, B windows, N units, M neurons.

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rheobase.student import cuda_kernels
from rheobase.student.surrogates import SURROGATES

if TYPE_CHECKING:
    from rheobase.student.inputs import Windows
    from rheobase.student.lif import Cells

MOST_NEURONS = 1024  # a window's state stays in a program's registers
WINDOWS = 16  # of a program of the adjoint: the least for which fetching the weights pays
LANES = 256
PRECISION = "ieee"  # of the adjoint's product: no operand is rounded


class CudaLIF(torch.autograd.Function):
    """The spikes of `lif.lif_spikes` of uniform cells on a GPU, and the adjoint recursion."""

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
        """Return spikes (R, T, B, M)."""
        num_replicates, neurons = bias.shape
        num_bins, num_windows = windows.num_bins, windows.starts.shape[1]
        shape = num_replicates, num_bins, num_windows, neurons
        width, num_warps = _width(neurons), max(1, _width(neurons) // 128)
        each = [cells.alpha, cells.threshold, cells.adaptation[:, 0], cells.rho]
        constants = torch.stack(each, dim=1).to(bias)
        given, fed = windows.counts.on(bias.device), torch.from_numpy(windows.starts)
        X, S, Z = (bias.new_empty(shape) for _ in range(3))
        keeps_u = beta.requires_grad
        U_kept = torch.empty_like(S) if keeps_u else S
        fired = bias.new_empty((num_replicates, num_windows, 2, width), dtype=torch.int32)
        # Without fusion every operation rounds, as on the CPU.
        as_written = {"num_warps": num_warps, "enable_fp_fusion": False}
        cuda_kernels.input_currents[(num_bins, num_windows, num_replicates)](
            fed.to(bias.device), given.ends, given.unit, given.count, input_weights.contiguous(),
            bias.contiguous(), X, input_weights.shape[1], neurons, WIDTH=width, **as_written,
        )  # fmt: skip
        cuda_kernels.lif_forward[(num_windows, num_replicates)](
            X, recurrent.contiguous(), beta.contiguous(), constants,
            cells.refractory.to(bias.device, torch.int32), S, Z, U_kept, fired, num_bins, neurons,
            KEEPS_U=keeps_u, WIDTH=width, **as_written,
        )  # fmt: skip
        ctx.save_for_backward(recurrent, beta, constants, S, Z, U_kept)
        ctx.kept = windows, SURROGATES.index(cells.surrogate), cells.slope.to(bias)
        return S

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of input weights, bias, recurrent weights and beta."""
        recurrent, beta, constants, S, Z, U_kept = ctx.saved_tensors
        windows, surrogate, slope = ctx.kept
        num_replicates, num_bins, num_windows, neurons = S.shape
        width, keeps_u = _width(neurons), beta.requires_grad
        depth, stages = (32, 1) if width <= 256 else (16, 1024 // width)  # measured best
        num_blocks = math.ceil(num_windows / WINDOWS)
        dX = torch.empty_like(S)
        parts = S.new_empty((2, num_replicates, num_blocks, neurons))
        cuda_kernels.lif_backward[(num_blocks, num_replicates)](
            recurrent.transpose(1, 2).contiguous(), beta.contiguous(), constants, slope, Z, U_kept,
            grad_outputs[0].contiguous(), dX, parts[0], parts[1], num_bins, num_windows, neurons,
            SURROGATE=surrogate, KEEPS_U=keeps_u, WIDTH=width, WINDOWS=WINDOWS, DEPTH=depth,
            PRECISION=PRECISION, num_warps=min(16, max(4, width // 64)), num_stages=stages,
        )  # fmt: skip
        d_bias, d_beta = (sum(part.unbind(dim=1)) for part in parts)
        counts = windows.dense(S.device).to(S.dtype)
        gradients = _products(counts, dX), d_bias, _products(S[:, :-1], dX[:, 1:])
        return (*gradients, d_beta if keeps_u else None, None, None)


class CudaSmooth(torch.autograd.Function):
    """The filter of `lif.smoothed` on a GPU."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, decay: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Return F (R, T - first, B, M) and the values' mean (R, M) in those bins."""
        num_replicates, num_bins, num_windows, neurons = values.shape
        lanes = num_windows * neurons
        ctx.decay, ctx.shape = decay.to(values), values.shape
        F = values.new_empty(num_replicates, num_bins - first, num_windows, neurons)
        cuda_kernels.smooth_forward[(math.ceil(lanes / LANES), num_replicates)](
            values.contiguous(), ctx.decay, F, num_bins, first, lanes, WIDTH=LANES
        )
        return F, values[:, first:].mean(dim=(1, 2))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the values."""
        dF, d_mean = (grad.contiguous() for grad in grad_outputs)
        num_replicates, num_bins, num_windows, neurons = ctx.shape
        lanes, first = num_windows * neurons, num_bins - dF.shape[1]
        dS = dF.new_empty(ctx.shape)
        cuda_kernels.smooth_backward[(math.ceil(lanes / LANES), num_replicates)](
            dF, d_mean / (dF.shape[1] * num_windows), ctx.decay, dS, num_bins, first, lanes,
            neurons, WIDTH=LANES,
        )  # fmt: skip
        return dS, None, None


def _products(left: Tensor, right: Tensor) -> Tensor:
    """Return what (R, T, B, N) and (R, T, B, M) sum to over bins and windows, (R, N, M)."""
    # One network at a time, of copies: how a library sums depends on how many there are, and on
    # where arrays lie.
    each = zip(left.flatten(1, 2), right.flatten(1, 2), strict=True)
    return torch.stack([one.clone().T @ other.clone() for one, other in each])


def _width(neurons: int) -> int:
    """Return the least power of two that holds the neurons, at least a warp."""
    return max(32, 1 << (neurons - 1).bit_length())
