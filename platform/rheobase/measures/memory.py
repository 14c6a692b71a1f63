"""How long signals remember, and whether the blocks of a split are longer than that."""

# Shape legend: T bins, D dimensions, M features, L lags.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.shifts import segments_of
from rheobase.shards.timeline import Timeline

Floats = npt.NDArray[np.float64]
STEP_S = 0.5  # means are taken over about this long, or over one period of the presentations
LEAST_STEPS = 16  # of a segment
WINDOW = 5.0  # autocorrelation times that are summed over
SURE = 3.0  # standard errors by which neighbouring means must correlate
BLOCKS, GAPS = 4.0, 1.0  # of the shared memory; of two signals alike, 2 and 0.5 of their own
EASE = 1.5  # by which an estimated memory may be too long
LEAST_BLOCK_S, LEAST_GAP_S = 5.0, 0.5
LEAST_BLOCKS = 8  # of a state, for a split of them to have two of validation and test


def autocorrelation_time(values: npt.NDArray[Any], timeline: Timeline) -> Floats:
    r"""Return the autocorrelation time of each dimension in seconds, (D,).

    Parameters
    ----------
    values
        (T, D) latents or features. Test bins that are not open are never read.
    timeline
        Labels (T,).

    Returns
    -------
    0 where means over a step of 0.5 s (one period of the presentations where they have one; a
    sixteenth of the shortest trial where that is less) do not correlate with the next.
    A signal slower than a segment reads as about a twelfth of the segment, not as its own time:
    what is slower than a segment cannot be told from its mean.

    Raises
    ------
    DataError
        No segment has three steps in a row to read.

    Notes
    -----
    For an autocorrelation :math:`\rho(t) = a e^{-t / \tau}` beyond one step :math:`\Delta`,
    :math:`R = \sum_{k \ge 1} \rho_k / \rho_1 = 1 / (1 - e^{-\Delta / \tau})`, so that
    :math:`\tau = -\Delta / \log(1 - 1 / R)`: exact for AR(1), under noise of whatever share that is
    faster than a step. Any other decay gets the time of the AR(1) with the same sum. The sum ends
    at the first lag of :math:`5 \tau` (Sokal 1997, *Monte Carlo methods in statistical mechanics*).
    Autocovariances are sums over pairs of known steps within segments, about each segment's mean
    (of trials, about the mean over trials of each step), by FFT, over the number of pairs.
    Whole periods are averaged because what recurs with the clock is the clock null's concern.
    """
    pieces, step_s = _steps(values, timeline)
    longest = max(len(known) for _, known in pieces)
    size = 2 ** int(np.ceil(np.log2(2 * longest)))
    total = np.zeros((longest, pieces[0][0].shape[1]))
    pairs = np.zeros(longest)
    for means, known in pieces:
        power = np.abs(np.fft.rfft(means, size, axis=0)) ** 2
        total += np.fft.irfft(power, size, axis=0)[:longest]
        where = np.abs(np.fft.rfft(known, size)) ** 2
        pairs += np.fft.irfft(where, size)[:longest]
    lags = int(np.argmin(np.append(np.round(pairs) > 0, False)))
    if lags < 3:
        raise DataError(
            "a segment of three steps in a row must hold to tell how long signals remember, but "
            f"none of {step_s:g} s does; use a longer recording"
        )
    covariance = total[:lags] / np.round(pairs[:lags, None])
    return np.array([_decay_s(one, step_s, pairs[1]) for one in covariance.T])


def _steps(
    values: npt.NDArray[Any], timeline: Timeline
) -> tuple[list[tuple[Floats, Floats]], float]:
    """Return means about 0 over steps of each segment, whether each is known, and a step's length.

    A step with a sealed bin in it is 0 and not known.
    """
    bin_s, segments = timeline.bin_ms / 1000, segments_of(timeline)
    step = max(1, round((timeline.period_s or STEP_S) / bin_s))
    if timeline.kind == "trials":
        step = max(1, min(step, min(map(len, segments)) // LEAST_STEPS))
    pieces: list[tuple[Floats, Floats]] = []
    for segment in segments:
        num = len(segment) // step
        bins = segment[: num * step].reshape(num, step)
        is_known = np.asarray(~timeline.sealed[bins].any(axis=1), bool)
        if is_known.any():
            means = np.zeros((num, values.shape[1]))
            means[is_known] = np.mean(values[bins[is_known]], axis=1, dtype=np.float64)
            pieces.append((means, np.asarray(is_known, np.float64)))
    if not pieces:
        raise DataError("a segment that is not held back must hold to tell its memory, none does")
    if timeline.kind == "trials":
        _take_off_evoked(pieces)
    else:
        for means, known in pieces:
            means -= known[:, None] * (means.sum(axis=0) / known.sum())
    return pieces, step * bin_s


def _take_off_evoked(trials: list[tuple[Floats, Floats]]) -> None:
    """Take off the mean over trials of each step."""
    longest = max(len(known) for _, known in trials)
    total, times = np.zeros((longest, trials[0][0].shape[1])), np.zeros((longest, 1))
    for means, known in trials:
        total[: len(known)] += means
        times[: len(known), 0] += known
    evoked = total / np.maximum(times, 1)
    for means, known in trials:
        means -= evoked[: len(known)] * known[:, None]


def _decay_s(covariance: Floats, step_s: float, num_pairs: float) -> float:
    """Return the decay time of an autocovariance (L,) beyond its first lag."""
    if covariance[1] <= SURE / np.sqrt(num_pairs) * covariance[0] or covariance[0] <= 0:
        return 0.0
    sums = np.cumsum(covariance[1:] / covariance[1])
    times = step_s * np.array([-1 / np.log1p(-1 / one) if one > 1 else 0.0 for one in sums])
    lags_s = step_s * np.arange(1, len(covariance))
    enough = np.flatnonzero((lags_s >= WINDOW * times) & (lags_s > step_s))
    return float(times[enough[0]] if len(enough) else times.max())


def shared_memory(student_s: npt.NDArray[Any], latents_s: npt.NDArray[Any]) -> Floats:
    r"""Return how long the product of each latent and the slowest feature remembers, (D,) seconds.

    Parameters
    ----------
    student_s
        (M,) autocorrelation times of the features.
    latents_s
        (D,) autocorrelation times of the latents.

    Returns
    -------
    0 where either does not remember.

    Notes
    -----
    :math:`\tau_x \tau_y / (\tau_x + \tau_y)` for two AR(1) signals: the sum of the products of
    their autocorrelations, which is what decides how far the correlation of two signals that
    share nothing strays from 0 (Bartlett 1935).
    """
    slowest = float(np.max(student_s, initial=0.0))
    both = slowest + np.asarray(latents_s, np.float64)
    return np.where(both > 0, slowest * latents_s / np.where(both > 0, both, 1.0), 0.0)


class SplitMemory(NamedTuple):
    """Whether the blocks of a split are longer than what it holds out remembers.

    Attributes
    ----------
    holds
        Whether they are, for every dimension.
    dims
        Dimensions for which they are not, from 0.
    block_s, gap_ms
        What would be long enough for all.
    note
        One line with what to do; None where it holds.
    """

    holds: bool
    dims: tuple[int, ...]
    block_s: float
    gap_ms: float
    note: str | None


def judge_split(
    student_s: npt.NDArray[Any],
    latents_s: npt.NDArray[Any],
    *,
    block_s: float,
    gap_ms: float,
    recorded_s: float,
) -> SplitMemory:
    """Return whether blocks and gaps are longer than the memory of what is held out.

    Parameters
    ----------
    student_s
        (M,) autocorrelation times of the features.
    latents_s
        (D,) autocorrelation times of the latents.
    block_s
        Length of a block in seconds: data.split.block_s.
    gap_ms
        Thrown away on each side of a border: data.split.gap_ms.
    recorded_s
        Seconds of the state that was recorded least.

    Returns
    -------
    Blocks must last 4 shared memories and gaps 1 (`shared_memory`), and never under 5 s and 0.5 s.
    Of signals that remember equally long that is 2 and 0.5 of their own autocorrelation times.
    As the slowest of many estimates is too slow, blocks and gaps may fall short of it by a third.

    Notes
    -----
    Where it does not hold, signals that share nothing have a held-out CCA far above 0, which the
    shift null shows too; benchmarks/null_validity.md measures both.
    """
    memory = shared_memory(student_s, latents_s)
    wrong = np.flatnonzero(
        (block_s < np.maximum(LEAST_BLOCK_S, BLOCKS * memory / EASE))
        | (gap_ms < 1000 * np.maximum(LEAST_GAP_S, GAPS * memory / EASE))
    )
    longest = float(memory.max(initial=0.0))
    need_s = max(LEAST_BLOCK_S, float(np.ceil(BLOCKS * longest)))
    need_ms = 1000 * max(LEAST_GAP_S, float(np.ceil(2 * GAPS * longest)) / 2)
    dims = tuple(int(dim) for dim in wrong)
    if not dims:
        return SplitMemory(True, (), need_s, need_ms, None)
    slowest = int(np.argmax(memory))
    cure = f"use data.split.block_s >= {need_s:g} and data.split.gap_ms >= {need_ms:g}"
    if recorded_s < LEAST_BLOCKS * need_s:
        cure = f"no split of {recorded_s:g} s can hold them out: record longer"
    note = (
        f"blocks and gaps must be longer than the signals' memory, but data.split.block_s = "
        f"{block_s:g} and data.split.gap_ms = {gap_ms:g}, and the autocorrelation time of latent "
        f"{slowest} is {latents_s[slowest]:.3g} s, of the slowest feature {np.max(student_s):.3g} "
        f"s; {cure}; chance is above 0, and the nulls alone tell it, for dimensions "
        f"{', '.join(map(str, dims))}"
    )
    return SplitMemory(False, dims, need_s, need_ms, note)
