"""Loops of recurrent spiking networks over sparse input, compiled for the CPU.

What is sparse is added, not multiplied: a step costs as many rows of weights as there are counts
and spikes. The one dense product is that of the adjoint with the recurrent weights. Replicates
are visited one after the other and share no number. All in one file: numba's cache of a function
is made anew when its own file changes, not when that of a function it calls does.
"""

# Shape legend: T bins, R replicates, B windows, N units, M neurons, K counts of a session.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

# numba's np.dot is SciPy's BLAS: loaded here, before anyone limits the threads of what is loaded.
import scipy.linalg.cython_blas  # noqa: F401
from numba import njit

Array = npt.NDArray[Any]
Loops = Callable[..., None]
# No rule of floating point is given up but one: a product and a sum may round once.
compiled: Callable[[Loops], Loops] = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract"}
)
PEAK_MV, REST_MV, LEAST_MV, CHARGE = 30.0, -65.0, -90.0, 140.0  # of Izhikevich neurons
FAST_SIGMOID, ATAN, STRAIGHT_THROUGH, TRIANGULAR = range(4)  # in the order of SURROGATES


@compiled
def lif_forward(
    starts: Array,
    row_ends: Array,
    unit: Array,
    count: Array,
    input_weights: Array,
    bias: Array,
    recurrent: Array,
    beta: Array,
    constants: Array,
    refractory: Array,
    spikes: Array,
    distance: Array,
    potentials: Array,
    fired: Array,
    ends: Array,
) -> None:
    """Fill spikes and U - threshold (R, T, B, M), and U where `potentials` is not empty.

    `starts` (R, B) are first bins of windows in the session, whose counts are `unit` and `count`
    (K,) up to `row_ends` (bins + 1,) of each bin; `constants` (R, 4) hold the synapse's decay,
    threshold, adaptation and its decay; `refractory` (R,) in bins. Weights (R, N, M), (R, M),
    (R, M, M) [pre, post]; `beta` (R, M). Distance is -inf in refractory bins. `fired` lists the
    neurons that fired, those of window b before bin t between ``ends[r, t * B + b]`` and the next.
    """
    num_replicates, num_bins, num_windows, neurons = spikes.shape
    kind = spikes.dtype.type
    fed = np.empty((num_windows, neurons), spikes.dtype)
    sent = np.empty((num_windows, neurons), spikes.dtype)
    for r in range(num_replicates):
        alpha, threshold, gain, rho = constants[r]
        is_plain = alpha == 0 and gain == 0 and refractory[r] == 0
        synapse = np.zeros((num_windows, neurons), spikes.dtype)
        potential = np.zeros((num_windows, neurons), spikes.dtype)
        adapted = np.zeros((num_windows, neurons), spikes.dtype)
        before = np.zeros((num_windows, neurons), spikes.dtype)
        hold = np.zeros((num_windows, neurons), np.int64)
        ends[r, : num_windows + 1] = 0
        weights, decay = recurrent[r], beta[r]
        for t in range(num_bins):
            place, after = t * num_windows, (t + 1) * num_windows
            for b in range(num_windows):
                row = starts[r, b] + t
                into = fed[b]
                into[:] = 0
                for k in range(row_ends[row], row_ends[row + 1]):
                    given, often = input_weights[r, unit[k]], kind(count[k])
                    for m in range(neurons):
                        into[m] += often * given[m]
                for m in range(neurons):
                    into[m] += bias[r, m]
            sent[:] = 0
            for b in range(num_windows):
                last = place + b
                add_listed(weights, fired[r, ends[r, last] : ends[r, last + 1]], sent[b])
            for b in range(num_windows):
                now, far, held = spikes[r, t, b], distance[r, t, b], potential[b]
                last_spikes, current, more = before[b], fed[b], sent[b]
                if is_plain:
                    for m in range(neurons):
                        held[m] = (
                            decay[m] * held[m] + (current[m] + more[m]) - threshold * last_spikes[m]
                        )
                        far[m] = held[m] - threshold
                        now[m] = kind(1) if far[m] > 0 else kind(0)
                else:
                    flowing, tired, closed = synapse[b], adapted[b], hold[b]
                    for m in range(neurons):
                        flowing[m] = alpha * flowing[m] + (current[m] + more[m])
                        held[m] = decay[m] * held[m] + flowing[m] - threshold * last_spikes[m]
                        tired[m] = rho * tired[m] + (kind(1) - rho) * last_spikes[m]
                        away = held[m] - (threshold + gain * tired[m])
                        if closed[m] > 0:
                            closed[m] -= 1
                            away = kind(-np.inf)
                        elif away > 0:
                            closed[m] = refractory[r]
                        far[m] = away
                        now[m] = kind(1) if away > 0 else kind(0)
                if potentials.size > 0:
                    potentials[r, t, b] = held
                before[b] = now
                found = ends[r, after + b]
                for m in range(neurons):
                    fired[r, found] = m
                    found += now[m] > 0
                ends[r, after + b + 1] = found


@compiled
def add_listed(weights: Array, chosen: Array, into: Array) -> None:
    """Add the `chosen` rows (K,) of weights (M, M) to `into` (M,), in their order, four a visit."""
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
    """Fill `turned` with the transpose of `values`, of which the last axis is the longer one."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            turned[j, i] = values[i, j]


@compiled
def turn_back(turned: Array, values: Array) -> None:
    """Undo `turn`."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            values[i, j] = turned[j, i]


@compiled
def fill_gate(distance: Array, surrogate: int, slope: Any, gate: Array) -> None:
    """Fill dS/dU (M,) at distances (M,) from the threshold, as `surrogate_gradient` says."""
    kind = gate.dtype.type
    one = kind(1)
    if surrogate == FAST_SIGMOID:
        for m in range(len(gate)):
            wide = one + slope * abs(distance[m])
            gate[m] = one / (wide * wide)
    elif surrogate == ATAN:
        for m in range(len(gate)):
            wide = kind(np.pi / 2) * slope * distance[m]
            gate[m] = slope / kind(2) / (one + wide * wide)
    elif surrogate == TRIANGULAR:
        for m in range(len(gate)):
            gate[m] = max(kind(0), one - slope * abs(distance[m]))
    else:
        for m in range(len(gate)):
            gate[m] = one if slope * abs(distance[m]) <= one else kind(0)


@compiled
def lif_backward(
    starts: Array,
    row_ends: Array,
    unit: Array,
    count: Array,
    recurrent: Array,
    beta: Array,
    constants: Array,
    surrogate: int,
    slope: Array,
    distance: Array,
    potentials: Array,
    fired: Array,
    ends: Array,
    grad_spikes: Array,
    grad_input: Array,
    grad_bias: Array,
    grad_recurrent: Array,
    grad_beta: Array,
) -> None:
    """Add the gradients of input weights, bias, recurrent weights and beta to arrays of zeros.

    Arguments as of `lif_forward`; `surrogate` in the order of SURROGATES with `slope` (R,). The
    adjoint recursion runs from the last bin to the first. The reset and the refractory period are
    left out of it, as in snntorch, where they are detached.
    """
    num_replicates, num_bins, num_windows, neurons = distance.shape
    kind = distance.dtype.type
    one = kind(1)
    shape = (num_windows, neurons)
    open_, felt = np.empty(neurons, distance.dtype), np.empty(shape, distance.dtype)
    through = np.empty(shape, distance.dtype)
    # In this order the product takes BLAS two thirds of the time of the other; and in one place,
    # for how it sums may depend on it.
    weights = np.empty((neurons, neurons), distance.dtype)
    later, sent = np.empty(shape[::-1], distance.dtype), np.empty(shape[::-1], distance.dtype)
    for r in range(num_replicates):
        alpha, _, gain, rho = constants[r]
        is_plain = alpha == 0 and gain == 0
        weights[:] = recurrent[r]
        on_potential, on_adapted = np.zeros(shape, distance.dtype), np.zeros(shape, distance.dtype)
        decay = beta[r]
        through[:] = 0
        for t in range(num_bins - 1, -1, -1):
            turn(through, later)
            np.dot(weights, later, out=sent)
            turn_back(sent, felt)
            for b in range(num_windows):
                fill_gate(distance[r, t, b], surrogate, slope[r], open_)
                given, on_spike, on_u = grad_spikes[r, t, b], felt[b], on_potential[b]
                out = through[b]  # until it is filled, that of the bin after
                if is_plain:
                    for m in range(neurons):
                        on_u[m] = decay[m] * on_u[m] + open_[m] * (given[m] + on_spike[m])
                        out[m] = on_u[m]
                else:
                    on_a = on_adapted[b]
                    for m in range(neurons):
                        pulled = open_[m] * (given[m] + on_spike[m] + (one - rho) * on_a[m])
                        on_u[m] = decay[m] * on_u[m] + pulled
                        on_a[m] = rho * on_a[m] - gain * pulled
                        out[m] = on_u[m] + alpha * out[m]
                if potentials.size > 0 and t > 0:
                    for m in range(neurons):
                        grad_beta[r, m] += on_u[m] * potentials[r, t - 1, b, m]
                for m in range(neurons):
                    grad_bias[r, m] += out[m]
                row, place = starts[r, b] + t, t * num_windows + b  # that of the last bin's spikes
                for k in range(row_ends[row], row_ends[row + 1]):
                    into, often = grad_input[r, unit[k]], kind(count[k])
                    for m in range(neurons):
                        into[m] += often * out[m]
                for k in range(ends[r, place], ends[r, place + 1]):
                    into = grad_recurrent[r, fired[r, k]]
                    for m in range(neurons):
                        into[m] += out[m]


@compiled
def smooth_forward(values: Array, decay: Array, smooth: Array) -> None:
    """Fill `smooth` with the last bins (R, T - first, B, M) of F[t] = a F[t-1] + (1 - a) S[t]."""
    num_replicates, num_bins, num_windows, neurons = values.shape
    first = num_bins - smooth.shape[1]
    state = np.empty((num_windows, neurons), values.dtype)
    for r in range(num_replicates):
        kept, taken = decay[r], 1 - decay[r]
        state[:] = 0
        for t in range(num_bins):
            for b in range(num_windows):
                now, held = values[r, t, b], state[b]
                for m in range(neurons):
                    held[m] = kept * held[m] + taken * now[m]
                if t >= first:
                    smooth[r, t - first, b] = held


@compiled
def smooth_backward(grad_smooth: Array, grad_mean: Array, decay: Array, grad_values: Array) -> None:
    """Fill the gradient of `smooth_forward`'s values, the same filter run backwards.

    `grad_mean` (R, M) is added in the bins that were filled: that of the values' sum over them.
    """
    num_replicates, num_bins, num_windows, neurons = grad_values.shape
    first = num_bins - grad_smooth.shape[1]
    state = np.empty((num_windows, neurons), grad_values.dtype)
    for r in range(num_replicates):
        kept, taken, more = decay[r], 1 - decay[r], grad_mean[r]
        state[:] = 0
        for t in range(num_bins - 1, -1, -1):
            for b in range(num_windows):
                out, held = grad_values[r, t, b], state[b]
                if t >= first:
                    now = grad_smooth[r, t - first, b]
                    for m in range(neurons):
                        held[m] = kept * held[m] + taken * now[m]
                        out[m] = held[m] + more[m]
                else:
                    for m in range(neurons):
                        held[m] = kept * held[m]
                        out[m] = held[m]


@compiled
def add_rows(spikes: Array, weights: Array, sent: Array) -> None:
    """Add to `sent` (B, M) the row of `weights` (M, M) of each spike (B, M)."""
    for b in range(len(spikes)):
        into = sent[b]
        for p in range(spikes.shape[1]):
            often = spikes[b, p]
            if often > 0:
                given = weights[p]
                for m in range(len(into)):
                    into[m] += often * given[m]


@compiled
def izhikevich_forward(
    currents: Array,
    recurrent: Array,
    kinds: Array,
    num_steps: int,
    step_ms: float,
    scale: float,
    spikes: Array,
    states: Array,
) -> None:
    """Fill spike counts (R, T, B, M), and v and u (2, R, T, B, M) before each bin.

    `currents` (R, T, B, M) and `recurrent` (R, M, M) in units of `scale`; `kinds` (R, 4, M) hold
    a, b, c and d.
    """
    num_replicates, num_bins, num_windows, neurons = spikes.shape
    kind = spikes.dtype.type
    total = np.empty(neurons, spikes.dtype)
    sent = np.zeros((num_windows, neurons), spikes.dtype)
    path = np.empty((3, num_steps, neurons), spikes.dtype)
    for r in range(num_replicates):
        potential = np.full((num_windows, neurons), kind(REST_MV))
        recovery = np.empty((num_windows, neurons), spikes.dtype)
        recovery[:] = kinds[r, 1] * kind(REST_MV)
        for t in range(num_bins):
            sent[:] = 0
            if t > 0:
                add_rows(spikes[r, t - 1], recurrent[r], sent)
            for b in range(num_windows):
                for m in range(neurons):
                    total[m] = kind(scale) * (currents[r, t, b, m] + sent[b, m])
                states[0, r, t, b] = potential[b]
                states[1, r, t, b] = recovery[b]
                izhikevich_bin(
                    potential[b], recovery[b], total, kinds[r], kind(step_ms), spikes[r, t, b], path
                )


@compiled
def izhikevich_bin(
    potential: Array,
    recovery: Array,
    current: Array,
    kinds: Array,
    step_ms: Any,
    fired: Array,
    path: Array,
) -> None:
    """Take both states (M,) through a bin; fill spikes (M,), and `path` (3, steps, M).

    The path holds v before each half step and after the second, before a reset.
    """
    kind = fired.dtype.type
    peak, least, half = kind(PEAK_MV), kind(LEAST_MV), step_ms / kind(2)
    a, b, c, d = kinds[0], kinds[1], kinds[2], kinds[3]
    fired[:] = 0
    for step in range(path.shape[1]):
        first, second, third = path[0, step], path[1, step], path[2, step]
        for m in range(len(fired)):
            v, u, given = potential[m], recovery[m], current[m]
            first[m] = v
            v += half * ((kind(0.04) * v + kind(5)) * v + kind(CHARGE) - u + given)
            v = max(least, min(v, peak))
            second[m] = v
            v += half * ((kind(0.04) * v + kind(5)) * v + kind(CHARGE) - u + given)
            v = max(least, min(v, peak))
            third[m] = v
            u += step_ms * a[m] * (b[m] * v - u)
            now = v >= peak
            potential[m] = c[m] if now else v
            recovery[m] = u + d[m] if now else u
            fired[m] += kind(1) if now else kind(0)


@compiled
def izhikevich_backward(
    currents: Array,
    recurrent: Array,
    kinds: Array,
    num_steps: int,
    step_ms: float,
    scale: float,
    arrived: float,
    surrogate: int,
    slope: Array,
    spikes: Array,
    states: Array,
    grad_spikes: Array,
    grad_currents: Array,
    grad_recurrent: Array,
) -> None:
    """Fill the gradient of the currents, and add that of the recurrent weights to zeros."""
    num_replicates, num_bins, num_windows, neurons = spikes.shape
    kind = spikes.dtype.type
    one, zero = kind(1), kind(0)
    span = kind(PEAK_MV - REST_MV)
    shape = (num_windows, neurons)
    step, half = kind(step_ms), kind(step_ms) / kind(2)
    total, fired = np.empty(neurons, spikes.dtype), np.empty(neurons, spikes.dtype)
    potential, recovery = np.empty(neurons, spikes.dtype), np.empty(neurons, spikes.dtype)
    far, open_ = np.empty(neurons, spikes.dtype), np.empty(neurons, spikes.dtype)
    path = np.empty((3, num_steps, neurons), spikes.dtype)
    sent, felt = np.zeros(shape, spikes.dtype), np.empty(shape, spikes.dtype)
    weights = np.empty((neurons, neurons), spikes.dtype)  # as in `lif_backward`
    later, given = np.empty(shape[::-1], spikes.dtype), np.empty(shape[::-1], spikes.dtype)
    for r in range(num_replicates):
        weights[:] = recurrent[r]
        a, b, k = kinds[r, 0], kinds[r, 1], slope[r]
        on_v, on_u = np.zeros(shape, spikes.dtype), np.zeros(shape, spikes.dtype)
        for t in range(num_bins - 1, -1, -1):
            sent[:] = 0
            if t > 0:
                add_rows(spikes[r, t - 1], recurrent[r], sent)
            if t < num_bins - 1:
                turn(grad_currents[r, t + 1], later)
                np.dot(weights, later, out=given)
                turn_back(given, felt)
            else:
                felt[:] = 0
            for w in range(num_windows):
                for m in range(neurons):
                    total[m] = kind(scale) * (currents[r, t, w, m] + sent[w, m])
                potential[:], recovery[:] = states[0, r, t, w], states[1, r, t, w]
                izhikevich_bin(potential, recovery, total, kinds[r], step, fired, path)
                out = grad_currents[r, t, w]
                out[:] = 0
                for s in range(num_steps - 1, -1, -1):
                    first, second, third = path[0, s], path[1, s], path[2, s]
                    for m in range(neurons):
                        far[m] = (third[m] - kind(PEAK_MV)) / span + kind(arrived)
                    fill_gate(far, surrogate, k, open_)
                    for m in range(neurons):
                        kept = zero if third[m] >= kind(PEAK_MV) else on_v[w, m]
                        late = on_u[w, m]
                        pulled = (
                            kept
                            + open_[m] / span * (grad_spikes[r, t, w, m] + felt[w, m])
                            + late * step * a[m] * b[m]
                        )
                        late -= late * step * a[m] + half * pulled
                        out[m] += half * pulled
                        rise = one + half * (kind(0.08) * second[m] + kind(5))
                        pulled *= min(one, max(zero, rise))
                        late -= half * pulled
                        out[m] += half * pulled
                        rise = one + half * (kind(0.08) * first[m] + kind(5))
                        on_v[w, m] = pulled * min(one, max(zero, rise))
                        on_u[w, m] = late
                for m in range(neurons):
                    out[m] *= kind(scale)
                if t > 0:
                    for p in range(neurons):
                        often = spikes[r, t - 1, w, p]
                        if often > 0:
                            into = grad_recurrent[r, p]
                            for m in range(neurons):
                                into[m] += often * out[m]
