"""What chance earns of held-out CCA within brain states and across them."""

# Shape legend: T bins, E entries of latents, M features, D teacher dimensions.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.measures.cca_moments import heldout_means, heldout_of
from rheobase.measures.nulls import Measured, NullRows, NullTeachers
from rheobase.shards.states import in_states
from rheobase.shards.timeline import Timeline

Floats = npt.NDArray[np.float64]


class StateDraws(NamedTuple):
    """A student's null of one number, and its own number on the same bins.

    Attributes
    ----------
    draws
        (draws,) mean over states, or over ordered pairs of two, with each draw's teacher.
    own
        The same mean with its own teacher.
    """

    draws: Floats
    own: float


class StateNulls:
    """The teachers of a null in each state, made once for all students of a session.

    Parameters
    ----------
    y
        (E, D) latents that the null's rows point into.
    timeline
        Labels (T,) of two states at least, none of them set aside.
    null
        The draws.
    states
        Their names.

    Raises
    ------
    DataError
        A state has no train or no scored bin that the null takes, or as `NullTeachers`.
    """

    def __init__(
        self, y: npt.NDArray[Any], timeline: Timeline, null: NullRows, states: Sequence[str]
    ) -> None:
        self._teachers = {
            state: NullTeachers(y, in_states(timeline, "null", fit=[state], score=[state]), null)
            for state in states
        }

    def of(self, students: Sequence[Mapping[str, Measured]]) -> list[tuple[StateDraws, StateDraws]]:
        """Return the null within states and across them of each student.

        Parameters
        ----------
        students
            The moments of each by state, on the null's valid bins.

        Returns
        -------
        Within and across, each a mean as the student's own number is. A student's numbers are its
        own, whichever are measured with it.

        Raises
        ------
        DataError
            There are too few bins for a student's features.
        """
        sides = {
            state: teachers.sides([one[state] for one in students])
            for state, teachers in self._teachers.items()
        }
        found = []
        for index, one in enumerate(students):
            within: list[tuple[Floats, float]] = []
            across: list[tuple[Floats, float]] = []
            for fitted, teachers in self._teachers.items():
                inside, shrinkage = sides[fitted][index][0], one[fitted].shrinkage
                for scored in self._teachers:
                    outside = sides[scored][index][1]
                    draws = heldout_means(inside, outside, teachers.white, shrinkage)
                    own = heldout_of(one[fitted].train, one[scored].test, shrinkage).mean
                    (within if fitted == scored else across).append((draws, own))
            found.append((_mean(within), _mean(across)))
        return found


def _mean(pairs: Sequence[tuple[Floats, float]]) -> StateDraws:
    draws, own = zip(*pairs, strict=True)
    return StateDraws(np.mean(draws, axis=0), float(np.mean(own)))
