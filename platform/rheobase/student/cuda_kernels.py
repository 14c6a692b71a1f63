"""Kernels of recurrent LIF networks on a GPU, in Triton, which comes with torch's CUDA builds.

The forward recursion is that of `kernels`, operation for operation in the same order and each
rounded, so that a GPU and a CPU give the same spikes bit for bit. One program runs one window of
one network, and the adjoint's runs 16 windows: no number depends on the replicates beside it.
"""

# Shape legend: T bins, R replicates, B windows, N units, M neurons, E counts that are not 0.
# Symbols are those of `kernels`; arrays are pointers here, laid out as there.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl

compiled: Callable[[Callable[..., None]], Any] = triton.jit
TOGETHER = tl.constexpr(8)  # rows of weights that are fetched at once, and added one by one


@compiled
def input_currents(
    starts: tl.tensor,
    row_ends: tl.tensor,
    unit: tl.tensor,
    count: tl.tensor,
    input_weights: tl.tensor,
    bias: tl.tensor,
    X: tl.tensor,
    num_units: int,
    neurons: int,
    WIDTH: tl.constexpr,
) -> None:
    """Fill X (R, T, B, M) with what counts give; programs are (T, B, R), `WIDTH` at least M."""
    t, b, r = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    num_bins, num_windows = tl.num_programs(0), tl.num_programs(1)
    m = tl.arange(0, WIDTH)
    there = m < neurons
    row = tl.load(starts + r * num_windows + b) + t
    begin, end = tl.load(row_ends + row), tl.load(row_ends + row + 1)
    weights = input_weights + r * num_units * neurons
    into = tl.zeros([WIDTH], X.dtype.element_ty)
    for first in range(begin, end, TOGETHER):
        for k in tl.static_range(TOGETHER):
            is_one = first + k < end
            n = tl.load(unit + first + k, mask=is_one, other=0)
            often = tl.load(count + first + k, mask=is_one, other=0).to(into.dtype)
            given = tl.load(weights + n * neurons + m, mask=there & is_one, other=0.0)
            into += often * given
    into += tl.load(bias + r * neurons + m, mask=there, other=0.0)
    place = ((r * num_bins + t) * num_windows + b) * neurons
    tl.store(X + place + m, into, mask=there)


@compiled
def lif_forward(
    X: tl.tensor,
    W: tl.tensor,
    beta: tl.tensor,
    constants: tl.tensor,
    refractory: tl.tensor,
    S: tl.tensor,
    Z: tl.tensor,
    U_kept: tl.tensor,
    fired: tl.tensor,
    num_bins: int,
    neurons: int,
    KEEPS_U: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """Fill S and Z (R, T, B, M), and U where it is kept; programs are (B, R).

    `fired` (R, B, 2, WIDTH) int32 has room for the neurons that fired in this bin and the last.
    """
    b, r = tl.program_id(0), tl.program_id(1).to(tl.int64)
    num_windows = tl.num_programs(0)
    m = tl.arange(0, WIDTH)
    there = m < neurons
    alpha, theta = tl.load(constants + 4 * r), tl.load(constants + 4 * r + 1)
    g, rho = tl.load(constants + 4 * r + 2), tl.load(constants + 4 * r + 3)
    wait_bins = tl.load(refractory + r)
    decay = tl.load(beta + r * neurons + m, mask=there, other=0.0)
    weights = W + r * neurons * neurons
    lists = fired + (r * num_windows + b) * 2 * WIDTH
    none = tl.zeros([WIDTH], S.dtype.element_ty)
    I, U, A, s_last = none, none, none, none
    waits = tl.zeros([WIDTH], tl.int32)
    num_fired = tl.sum(waits, 0)
    for t in range(num_bins):
        place = ((r * num_bins + t) * num_windows + b) * neurons
        x = tl.load(X + place + m, mask=there, other=0.0)
        last = lists + (t % 2) * WIDTH
        sent = none
        for first in range(0, num_fired, TOGETHER):
            for k in tl.static_range(TOGETHER):
                is_one = first + k < num_fired
                p = tl.load(last + first + k, mask=is_one, other=0)
                sent += tl.load(weights + p * neurons + m, mask=there & is_one, other=0.0)
        I = alpha * I + (x + sent)
        U = decay * U + I - theta * s_last
        A = rho * A + (1 - rho) * s_last
        z = tl.where(waits > 0, float("-inf"), U - (theta + g * A))
        fires = (z > 0) & there
        waits = tl.where(waits > 0, waits - 1, tl.where(fires, wait_bins, 0))
        s_last = fires.to(none.dtype)
        tl.store(S + place + m, s_last, mask=there)
        tl.store(Z + place + m, z, mask=there)
        if KEEPS_U:
            tl.store(U_kept + place + m, U, mask=there)
        rank = tl.cumsum(fires.to(tl.int32), 0)
        tl.store(lists + ((t + 1) % 2) * WIDTH + rank - 1, m, mask=fires)
        num_fired = tl.sum(fires.to(tl.int32), 0)
        tl.debug_barrier()  # a neuron's thread reads what others have listed


@compiled
def lif_backward(
    W_turned: tl.tensor,
    beta: tl.tensor,
    constants: tl.tensor,
    slope: tl.tensor,
    Z: tl.tensor,
    U_kept: tl.tensor,
    dS: tl.tensor,
    dX: tl.tensor,
    d_bias: tl.tensor,
    d_beta: tl.tensor,
    num_bins: int,
    num_windows: int,
    neurons: int,
    SURROGATE: tl.constexpr,
    KEEPS_U: tl.constexpr,
    WIDTH: tl.constexpr,
    WINDOWS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Fill dX (R, T, B, M), and each program's part of the gradients of bias and beta.

    Programs are (blocks of `WINDOWS`, R); parts (R, blocks, M). `W_turned` (R, M, M) [post, pre],
    of which `DEPTH` rows are fetched at once. dX is also the gradient by what spikes send.
    """
    block, r = tl.program_id(0), tl.program_id(1).to(tl.int64)
    m = tl.arange(0, WIDTH)
    b = block * WINDOWS + tl.arange(0, WINDOWS)
    there = (b < num_windows)[:, None] & (m < neurons)[None, :]
    within = b[:, None] * neurons + m[None, :]
    alpha = tl.load(constants + 4 * r)
    g, rho = tl.load(constants + 4 * r + 2), tl.load(constants + 4 * r + 3)
    k = tl.load(slope + r)
    decay = tl.load(beta + r * neurons + m, mask=m < neurons, other=0.0)[None, :]
    weights = W_turned + r * neurons * neurons
    none = tl.zeros([WINDOWS, WIDTH], dX.dtype.element_ty)
    dU, dA, dI = none, none, none
    sum_bias, sum_beta = tl.sum(none, 0), tl.sum(none, 0)
    for back in range(num_bins):
        t = num_bins - 1 - back
        place = (r * num_bins + t) * num_windows * neurons
        W_dI = none
        if back > 0:
            after = dX + place + num_windows * neurons
            for first in range(0, neurons, DEPTH):
                post = first + tl.arange(0, DEPTH)
                rows = tl.load(
                    after + b[:, None] * neurons + post[None, :],
                    mask=(b < num_windows)[:, None] & (post < neurons)[None, :],
                    other=0.0,
                )
                given = tl.load(
                    weights + post[:, None] * neurons + m[None, :],
                    mask=(post < neurons)[:, None] & (m < neurons)[None, :],
                    other=0.0,
                )
                W_dI = tl.dot(rows, given, W_dI, input_precision=PRECISION, out_dtype=none.dtype)
        z = tl.load(Z + place + within, mask=there, other=0.0)
        if SURROGATE == 0:
            wide = 1 + k * tl.abs(z)
            gate = 1 / (wide * wide)
        elif SURROGATE == 1:
            wide = 1.5707963267948966 * k * z
            gate = k / 2 / (1 + wide * wide)
        elif SURROGATE == 2:
            gate = tl.where(k * tl.abs(z) <= 1, 1.0, 0.0).to(none.dtype)
        else:
            gate = tl.maximum(1 - k * tl.abs(z), 0.0)
        dz = tl.load(dS + place + within, mask=there, other=0.0) + W_dI + (1 - rho) * dA
        dz = gate * dz
        dU = decay * dU + dz
        dA = rho * dA - g * dz
        dI = dU + alpha * dI
        tl.store(dX + place + within, dI, mask=there)
        sum_bias += tl.sum(dI, 0)
        if KEEPS_U:
            before = U_kept + place - num_windows * neurons + within
            sum_beta += tl.sum(dU * tl.load(before, mask=there & (t > 0), other=0.0), 0)
        tl.debug_barrier()  # the next product reads what all threads have written
    part = (r * tl.num_programs(0) + block) * neurons + m
    tl.store(d_bias + part, sum_bias, mask=m < neurons)
    if KEEPS_U:
        tl.store(d_beta + part, sum_beta, mask=m < neurons)


@compiled
def smooth_forward(
    S: tl.tensor,
    decay: tl.tensor,
    F: tl.tensor,
    num_bins: int,
    first: int,
    lanes: int,
    WIDTH: tl.constexpr,
) -> None:
    """Fill F (R, T - first, lanes) from S (R, T, lanes); programs are (blocks of lanes, R)."""
    r = tl.program_id(1).to(tl.int64)
    lane = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    there = lane < lanes
    kept = tl.load(decay + r)
    taken = 1 - kept
    f = tl.zeros([WIDTH], F.dtype.element_ty)
    for t in range(num_bins):
        s = tl.load(S + (r * num_bins + t) * lanes + lane, mask=there, other=0.0)
        f = kept * f + taken * s
        into = F + (r * (num_bins - first) + t - first) * lanes + lane
        tl.store(into, f, mask=there & (t >= first))


@compiled
def smooth_backward(
    dF: tl.tensor,
    d_mean: tl.tensor,
    decay: tl.tensor,
    dS: tl.tensor,
    num_bins: int,
    first: int,
    lanes: int,
    neurons: int,
    WIDTH: tl.constexpr,
) -> None:
    """Fill dS (R, T, lanes) of `smooth_forward`; `d_mean` (R, M) as of `kernels`."""
    r = tl.program_id(1).to(tl.int64)
    lane = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    there = lane < lanes
    kept = tl.load(decay + r)
    taken = 1 - kept
    by_mean = tl.load(d_mean + r * neurons + lane % neurons, mask=there, other=0.0)
    by_f = tl.zeros([WIDTH], dS.dtype.element_ty)
    for back in range(num_bins):
        t = num_bins - 1 - back
        here = there & (t >= first)
        df = tl.load(dF + (r * (num_bins - first) + t - first) * lanes + lane, mask=here, other=0.0)
        by_f = kept * by_f + taken * df
        ds = by_f + tl.where(here, by_mean, 0.0)
        tl.store(dS + (r * num_bins + t) * lanes + lane, ds, mask=there)
