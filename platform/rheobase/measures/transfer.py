"""Whether what is fitted in one brain state holds in another."""

# Shape legend: B samples.

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.cca_moments import CCAFit, heldout_of, score_moments
from rheobase.measures.moments import CrossMoments, Parts
from rheobase.shards.timeline import Timeline

Bools = npt.NDArray[np.bool_]


class Pair(NamedTuple):
    """A state to fit in and one to test in.

    Attributes
    ----------
    fitted, tested
        Their names.
    train
        (B,) train samples of the one.
    test
        (B,) test samples of the other.
    """

    fitted: str
    tested: str
    train: Bools
    test: Bools


def pairs_of_states(timeline: Timeline) -> list[Pair]:
    """Return every ordered pair of states, a state with itself included.

    Fitting takes train samples of the one state and scoring test samples of the other, so that
    no held-out group is ever fitted, whichever the states are.

    Parameters
    ----------
    timeline
        Labels (B,).

    Returns
    -------
    Of states that have both train and test samples, the tested one changing fastest.

    Raises
    ------
    DataError
        Fewer than two states have both train and test samples.
    """
    names = [
        str(state)
        for state in np.unique(timeline.state)
        if all((timeline.state == state)[part].any() for part in (timeline.train, timeline.scored))
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
            timeline.scored & (timeline.state == tested),
        )
        for fitted in names
        for tested in names
    ]


def within_and_cross_state(
    parts: Parts, moments: Sequence[CrossMoments], shrinkage: float
) -> tuple[dict[str, float], float | None, list[str]]:
    """Return CCA within each state, the mean across states, and why either is missing.

    Parameters
    ----------
    parts
        Train and test bins of a session, by state.
    moments
        Of each part, as `parts.moments` gives them.
    shrinkage
        As `fit_cca` takes it.

    Returns
    -------
    Within, by state: fitted on a state's train bins, scored on its test bins. Across: the same
    fit scored on the test bins of every other state, the mean over ordered pairs of states.
    None, and a note, where fewer than two states are recorded.

    Raises
    ------
    DataError
        A state has too few bins, or a latent does not vary in it.
    """
    states = [str(state) for state in parts.states]
    if len(states) < 2:
        note = "cca_within, cca_cross_state: two states must be recorded, but there are fewer"
        return {}, None, [note]
    fits: dict[str, CCAFit] = {}
    tests: dict[str, CrossMoments] = {}
    for state in states:
        here = parts.state == state
        train = parts.pooled(moments, here & parts.train)
        tests[state] = parts.pooled(moments, here & parts.scored)
        fits[state] = heldout_of(train, tests[state], shrinkage).fit
    scores = {
        (fitted, scored): float(score_moments(fits[fitted], tests[scored]).mean())
        for fitted in states
        for scored in states
    }
    within = {state: scores[state, state] for state in states}
    cross = [score for (fitted, scored), score in scores.items() if fitted != scored]
    return within, float(np.mean(cross)), []
