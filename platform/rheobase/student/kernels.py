"""Loops of recurrent spiking networks over sparse input, compiled for the CPU.

What is sparse is added, not multiplied: a step costs as many rows of weights as there are counts
and spikes. The one dense product is that of the adjoint with the recurrent weights. Replicates
are visited one after the other and share no number. All in one file: numba's cache of a function
is made anew when its own file changes, not when that of a function it calls does.
"""

# Shape legend: T bins, R replicates, B windows, N units, M neurons, E counts that are not 0.
# Symbols are those of the equations in `lif.lif_spikes` and `izhikevich.izhikevich_spikes`: X, W,
# I, U, A, Z, S; v and u. SW is what the last bin's spikes send. A small letter is one window's row
# (M,) of what the capital holds (B, M), v_m one neuron's value; d before a symbol is the gradient
# of the loss by it.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba.misc.appdirs import AppDirs

from rheobase.core.caches import cache_folder

Array = npt.NDArray[Any]
Loops = Callable[..., None]
compiler: Any = numba.config
if not compiler.CACHE_DIR:
    beside, of_user = Path(__file__).parent / "__pycache__", AppDirs("numba", False).user_cache_dir
    compiler.CACHE_DIR = str(cache_folder(beside, Path(of_user)) or "")
# No rule of floating point is given up but one: a product and a sum may round once.
compiled: Callable[[Loops], Loops] = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract"}
)
# And none where others are to get the same spikes: each operation rounds, on every processor.
compiled_as_written: Callable[[Loops], Loops] = numba.njit(
    cache=True, nogil=True, error_model="numpy"
)
PEAK_MV, REST_MV, LEAST_MV, CHARGE = 30.0, -65.0, -90.0, 140.0  # of Izhikevich neurons
FAST_SIGMOID, ATAN, STRAIGHT_THROUGH, TRIANGULAR = range(4)  # in the order of SURROGATES


@compiled_as_written
def lif_forward(
    starts: Array,
    row_ends: Array,
    unit: Array,
    count: Array,
    input_weights: Array,
    bias: Array,
    W: Array,
    beta: Array,
    constants: Array,
    adaptation: Array,
    delays: Array,
    refractory: Array,
    S: Array,
    Z: Array,
    U_kept: Array,
    fired: Array,
    ends: Array,
) -> None:
    """Fill S and Z (R, T, B, M), and U where `U_kept` is not empty.

    `starts` (R, B) are first bins of windows in the session, whose counts are `unit` and `count`
    (E,) up to `row_ends` (bins + 1,) of each bin; `constants` (R, 3) hold alpha, theta and rho;
    `refractory` (R,) in bins. Weights (R, N, M), (R, M), W (R, M, M) [pre, post]; `beta`,
    `adaptation` g and `delays` (R, M), these in bins, 1 or more. Z is -inf in refractory bins.
    `fired` lists the neurons whose spikes arrive, those of window b in bin t between
    ``ends[r, t * B + b]`` and the next.
    """
    num_replicates, num_bins, num_windows, neurons = S.shape
    kind = S.dtype.type
    X = np.empty((num_windows, neurons), S.dtype)
    SW = np.empty((num_windows, neurons), S.dtype)
    for r in range(num_replicates):
        alpha, theta, rho = constants[r]
        g, delay = adaptation[r], delays[r]
        longest = delay.max()
        is_plain = alpha == 0 and g.max() == 0 and refractory[r] == 0
        I = np.zeros((num_windows, neurons), S.dtype)
        U = np.zeros((num_windows, neurons), S.dtype)
        A = np.zeros((num_windows, neurons), S.dtype)
        S_last = np.zeros((num_windows, neurons), S.dtype)
        waits = np.zeros((num_windows, neurons), np.int64)
        ends[r, : num_windows + 1] = 0
        W_r, decay = W[r], beta[r]
        for t in range(num_bins):
            place, after = t * num_windows, (t + 1) * num_windows
            for b in range(num_windows):
                row = starts[r, b] + t
                into = X[b]
                into[:] = 0
                for k in range(row_ends[row], row_ends[row + 1]):
                    given, often = input_weights[r, unit[k]], kind(count[k])
                    for m in range(neurons):
                        into[m] += often * given[m]
                for m in range(neurons):
                    into[m] += bias[r, m]
            SW[:] = 0
            for b in range(num_windows):
                last = place + b
                add_listed(W_r, fired[r, ends[r, last] : ends[r, last + 1]], SW[b])
            for b in range(num_windows):
                s, z, u = S[r, t, b], Z[r, t, b], U[b]
                s_last, x, sw = S_last[b], X[b], SW[b]
                if is_plain:
                    for m in range(neurons):
                        u[m] = decay[m] * u[m] + (x[m] + sw[m]) - theta * s_last[m]
                        z[m] = u[m] - theta
                        s[m] = kind(1) if z[m] > 0 else kind(0)
                else:
                    i, a, wait = I[b], A[b], waits[b]
                    for m in range(neurons):
                        i[m] = alpha * i[m] + (x[m] + sw[m])
                        u[m] = decay[m] * u[m] + i[m] - theta * s_last[m]
                        a[m] = rho * a[m] + (kind(1) - rho) * s_last[m]
                        z_m = u[m] - (theta + g[m] * a[m])
                        if wait[m] > 0:
                            wait[m] -= 1
                            z_m = kind(-np.inf)
                        elif z_m > 0:
                            wait[m] = refractory[r]
                        z[m] = z_m
                        s[m] = kind(1) if z_m > 0 else kind(0)
                if U_kept.size > 0:
                    U_kept[r, t, b] = u
                S_last[b] = s
                end = ends[r, after + b]
                if longest == 1:
                    for m in range(neurons):
                        fired[r, end] = m
                        end += s[m] > 0
                else:
                    for m in range(neurons):
                        sent = t + 1 - delay[m]
                        fired[r, end] = m
                        end += sent >= 0 and S[r, sent, b, m] > 0
                ends[r, after + b + 1] = end


@compiled_as_written
def add_listed(weights: Array, chosen: Array, into: Array) -> None:
    """Add the `chosen` rows (E,) of weights (M, M) to `into` (M,), in their order, four a visit."""
    in_fours = len(chosen) // 4 * 4
    for k in range(0, in_fours, 4):
        one, two = weights[chosen[k]], weights[chosen[k + 1]]
        three, four = weights[chosen[k + 2]], weights[chosen[k + 3]]
        for m in range(len(into)):
            into[m] = into[m] + one[m] + two[m] + three[m] + four[m]
    for k in range(in_fours, len(chosen)):
        one = weights[chosen[k]]
        for m in range(len(into)):
            into[m] += one[m]


@compiled
def turn(values: Array, turned: Array) -> None:
    """Fill `turned` with the transpose of `values`."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            turned[j, i] = values[i, j]


@compiled
def multiply(rows: Array, weights: Array, into: Array) -> None:
    """Fill `into` (B, M) with the product of `rows` (B, M) and `weights` (M, M).

    Sums are in one order. A BLAS takes as little as six tenths of the time, and rounds otherwise
    on each kind of processor: a spike more or less, after some hundred steps another network.
    """
    into[:] = 0
    num, width = rows.shape
    in_eights = width // 8 * 8
    for k in range(0, in_eights, 8):
        w_0, w_1, w_2, w_3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        w_4, w_5, w_6, w_7 = weights[k + 4], weights[k + 5], weights[k + 6], weights[k + 7]
        for b in range(num):
            row, sums = rows[b], into[b]
            x_0, x_1, x_2, x_3 = row[k], row[k + 1], row[k + 2], row[k + 3]
            x_4, x_5, x_6, x_7 = row[k + 4], row[k + 5], row[k + 6], row[k + 7]
            for m in range(width):
                first = sums[m] + x_0 * w_0[m] + x_1 * w_1[m] + x_2 * w_2[m] + x_3 * w_3[m]
                sums[m] = first + x_4 * w_4[m] + x_5 * w_5[m] + x_6 * w_6[m] + x_7 * w_7[m]
    for k in range(in_eights, width):
        for b in range(num):
            x, sums = rows[b, k], into[b]
            for m in range(width):
                sums[m] += x * weights[k, m]


@compiled
def fill_gate(z: Array, surrogate: int, slope: Any, gate: Array) -> None:
    """Fill dS/dZ (M,) at distances z (M,) from the threshold, as `surrogate_gradient` says."""
    kind = gate.dtype.type
    one = kind(1)
    if surrogate == FAST_SIGMOID:
        for m in range(len(gate)):
            wide = one + slope * abs(z[m])
            gate[m] = one / (wide * wide)
    elif surrogate == ATAN:
        for m in range(len(gate)):
            wide = kind(np.pi / 2) * slope * z[m]
            gate[m] = slope / kind(2) / (one + wide * wide)
    elif surrogate == TRIANGULAR:
        for m in range(len(gate)):
            gate[m] = max(kind(0), one - slope * abs(z[m]))
    else:
        for m in range(len(gate)):
            gate[m] = one if slope * abs(z[m]) <= one else kind(0)


@compiled
def lif_backward(
    starts: Array,
    row_ends: Array,
    unit: Array,
    count: Array,
    W: Array,
    beta: Array,
    constants: Array,
    adaptation: Array,
    delays: Array,
    surrogate: int,
    slope: Array,
    Z: Array,
    U_kept: Array,
    fired: Array,
    ends: Array,
    dS: Array,
    d_input_weights: Array,
    d_bias: Array,
    dW: Array,
    d_beta: Array,
) -> None:
    """Add the gradients of input weights, bias, recurrent weights and beta to arrays of zeros.

    Arguments as of `lif_forward`; `surrogate` in the order of SURROGATES with `slope` (R,). The
    adjoint recursion runs from the last bin to the first. The reset and the refractory period are
    left out of it, as in snntorch, where they are detached. `W_dI` holds what currents of the last
    bins gave back to those that sent them, for as many bins as the longest delay.
    """
    num_replicates, num_bins, num_windows, neurons = Z.shape
    kind = Z.dtype.type
    one = kind(1)
    shape = (num_windows, neurons)
    gate, arrived = np.empty(neurons, Z.dtype), np.empty(neurons, Z.dtype)
    W_dI = np.empty((delays.max(), num_windows, neurons), Z.dtype)
    dI = np.empty(shape, Z.dtype)
    W_turned = np.empty((neurons, neurons), Z.dtype)
    for r in range(num_replicates):
        alpha, _, rho = constants[r]
        g, delay = adaptation[r], delays[r]
        longest = delay.max()
        is_plain = alpha == 0 and g.max() == 0
        turn(W[r], W_turned)
        dU, dA = np.zeros(shape, Z.dtype), np.zeros(shape, Z.dtype)
        decay = beta[r]
        dI[:] = 0
        for t in range(num_bins - 1, -1, -1):
            multiply(dI, W_turned, W_dI[(t + 1) % longest])
            for b in range(num_windows):
                fill_gate(Z[r, t, b], surrogate, slope[r], gate)
                ds, w_di, du = dS[r, t, b], W_dI[0, b], dU[b]
                if longest > 1:
                    for m in range(neurons):
                        after = t + delay[m]
                        is_in = after < num_bins
                        arrived[m] = W_dI[after % longest, b, m] if is_in else kind(0)
                    w_di = arrived
                di = dI[b]  # until it is filled, that of the bin after
                if is_plain:
                    for m in range(neurons):
                        du[m] = decay[m] * du[m] + gate[m] * (ds[m] + w_di[m])
                        di[m] = du[m]
                else:
                    da = dA[b]
                    for m in range(neurons):
                        dz_m = gate[m] * (ds[m] + w_di[m] + (one - rho) * da[m])
                        du[m] = decay[m] * du[m] + dz_m
                        da[m] = rho * da[m] - g[m] * dz_m
                        di[m] = du[m] + alpha * di[m]
                if U_kept.size > 0 and t > 0:
                    for m in range(neurons):
                        d_beta[r, m] += du[m] * U_kept[r, t - 1, b, m]
                for m in range(neurons):
                    d_bias[r, m] += di[m]
                row, place = starts[r, b] + t, t * num_windows + b  # that of the last bin's spikes
                for k in range(row_ends[row], row_ends[row + 1]):
                    into, often = d_input_weights[r, unit[k]], kind(count[k])
                    for m in range(neurons):
                        into[m] += often * di[m]
                for k in range(ends[r, place], ends[r, place + 1]):
                    into = dW[r, fired[r, k]]
                    for m in range(neurons):
                        into[m] += di[m]


@compiled
def smooth_forward(S: Array, decay: Array, F: Array) -> None:
    """Fill the last bins of F (R, T - first, B, M), F[t] = a F[t-1] + (1 - a) S[t]."""
    num_replicates, num_bins, num_windows, neurons = S.shape
    first = num_bins - F.shape[1]
    F_now = np.empty((num_windows, neurons), S.dtype)
    for r in range(num_replicates):
        kept, taken = decay[r], 1 - decay[r]
        F_now[:] = 0
        for t in range(num_bins):
            for b in range(num_windows):
                s, f = S[r, t, b], F_now[b]
                for m in range(neurons):
                    f[m] = kept * f[m] + taken * s[m]
                if t >= first:
                    F[r, t - first, b] = f


@compiled
def smooth_backward(dF: Array, d_mean: Array, decay: Array, dS: Array) -> None:
    """Fill dS of `smooth_forward`, the same filter run backwards.

    `d_mean` (R, M) is added in the bins that were filled: the gradient of the sum of S over them.
    """
    num_replicates, num_bins, num_windows, neurons = dS.shape
    first = num_bins - dF.shape[1]
    dS_by_F = np.empty((num_windows, neurons), dS.dtype)
    for r in range(num_replicates):
        kept, taken, ds_by_mean = decay[r], 1 - decay[r], d_mean[r]
        dS_by_F[:] = 0
        for t in range(num_bins - 1, -1, -1):
            for b in range(num_windows):
                ds, ds_by_f = dS[r, t, b], dS_by_F[b]
                if t >= first:
                    df = dF[r, t - first, b]
                    for m in range(neurons):
                        ds_by_f[m] = kept * ds_by_f[m] + taken * df[m]
                        ds[m] = ds_by_f[m] + ds_by_mean[m]
                else:
                    for m in range(neurons):
                        ds_by_f[m] = kept * ds_by_f[m]
                        ds[m] = ds_by_f[m]


@compiled
def add_rows(S: Array, W: Array, SW: Array) -> None:
    """Add to SW (B, M) the row of W (M, M) of each spike of S (B, M)."""
    for b in range(len(S)):
        into = SW[b]
        for p in range(S.shape[1]):
            often = S[b, p]
            if often > 0:
                given = W[p]
                for m in range(len(into)):
                    into[m] += often * given[m]


@compiled
def izhikevich_forward(
    X: Array,
    W: Array,
    kinds: Array,
    num_steps: int,
    step_ms: float,
    scale: float,
    S: Array,
    VU: Array,
) -> None:
    """Fill spike counts S (R, T, B, M), and VU (2, R, T, B, M), both states before each bin.

    X (R, T, B, M) and W (R, M, M) in units of `scale`; `kinds` (R, 4, M) hold a, b, c and d.
    """
    num_replicates, num_bins, num_windows, neurons = S.shape
    kind = S.dtype.type
    i = np.empty(neurons, S.dtype)
    SW = np.zeros((num_windows, neurons), S.dtype)
    path = np.empty((3, num_steps, neurons), S.dtype)
    for r in range(num_replicates):
        V = np.full((num_windows, neurons), kind(REST_MV))
        U = np.empty((num_windows, neurons), S.dtype)
        U[:] = kinds[r, 1] * kind(REST_MV)
        for t in range(num_bins):
            SW[:] = 0
            if t > 0:
                add_rows(S[r, t - 1], W[r], SW)
            for b in range(num_windows):
                for m in range(neurons):
                    i[m] = kind(scale) * (X[r, t, b, m] + SW[b, m])
                VU[0, r, t, b] = V[b]
                VU[1, r, t, b] = U[b]
                izhikevich_bin(V[b], U[b], i, kinds[r], kind(step_ms), S[r, t, b], path)


@compiled
def izhikevich_bin(
    v: Array,
    u: Array,
    i: Array,
    kinds: Array,
    step_ms: Any,
    s: Array,
    path: Array,
) -> None:
    """Take both states v and u (M,) through a bin; fill s (M,), and `path` (3, steps, M).

    The path holds v before each half step and after the second, before a reset.
    """
    kind = s.dtype.type
    peak, least, half = kind(PEAK_MV), kind(LEAST_MV), step_ms / kind(2)
    a, b, c, d = kinds[0], kinds[1], kinds[2], kinds[3]
    s[:] = 0
    for step in range(path.shape[1]):
        v_0, v_1, v_2 = path[0, step], path[1, step], path[2, step]
        for m in range(len(s)):
            v_m, u_m, i_m = v[m], u[m], i[m]
            v_0[m] = v_m
            v_m += half * ((kind(0.04) * v_m + kind(5)) * v_m + kind(CHARGE) - u_m + i_m)
            v_m = max(least, min(v_m, peak))
            v_1[m] = v_m
            v_m += half * ((kind(0.04) * v_m + kind(5)) * v_m + kind(CHARGE) - u_m + i_m)
            v_m = max(least, min(v_m, peak))
            v_2[m] = v_m
            u_m += step_ms * a[m] * (b[m] * v_m - u_m)
            fires = v_m >= peak
            v[m] = c[m] if fires else v_m
            u[m] = u_m + d[m] if fires else u_m
            s[m] += kind(1) if fires else kind(0)


@compiled
def izhikevich_backward(
    X: Array,
    W: Array,
    kinds: Array,
    num_steps: int,
    step_ms: float,
    scale: float,
    arrived: float,
    surrogate: int,
    slope: Array,
    S: Array,
    VU: Array,
    dS: Array,
    dX: Array,
    dW: Array,
) -> None:
    """Fill dX, and add dW to zeros."""
    num_replicates, num_bins, num_windows, neurons = S.shape
    kind = S.dtype.type
    one, zero = kind(1), kind(0)
    span = kind(PEAK_MV - REST_MV)
    shape = (num_windows, neurons)
    h, half = kind(step_ms), kind(step_ms) / kind(2)
    i, s = np.empty(neurons, S.dtype), np.empty(neurons, S.dtype)
    v, u = np.empty(neurons, S.dtype), np.empty(neurons, S.dtype)
    z, gate = np.empty(neurons, S.dtype), np.empty(neurons, S.dtype)
    path = np.empty((3, num_steps, neurons), S.dtype)
    SW, W_dX = np.zeros(shape, S.dtype), np.empty(shape, S.dtype)
    W_turned = np.empty((neurons, neurons), S.dtype)
    for r in range(num_replicates):
        turn(W[r], W_turned)
        a, b, k = kinds[r, 0], kinds[r, 1], slope[r]
        dV, dU = np.zeros(shape, S.dtype), np.zeros(shape, S.dtype)
        for t in range(num_bins - 1, -1, -1):
            SW[:] = 0
            if t > 0:
                add_rows(S[r, t - 1], W[r], SW)
            if t < num_bins - 1:
                multiply(dX[r, t + 1], W_turned, W_dX)
            else:
                W_dX[:] = 0
            for w in range(num_windows):
                for m in range(neurons):
                    i[m] = kind(scale) * (X[r, t, w, m] + SW[w, m])
                v[:], u[:] = VU[0, r, t, w], VU[1, r, t, w]
                izhikevich_bin(v, u, i, kinds[r], h, s, path)
                dx = dX[r, t, w]
                dx[:] = 0
                for step in range(num_steps - 1, -1, -1):
                    v_0, v_1, v_2 = path[0, step], path[1, step], path[2, step]
                    for m in range(neurons):
                        z[m] = (v_2[m] - kind(PEAK_MV)) / span + kind(arrived)
                    fill_gate(z, surrogate, k, gate)
                    for m in range(neurons):
                        dv_kept = zero if v_2[m] >= kind(PEAK_MV) else dV[w, m]
                        du_m = dU[w, m]
                        dv_m = (
                            dv_kept
                            + gate[m] / span * (dS[r, t, w, m] + W_dX[w, m])
                            + du_m * h * a[m] * b[m]
                        )
                        du_m -= du_m * h * a[m] + half * dv_m
                        dx[m] += half * dv_m
                        rise = one + half * (kind(0.08) * v_1[m] + kind(5))
                        dv_m *= min(one, max(zero, rise))
                        du_m -= half * dv_m
                        dx[m] += half * dv_m
                        rise = one + half * (kind(0.08) * v_0[m] + kind(5))
                        dV[w, m] = dv_m * min(one, max(zero, rise))
                        dU[w, m] = du_m
                for m in range(neurons):
                    dx[m] *= kind(scale)
                if t > 0:
                    for p in range(neurons):
                        often = S[r, t - 1, w, p]
                        if often > 0:
                            into = dW[r, p]
                            for m in range(neurons):
                                into[m] += often * dx[m]
