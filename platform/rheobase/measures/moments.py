"""Second moments of the parts of a session, from which fits and scores are made."""

# Shape legend: T bins, B samples, Q parts, M features of x, D dimensions of y.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.probes import TAIL_SHARE, folds
from rheobase.shards.shard import VALIDATION
from rheobase.shards.timeline import Timeline

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False, kw_only=True)
class CrossMoments:
    """Moments of samples of a student and a teacher.

    Attributes
    ----------
    num
        Number of samples (B).
    mean_x, mean_y
        (M,), (D,) means.
    xx
        (M, M) sums of products of x about its means.
    xy
        (M, D) sums of products of x and y; (..., M, D) of several teachers.
    yy
        (D, D) sums of products of y; (..., D, D) of several teachers.
    """

    num: int
    mean_x: Floats
    mean_y: Floats
    xx: Floats
    xy: Floats
    yy: Floats


def moments_of(x: Array, y: Array) -> CrossMoments:
    """Return the moments of samples.

    Parameters
    ----------
    x
        (B, M) features.
    y
        (B, D) latents.

    Returns
    -------
    Sums are in float64, about the samples' own means.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    return CrossMoments(
        num=len(x), mean_x=mean_x, mean_y=mean_y, xx=x.T @ x, xy=x.T @ y, yy=y.T @ y
    )


def pooled_moments(parts: Sequence[CrossMoments]) -> CrossMoments:
    """Return the moments of the samples of all parts together.

    Parameters
    ----------
    parts
        Moments of each part, one at least.

    Returns
    -------
    What `moments_of` gives of all samples, but for rounding.

    References
    ----------
    Chan, Golub & LeVeque 1983, *Algorithms for computing the sample variance*.
    """
    num = sum(part.num for part in parts)
    mean_x = sum((part.num * part.mean_x for part in parts), np.zeros(1)) / num
    mean_y = sum((part.num * part.mean_y for part in parts), np.zeros(1)) / num
    off_x = np.stack([np.sqrt(part.num) * (part.mean_x - mean_x) for part in parts])
    off_y = np.stack([np.sqrt(part.num) * (part.mean_y - mean_y) for part in parts])
    xx, xy, yy = off_x.T @ off_x, off_x.T @ off_y, off_y.T @ off_y
    for part in parts:
        xx, xy, yy = xx + part.xx, xy + part.xy, yy + part.yy
    return CrossMoments(num=num, mean_x=mean_x, mean_y=mean_y, xx=xx, xy=xy, yy=yy)


def without_tails(some: CrossMoments, train: Sequence[CrossMoments]) -> CrossMoments:
    """Return moments of some of train in which features that stand still there do not vary at all.

    A neuron that fires in one part of train and not in another leaves there what a filter still
    held of its last spike. Scaled by that tail, a spike elsewhere would outweigh everything.

    Parameters
    ----------
    some
        Of bins that a fit takes, part of train.
    train
        Moments of each part of train.

    Returns
    -------
    The same, but zero for features whose variance is at most `TAIL_SHARE` of that on all of train.
    """
    num = sum(part.num for part in train)
    mean = sum((part.num * part.mean_x for part in train), np.zeros(1)) / num
    usual = sum(
        (np.diagonal(part.xx) + part.num * (part.mean_x - mean) ** 2 for part in train), np.zeros(1)
    )
    varies = np.diagonal(some.xx) / some.num > TAIL_SHARE * usual / num
    if varies.all():
        return some
    return replace(some, xx=some.xx * np.outer(varies, varies), xy=some.xy * varies[:, None])


def of_first_latents(moments: CrossMoments, dims: int) -> CrossMoments:
    """Return the moments of the same samples with the first latents alone.

    Parameters
    ----------
    moments
        Of features and D latents.
    dims
        How many of the latents to keep, all where there are fewer.

    Returns
    -------
    What `moments_of` gives of the features and ``y[:, :dims]``.
    """
    return replace(
        moments,
        mean_y=moments.mean_y[:dims],
        xy=moments.xy[:, :dims],
        yy=moments.yy[:dims, :dims],
    )


class Parts:
    """The bins of a session that are fitted or scored, in parts: moments are taken once for each x.

    Parameters
    ----------
    y
        (T, D) latents.
    timeline
        Labels (T,).
    masks
        (T,) each, bins that some fits take and others do not.

    Attributes
    ----------
    train, scored, validation
        (Q,) whether a part is fitted; whether it is what the timeline scores; whether it is of
        validation, which is the same until test is opened.
    fold
        (Q,) fold of a train part; below 0 of the others.
    state
        (Q,) its state.
    inside
        Of each mask (Q,), whether a part's bins are in it.

    Raises
    ------
    DataError
        Train has fewer than two groups.
    """

    def __init__(self, y: Array, timeline: Timeline, masks: Sequence[Bools] = ()) -> None:
        self.y = np.asarray(y, np.float64)
        opened, chosen = timeline.scored, timeline.split == VALIDATION
        fold = np.where(opened, -1, -2)
        fold[timeline.train] = folds(timeline.group[timeline.train])
        self.states, state = np.unique(timeline.state, return_inverse=True)
        used = np.flatnonzero(timeline.train | opened | chosen)
        label = (fold[used] + 2) * len(self.states) + state[used]
        for mask in masks:
            label = 2 * label + mask[used]
        names, part = np.unique(label, return_inverse=True)
        self.bins = [used[part == number] for number in range(len(names))]
        first = np.array([bins[0] for bins in self.bins])
        self.fold = fold[first]
        self.state = self.states[state[first]]
        self.inside: list[Bools] = [mask[first] for mask in masks]
        self.train: Bools = self.fold >= 0
        self.scored: Bools = self.fold == -1
        self.validation: Bools = chosen[first]
        self._low = np.stack([self.y[bins].min(axis=0) for bins in self.bins])
        self._high = np.stack([self.y[bins].max(axis=0) for bins in self.bins])

    def moments(self, x: Array) -> list[CrossMoments]:
        """Return the moments of features and latents in each part.

        Parameters
        ----------
        x
            (T, M) features.

        Returns
        -------
        One for each of the Q parts.

        Raises
        ------
        DataError
            A value is not finite.
        """
        by_part = [moments_of(x[bins], self.y[bins]) for bins in self.bins]
        for name, sums in (("x", [one.xx for one in by_part]), ("y", [one.yy for one in by_part])):
            if not all(np.isfinite(each).all() for each in sums):
                raise DataError(
                    f"every value of {name} must be finite, but it holds NaN or infinity"
                )
        return by_part

    def pooled(
        self, by_part: Sequence[CrossMoments], chosen: Bools, *, even_constant: bool = False
    ) -> CrossMoments:
        """Return the moments of some parts together.

        Parameters
        ----------
        by_part
            What `moments` returned.
        chosen
            (Q,) whether a part is one of them.
        even_constant
            Whether a latent may stand still in all of them.

        Returns
        -------
        What `pooled_moments` gives of them; of train bins alone, `without_tails`.

        Raises
        ------
        DataError
            There is none, or a latent does not vary in them and that is not allowed.
        """
        if not chosen.any():
            raise DataError("at least 1 bin must be of the split and state asked for, but none is")
        if not even_constant:
            refuse_constant(self._high[chosen].max(axis=0) - self._low[chosen].min(axis=0))
        found = pooled_moments([one for one, is_in in zip(by_part, chosen, strict=True) if is_in])
        if (chosen & ~self.train).any():
            return found
        return without_tails(
            found, [one for one, is_train in zip(by_part, self.train, strict=True) if is_train]
        )


def refuse_constant(spread: Floats) -> None:
    """Refuse a teacher of which a dimension does not vary.

    Parameters
    ----------
    spread
        (..., D) largest value minus least of each dimension.

    Raises
    ------
    DataError
        A spread is 0.
    """
    still = np.flatnonzero((spread == 0).reshape(-1, spread.shape[-1]).any(axis=0))
    if len(still):
        raise DataError(
            f"every teacher dimension must vary, but dimension {still[0]} is constant; "
            "the teacher has collapsed: train it again"
        )
