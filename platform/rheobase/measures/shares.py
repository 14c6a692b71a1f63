"""How much of a teacher's latents its two shortcuts explain, and how many dimensions it uses."""

# Shape legend: T bins, D dimensions.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.timeline import Timeline

Array = npt.NDArray[Any]


def clock_share(y: Array, timeline: Timeline) -> float:
    r"""Return the share of held-out variance that time since onset alone explains.

    Parameters
    ----------
    y
        (T, D) latents.
    timeline
        Labels (T,).

    Returns
    -------
    1 for latents that only tell the time since the last onset, about 0 for those that do not
    know it; a little below 0 by chance.

    Raises
    ------
    DataError
        There are no presentations, or the latents do not vary on test.

    Notes
    -----
    :math:`1 - \sum (y - m_{phase})^2 / \sum (y - m)^2` over test bins and all D dimensions, with
    the means of each phase and of all bins taken from train. Phases that train does not hold take
    no part. Invariant to rotation, shift and overall scale.
    """
    has_phase = timeline.phase >= 0
    train, test = timeline.train & has_phase, timeline.scored & has_phase
    if not train.any() or not test.any():
        raise DataError(
            "presentations must be known on train and on test for a clock share, but there are none"
        )
    phase = timeline.phase
    counts = np.bincount(phase[train], minlength=int(phase.max()) + 1)
    test = test & (counts[phase] > 0)
    left = total = 0.0
    for column in range(y.shape[1]):  # one at a time: a code may be as wide as there are units
        values = np.asarray(y[:, column], np.float64)
        sums = np.bincount(phase[train], values[train], minlength=len(counts))
        means = sums / np.maximum(counts, 1)
        left += float(((values[test] - means[phase[test]]) ** 2).sum())
        total += float(((values[test] - values[train].mean()) ** 2).sum())
    return _explained(left, total)


def session_share(ys: Sequence[Array]) -> float:
    r"""Return the share of variance that the name of the session alone explains.

    Parameters
    ----------
    ys
        One (T, D) for each session, of the same teacher; give test bins alone.

    Returns
    -------
    0 where sessions have the same means, 1 where nothing but the session varies.

    Raises
    ------
    DataError
        There are fewer than two sessions, or nothing varies.

    Notes
    -----
    :math:`1 - \sum (y - m_{session})^2 / \sum (y - m)^2` over all bins and dimensions. Sessions
    of which each holds few independent moments differ by chance.

    Examples
    --------
    >>> session_share([np.zeros((5, 2)), np.ones((5, 2))])
    1.0
    """
    if len(ys) < 2:
        raise DataError(f"at least 2 sessions must hold for a session share, but got {len(ys)}")
    sessions = [np.asarray(y, np.float64) for y in ys]
    left = sum(float(((y - y.mean(axis=0)) ** 2).sum()) for y in sessions)
    everything = np.concatenate(sessions)
    return _explained(left, float(((everything - everything.mean(axis=0)) ** 2).sum()))


def effective_rank(y: Array) -> float:
    r"""Return how many dimensions the latents fill.

    Parameters
    ----------
    y
        (T, D) latents.

    Returns
    -------
    From 1 to D.

    Raises
    ------
    DataError
        Nothing varies.

    Notes
    -----
    :math:`\exp(-\sum p_i \log p_i)` with p the eigenvalues of the covariance over their sum (Roy &
    Vetterli 2007, there of singular values). A curve fills many dimensions too: a high rank is
    not content.

    Examples
    --------
    >>> float(round(effective_rank(np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])), 9))
    2.0
    """
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(y, rowvar=False)))
    total = float(values.sum())
    if total <= 0:
        raise DataError("latents must vary to have a rank, but they are constant")
    return num_filled(values[values > 0])


def num_filled(variances: npt.NDArray[np.floating]) -> float:
    """Return how many dimensions variances fill, none of which is 0.

    Parameters
    ----------
    variances
        (D,) of each dimension.

    Returns
    -------
    From 1 to D.

    Examples
    --------
    >>> round(num_filled(np.array([1.0, 1.0, 1e-9])), 6)
    2.0
    """
    shares = variances / variances.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _explained(left: float, total: float) -> float:
    if total == 0:
        raise DataError("latents must vary for a share of their variance, but they are constant")
    return 1 - left / total
