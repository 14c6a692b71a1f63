"""Which groups of bins are train, validation and test: whole groups, never single bins."""

# Shape legend: T bins.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.core.seeds import generator
from rheobase.shards.settings import SplitSettings
from rheobase.shards.shard import GAP, TEST, TRAIN, VALIDATION

LEAST_TRAIN_GROUPS = 2  # shrinkages and penalties are chosen inside train, over folds of its groups
LEAST_GROUPS = LEAST_TRAIN_GROUPS + 2


def draw_parts(
    groups: Sequence[int], split: SplitSettings, least: str, cure: str, *names: str
) -> dict[int, int]:
    """Draw the validation and the test groups; the others are train.

    Parameters
    ----------
    groups
        Numbers of the groups to draw from.
    split
        The table data.split.
    least, cure
        What must be there to be divided, and what to do where it is not, for the error.
    names
        What the groups are of, which names the draws' generators.

    Returns
    -------
    The label of each group. Validation and test have their share each, one group at least, as long
    as `LEAST_TRAIN_GROUPS` are left to train.

    Raises
    ------
    DataError
        Fewer than `LEAST_GROUPS` groups.
    """
    num = len(groups)
    if num < LEAST_GROUPS:
        raise DataError(
            f"{least} must hold to be divided into train, validation and test, but got {num}; "
            f"{cure}"
        )
    num_test = min(max(1, round(split.test * num)), num - LEAST_TRAIN_GROUPS - 1)
    room = num - LEAST_TRAIN_GROUPS - num_test
    num_validation = min(max(1, round(split.validation * num)), room)
    test = generator(split.seed, "split", *names).choice(num, num_test, replace=False)
    rest = np.setdiff1d(np.arange(num), test)
    draw = generator(split.seed, "split", "validation", *names)
    validation = draw.choice(rest, num_validation, replace=False)
    labels = dict.fromkeys(groups, TRAIN)
    for index in test:
        labels[groups[index]] = TEST
    for index in validation:
        labels[groups[index]] = VALIDATION
    return labels


def with_gaps(split: npt.NDArray[np.int8], num_gap_bins: int) -> npt.NDArray[np.int8]:
    """Return the labels (T,) with `num_gap_bins` bins thrown away on each side of every border."""
    borders = np.flatnonzero(np.diff(split)) + 1
    near = np.zeros(len(split), bool)
    for border in borders:
        near[max(0, border - num_gap_bins) : border + num_gap_bins] = True
    return np.where(near, np.int8(GAP), split)


def session_labels(addresses: Sequence[str], split: SplitSettings) -> dict[str, int]:
    """Draw the label that all bins of a session have, where `split.by` is ``session``.

    Parameters
    ----------
    addresses
        Of all sessions, in any order.
    split
        The table data.split.

    Returns
    -------
    The label of each address; empty where data is not split by session.

    Raises
    ------
    DataError
        Fewer than `LEAST_GROUPS` sessions.
    """
    if split.by != "session":
        return {}
    ordered = sorted(addresses)
    least = f"data.split.by = 'session': at least {LEAST_GROUPS} sessions"
    cure = "name more sessions, or split by block or trial"
    labels = draw_parts(range(len(ordered)), split, least, cure, "sessions")
    return {ordered[index]: label for index, label in labels.items()}
