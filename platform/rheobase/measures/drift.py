"""What time in the session and state alone explain of the latents."""

# Shape legend: T bins, L scored bins or train bins, C columns, D dimensions.

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.cca_moments import best_shrinkage, fold_scores, heldout_of
from rheobase.measures.moments import CrossMoments, moments_of, pooled_moments, refuse_constant
from rheobase.measures.probes import folds
from rheobase.measures.shifts import Rows, segments_of
from rheobase.shards.timeline import Timeline

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
ADAPTATIONS_S = (10.0, 60.0, 300.0)
NUM_CURVES = (0, 2, 8, 32, 128)
LEAST_HALF_PERIOD_S = 5.0  # of the fastest curve: no block is shorter
MOST_BINS = 20_000


class Drift(NamedTuple):
    """What time alone explains.

    Attributes
    ----------
    cca
        Held-out CCA of functions of time with the latents; None where it cannot be had.
    num_curves
        Number of cosines that were chosen inside train.
    note
        Why it cannot be had.
    """

    cca: float | None
    num_curves: int | None = None
    note: str | None = None


def null_drift(y: npt.NDArray[Any], timeline: Timeline, valid: Bools | None = None) -> Drift:
    r"""Return the held-out CCA of functions of time and state with the latents.

    Parameters
    ----------
    y
        (T, D) latents. Test bins that are not open are never read.
    timeline
        Labels (T,).
    valid
        (T,) bins to fit and to score; all where None. Those of the shift null, to compare with it.

    Returns
    -------
    One number for a session, of the same fit and score as `heldout_cca`; what a student of the
    teacher must exceed, or time alone would do as well.

    Notes
    -----
    Features: an intercept for each state; exponentials :math:`e^{-t / \tau}` of the time since the
    start of each segment, :math:`\tau` = 10, 60 and 300 s (adaptation); cosines
    :math:`\cos(\pi k t / T)`, k = 1 ... K, of the time in the session. Of trial-binned data time is
    that of the trial's start, and adaptation since the first one's. K, one of 0, 2, 8, 32 and 128
    and no faster than 5 s from peak to trough, and the shrinkage are chosen over folds of whole
    groups inside train. Of more than 20,000 bins evenly spaced ones are taken. Blocks shorter than
    the latents' memory let time alone tell much: that is what the number says.
    """
    chosen = np.ones(len(timeline), bool) if valid is None else valid
    try:
        return _drift(np.asarray(y), timeline, chosen)
    except DataError as error:
        return Drift(None, note=f"null_drift: {error}")


def _drift(y: npt.NDArray[Any], timeline: Timeline, chosen: Bools) -> Drift:
    every = -(-len(timeline) // MOST_BINS)
    train, scored = (
        np.flatnonzero(part & chosen)[::every] for part in (timeline.train, timeline.scored)
    )
    if len(scored) == 0:
        raise DataError("at least 1 bin must be scored, but none is")
    fold = folds(timeline.group[train])
    for bins in (train, scored):
        if not np.isfinite(y[bins]).all():
            raise DataError("every value of y must be finite, but it holds NaN or infinity")
        refuse_constant(np.ptp(y[bins], axis=0))
    inside, outside = (time_features(timeline, bins) for bins in (train, scored))
    parts = [moments_of(inside[fold == one], y[train[fold == one]]) for one in np.unique(fold)]
    test = moments_of(outside, y[scored])
    least = min(sum(part.num for part in parts) - part.num for part in parts)
    always = inside.shape[1] - _most_curves(timeline)
    best = (-np.inf, 0)
    for num in NUM_CURVES:
        columns = always + num
        if columns > inside.shape[1] or least < columns + y.shape[1] + 2:
            break
        score = float(fold_scores([_first(part, columns) for part in parts]).max())
        if score > best[0]:
            best = (score, num)
    score, num = best
    if not np.isfinite(score):
        raise DataError(
            f"more train bins must hold to fit functions of time, but got {least}; use a longer "
            "recording"
        )
    cut = [_first(part, always + num) for part in parts]
    held = heldout_of(pooled_moments(cut), _first(test, always + num), best_shrinkage(cut))
    return Drift(held.mean, num)


def time_features(timeline: Timeline, bins: Rows) -> Floats:
    """Return functions of time and state at some bins, (L, C): the fastest cosines last.

    Parameters
    ----------
    timeline
        Labels (T,).
    bins
        (L,) bins.

    Returns
    -------
    Columns for all states but the first, the adaptations, and the cosines, each of about the same
    size.
    """
    start = np.empty(len(timeline))
    for segment in segments_of(timeline):
        start[segment] = timeline.time_s[segment[0]]
    begun_s, lasted_s = timeline.time_s.min(), _lasted_s(timeline)
    if timeline.kind == "trials":
        time_s = start[bins] - begun_s
        since_s = time_s
    else:
        time_s = timeline.time_s[bins] - begun_s
        since_s = timeline.time_s[bins] - start[bins]
    states = [timeline.state[bins] == state for state in np.unique(timeline.state)[1:]]
    adapted = [np.exp(-since_s / tau) for tau in ADAPTATIONS_S]
    numbers = range(1, _most_curves(timeline) + 1)
    curves = [np.cos(np.pi * number * time_s / lasted_s) for number in numbers]
    return np.stack([*states, *adapted, *curves], axis=1).astype(np.float64)


def _lasted_s(timeline: Timeline) -> float:
    return float(np.ptp(timeline.time_s)) + timeline.bin_ms / 1000


def _most_curves(timeline: Timeline) -> int:
    most = _lasted_s(timeline) / LEAST_HALF_PERIOD_S
    return max(num for num in NUM_CURVES if num <= most)


def _first(moments: CrossMoments, columns: int) -> CrossMoments:
    """Return the moments of the first columns of x."""
    return replace(
        moments,
        mean_x=moments.mean_x[:columns],
        xx=moments.xx[:columns, :columns],
        xy=moments.xy[:columns],
    )
