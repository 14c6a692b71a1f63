"""Whether what is fitted in one brain state holds in another."""

# Shape legend: B samples.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.timeline import Timeline

Bools = npt.NDArray[np.bool_]


class Pair(NamedTuple):
    """A state to fit in and one to test in, with the train (B,) and test (B,) samples of each."""

    fitted: str
    tested: str
    train: Bools
    test: Bools


def pairs_of_states(timeline: Timeline) -> list[Pair]:
    """Return every ordered pair of states, a state with itself included.

    Fitting takes train samples of the one state and scoring test samples of the other, so that
    no held-out group is ever fitted, whichever the states are.

    Raises
    ------
    DataError
        Fewer than two states have both train and test samples.
    """
    names = [
        str(state)
        for state in np.unique(timeline.state)
        if all((timeline.state == state)[part].any() for part in (timeline.train, timeline.test))
    ]
    if len(names) < 2:
        raise DataError(
            "two states must each have train and test samples to transfer between them, but got "
            f"{', '.join(name or 'one without a name' for name in names) or 'none'}"
        )
    return [
        Pair(
            fitted,
            tested,
            timeline.train & (timeline.state == fitted),
            timeline.test & (timeline.state == tested),
        )
        for fitted in names
        for tested in names
    ]
