"""Null distributions of held-out CCA: teachers that are shifted, or know the clock alone."""

# Shape legend: T bins, M features, D teacher dimensions.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.cca import heldout_cca_of_rows
from rheobase.shards.shard import NONE
from rheobase.shards.timeline import Timeline

Rows = npt.NDArray[np.int64]
FLASH_PERIOD_S = 0.75  # Allen Visual Behavior: 250 ms image, 500 ms grey
MIN_SHIFT_S = 10.0
LEAST_PHASE_S = 0.1  # a shift stays this far from every multiple of the flash period


@dataclass(frozen=True, eq=False)
class NullRows:
    """Which bin's latents stand in for each bin's: `rows`, each (T,), over `valid` bins (T,)."""

    rows: tuple[Rows, ...]
    valid: npt.NDArray[np.bool_]


def shift_rows(timeline: Timeline, random: np.random.Generator, num_draws: int) -> NullRows:
    """Draw circular shifts of the teacher within each segment, or permuted trials.

    Parameters
    ----------
    timeline
        Labels (T,).
    random
        Generator of the draws.
    num_draws
        Number of draws.

    Returns
    -------
    Rows for which the latents are rolled by at least 10 s either way and, where there are
    presentations, never to within 0.1 s of a multiple of the flash period. Trial-binned data
    has its trials permuted instead, no trial staying in place.

    Raises
    ------
    DataError
        A segment is too short to be shifted.
    """
    if timeline.kind == "trials":
        return _permuted_trials(timeline, random, num_draws)
    bin_s = timeline.bin_ms / 1000
    segments = _segments(timeline)
    shortest = min(len(segment) for segment in segments)
    shifts = np.arange(round(MIN_SHIFT_S / bin_s), shortest - round(MIN_SHIFT_S / bin_s) + 1)
    if (timeline.presentation != NONE).any():
        off = (shifts * bin_s) % FLASH_PERIOD_S
        # Rolled around the end of a segment the shift is the complement, also kept off phase.
        back = np.concatenate([[(len(s) - shifts) * bin_s % FLASH_PERIOD_S] for s in segments])
        near = np.minimum(np.vstack([off, back]), FLASH_PERIOD_S - np.vstack([off, back]))
        shifts = shifts[(near >= LEAST_PHASE_S).all(axis=0)]
    if len(shifts) == 0:
        raise DataError(
            f"segments of at least {2 * MIN_SHIFT_S:g} s must hold to shift the teacher, but the "
            f"shortest lasts {shortest * bin_s:g} s"
        )
    drawn = random.choice(shifts, num_draws)
    rows = tuple(np.concatenate([np.roll(s, -shift) for s in segments]) for shift in drawn)
    return NullRows(rows, np.ones(len(timeline), bool))


def clock_rows(timeline: Timeline, random: np.random.Generator, num_draws: int) -> NullRows:
    """Draw permutations of the presentations of each segment, phase kept.

    What such a teacher earns, the stimulus clock alone earns. Bins before the first onset, and
    phases that not every presentation of the recording reaches, are not valid. Trial-binned
    data has its trials permuted, which is its shift null too.

    Raises
    ------
    DataError
        The recording has fewer than two presentations.
    """
    if timeline.kind == "trials":
        return _permuted_trials(timeline, random, num_draws)
    slots = [
        np.flatnonzero((timeline.presentation == shown) & (timeline.segment == segment))
        for segment in np.unique(timeline.segment)
        for shown in np.unique(timeline.presentation[timeline.segment == segment])
        if shown != NONE
    ]
    if len(slots) < 2:
        raise DataError("at least 2 presentations must hold to permute them, but got fewer")
    length = int(np.median([len(slot) for slot in slots]))
    # A presentation cut off by the end of its segment takes no part.
    slots = [slot[: length - 1] for slot in slots if len(slot) >= length - 1]
    valid = np.zeros(len(timeline), bool)
    valid[np.concatenate(slots)] = True
    where = np.array([timeline.segment[slot[0]] for slot in slots])
    return NullRows(
        tuple(_permuted(slots, where, len(timeline), random) for _ in range(num_draws)), valid
    )


def null_cca(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    timeline: Timeline,
    null: NullRows,
    shrinkage: float,
) -> npt.NDArray[np.float64]:
    """Return held-out CCA of x (T, M) with each draw's teacher y[rows] (T, D), as (draws,).

    The same numbers as `heldout_cca`: projections fitted on train, signed score on test.
    """
    train, test = timeline.train & null.valid, timeline.test & null.valid
    return heldout_cca_of_rows(x, y, null.rows, shrinkage=shrinkage, train=train, test=test)


def _segments(timeline: Timeline) -> list[Rows]:
    borders = np.flatnonzero(np.diff(timeline.segment)) + 1
    return np.split(np.arange(len(timeline)), borders)


def _permuted(
    slots: list[Rows], where: npt.NDArray[Any], num_bins: int, random: np.random.Generator
) -> Rows:
    rows = np.arange(num_bins)
    for segment in np.unique(where):
        members = np.flatnonzero(where == segment)
        # A random cycle: no slot keeps its own latents.
        order = random.permutation(members)
        for slot, other in zip(order, np.roll(order, 1), strict=True):
            rows[slots[slot]] = slots[other]
    return rows


def _permuted_trials(timeline: Timeline, random: np.random.Generator, num_draws: int) -> NullRows:
    trials = _segments(timeline)
    if len(trials) < 2:
        raise DataError("at least 2 trials must hold to permute them, but got fewer")
    together = np.zeros(len(trials), int)
    rows = tuple(_permuted(trials, together, len(timeline), random) for _ in range(num_draws))
    return NullRows(rows, np.ones(len(timeline), bool))
