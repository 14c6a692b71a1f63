"""Held-out CCA, Procrustes and the shift null of any two arrays."""

# Shape legend: B samples, M features, D dimensions, I blocks held out.

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from rheobase.core.archives import read_array
from rheobase.core.errors import DataError
from rheobase.core.seeds import generator
from rheobase.measures.blocks import block_values
from rheobase.measures.cca import heldout_cca
from rheobase.measures.moments import moments_of
from rheobase.measures.nulls import Measured, NullRows, null_cca, own_cca
from rheobase.measures.procrustes import heldout_procrustes
from rheobase.measures.shifts import ENDS
from rheobase.shards.timeline import Timeline

NUM_NULL_DRAWS = 100
FEWEST_BLOCKS = 4  # held out, for an interval over them
OF_ARRAYS = ("ci95",)  # what is told of arrays in memory alone
LEAST_SHIFT = 0.05  # of all samples; at least the longest group
MOST = 1e100


@dataclass(frozen=True, kw_only=True)
class ArrayScore:
    """What is measured of two arrays.

    Attributes
    ----------
    cca_heldout
        Held-out CCA, the mean of `cca_pairs`.
    cca_pairs
        (D,) correlation of each canonical pair on held-out samples.
    shrinkage
        Chosen inside train.
    procrustes
        Held-out Procrustes similarity.
    null_shift_mean, null_shift_q95
        Held-out CCA of 100 shifts of y in time: what unrelated signals as slow as these give.
    null_shift_own
        That of y itself on the samples that the shifts are scored on: what must exceed the second.
    null_clock_q95
        Always None: arrays name no presentations.
    num_groups, num_test_groups, num_train, num_test
        Sizes.
    notes
        Why a number is None.
    ci95
        95 % interval of `cca_heldout`, over held-out groups: it speaks of other stretches of this
        recording.
    """

    cca_heldout: float
    cca_pairs: list[float]
    shrinkage: float
    procrustes: float
    null_shift_mean: float | None = None
    null_shift_q95: float | None = None
    null_shift_own: float | None = None
    null_clock_q95: float | None = None
    num_groups: int
    num_test_groups: int
    num_train: int
    num_test: int
    notes: list[str]
    ci95: tuple[float, float] | None = None


def score_arrays(
    a: Path, b: Path, groups: Path, *, test: float = 0.2, seed: int = 0
) -> dict[str, Any]:
    """Return the measures of two stored arrays as plain JSON values.

    Parameters
    ----------
    a
        ``.npy`` (B, M): the student's features.
    b
        ``.npy`` (B, D): the teacher's latents.
    groups
        ``.npy`` (B,): samples of one group are all fitted or all scored. Blocks of time, or
        trials; never single bins of a signal that is slow.
    test
        Share of the groups to score, drawn at random.
    seed
        Of that draw, and of the null's.

    Returns
    -------
    ``cca_heldout``, the mean of ``cca_pairs`` (D,); ``shrinkage``; ``procrustes``;
    ``null_shift_mean`` and ``null_shift_q95`` of 100 draws, and ``null_shift_own``, the held-out
    CCA that must exceed the second: on the same samples; sizes; ``notes``.

    Raises
    ------
    DataError
        A file is not what it must be, or there are too few groups.

    Notes
    -----
    The null shifts b by a twentieth of the samples at least, and by the longest group, to a fifth
    of them, either way, and takes the samples for which no shift reaches past the ends (Harris
    2020): all but a fifth at each end. Samples must be in order of time. Neighbouring groups are
    used as they come, so that arrays of a slow signal should leave out the bins at their borders.
    """
    x, y, labels = _read(a, 2), _read(b, 2), _read(groups, 1)
    scored = score_of(x, y, labels, test=test, seed=seed, where=f"{groups}: ")
    return {name: value for name, value in vars(scored).items() if name not in OF_ARRAYS}


def score_of(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    *,
    test: float,
    seed: int,
    where: str = "",
) -> ArrayScore:
    """Return the measures of two arrays.

    Parameters
    ----------
    x
        (B, M) the student's features.
    y
        (B, D) the teacher's latents.
    labels
        (B,) group of each sample.
    test, seed
        As `score_arrays` takes them.
    where
        What errors about groups begin with.

    Returns
    -------
    The measures, with the interval of the held-out CCA.

    Raises
    ------
    DataError
        The arrays do not fit each other, or there are too few groups.
    """
    if not len(x) == len(y) == len(labels):
        raise DataError(
            f"A, B and G must have as many samples, but got {len(x)}, {len(y)} and {len(labels)}"
        )
    if not 0 < test < 1:
        raise DataError(f"0 < test < 1 must hold, but got {test:g}; 0.2 holds out a fifth")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError(
            f"{where}every sample must have a group, but {int((~np.isfinite(labels)).sum())} "
            "are NaN or infinite; leave those samples out of A, B and G"
        )
    names, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) < 3:
        raise DataError(
            f"{where}at least 3 groups must hold, two to fit and one to score, but got "
            f"{len(names)}; use smaller groups"
        )
    num_test = min(max(1, round(test * len(names))), len(names) - 2)
    chosen = generator(seed, "score", "split").choice(len(names), num_test, replace=False)
    timeline = Timeline.of(np.isin(group, chosen), group=group, bin_ms=1.0)
    held = heldout_cca(x, y, timeline)
    here = timeline.scored
    notes = ["null_clock: arrays name no presentations"]
    score = ArrayScore(
        cca_heldout=held.mean,
        cca_pairs=held.pairs.tolist(),
        shrinkage=held.fit.shrinkage,
        procrustes=heldout_procrustes(x, y, timeline),
        num_groups=len(names),
        num_test_groups=num_test,
        num_train=int(timeline.train.sum()),
        num_test=int(here.sum()),
        notes=notes,
        ci95=_interval(block_values(held.fit, x[here], y[here], timeline.group[here]), notes),
    )
    least, room = max(int(sizes.max()), round(LEAST_SHIFT * len(x))), len(x) // ENDS
    if least > room:
        notes.append(
            "null_shift: a group must hold at most a fifth of the samples to shift B by more than "
            f"one, but the longest holds {sizes.max()} of {len(x)}; use smaller groups"
        )
        return score
    null = _shifts(len(x), least, room, generator(seed, "score", "null"))
    try:
        draws = null_cca(x, y, timeline, null, held.fit.shrinkage)
        inside, outside = (
            moments_of(x[part & null.valid], y[part & null.valid])
            for part in (timeline.train, timeline.scored)
        )
        own = own_cca(Measured(x, inside, outside, held.fit.shrinkage))
    except DataError as error:
        notes.append(f"null_shift: {error}")
        return score
    return replace(
        score,
        null_shift_mean=float(draws.mean()),
        null_shift_q95=float(np.quantile(draws, 0.95)),
        null_shift_own=own,
    )


def _interval(values: npt.NDArray[np.float64], notes: list[str]) -> tuple[float, float] | None:
    """Return the 95 % t interval of the mean of pseudo-values (I,)."""
    if len(values) < FEWEST_BLOCKS:
        notes.append(
            f"ci95: at least {FEWEST_BLOCKS} groups must be held out to know how far the number "
            f"would move on others, but {len(values)} are; use smaller groups"
        )
        return None
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half


def _shifts(num: int, least: int, most: int, random: np.random.Generator) -> NullRows:
    """Draw shifts of `least` to `most` samples either way, none past the ends."""
    middle = np.arange(most, num - most)
    valid = np.zeros(num, bool)
    valid[middle] = True
    rows = []
    for size in random.integers(least, most, NUM_NULL_DRAWS, endpoint=True):
        row = np.arange(num)
        row[middle] = middle + size * random.choice([-1, 1])
        rows.append(row)
    return NullRows(tuple(rows), valid)


def _read(path: Path, num_axes: int) -> npt.NDArray[Any]:
    array = read_array(path)
    if array.ndim != num_axes:
        wanted = "(samples, dimensions)" if num_axes == 2 else "(samples,)"
        raise DataError(f"{path}: the shape {wanted} must hold, but got shape {array.shape}")
    if num_axes == 2 and array.dtype.kind not in "fiub":
        raise DataError(f"{path}: real numbers must hold, but got {array.dtype}")
    if num_axes == 2 and array.size:
        most = float(np.abs(array.astype(np.float64)).max())
        if np.isfinite(most) and most > MOST:
            raise DataError(
                f"{path}: values must lie within {MOST:g}, or their squares are no numbers, but "
                f"one is {most:g}; scale the columns"
            )
    return array
