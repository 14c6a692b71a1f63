"""Whether what is fitted in one brain state holds in another."""

# Shape legend: T bins, B samples, M features of x, D dimensions of y, I blocks.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.blocks import block_values
from rheobase.measures.cca_moments import CCAFit, heldout_of, score_moments
from rheobase.measures.moments import CrossMoments, Parts
from rheobase.shards.timeline import Timeline

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
ONE_STATE = "cca_within, cca_cross_state: two states must be recorded, but there are fewer"


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


class StateScores(NamedTuple):
    """Held-out CCA by the state that is fitted and the state that is scored.

    Attributes
    ----------
    fits
        By fitted state.
    by_states
        ``by_states[fitted][scored]``, each a mean over the pairs of latents.
    """

    fits: Mapping[str, CCAFit]
    by_states: Mapping[str, Mapping[str, float]]

    @property
    def within(self) -> dict[str, float]:
        """Each state fitted and scored in itself."""
        return {state: scores[state] for state, scores in self.by_states.items()}

    @property
    def across(self) -> list[float]:
        """Every ordered pair of two states."""
        return [
            score
            for fitted, scores in self.by_states.items()
            for scored, score in scores.items()
            if fitted != scored
        ]


def state_scores(
    parts: Parts, moments: Sequence[CrossMoments], shrinkage: float
) -> StateScores | None:
    """Return held-out CCA of every ordered pair of states; None of fewer than two.

    Parameters
    ----------
    parts
        Train and scored bins of a session, by state.
    moments
        Of each part, as `parts.moments` gives them.
    shrinkage
        As `fit_cca` takes it.

    Returns
    -------
    One fit a state, on all of its train bins, scored on the scored bins of each state.

    Raises
    ------
    DataError
        A state has too few bins, or a latent does not vary in it.

    Notes
    -----
    The mean of `across` and the mean of `within` are of the same fits, and so of the same train
    bins, and of the same scored bins: what they differ by is that fit and score change partners.
    """
    states = [str(state) for state in parts.states]
    if len(states) < 2:
        return None
    fits: dict[str, CCAFit] = {}
    tests: dict[str, CrossMoments] = {}
    for state in states:
        here = parts.state == state
        train = parts.pooled(moments, here & parts.train)
        tests[state] = parts.pooled(moments, here & parts.scored)
        fits[state] = heldout_of(train, tests[state], shrinkage).fit
    return StateScores(
        fits,
        {
            fitted: {
                scored: float(score_moments(fits[fitted], tests[scored]).mean())
                for scored in states
            }
            for fitted in states
        },
    )


def mean_across(scores: StateScores) -> float:
    """Return the mean over ordered pairs of two states.

    Parameters
    ----------
    scores
        Of two states at least.

    Returns
    -------
    In [-1, 1].
    """
    return float(np.mean(scores.across))


def state_blocks(
    scores: StateScores,
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    timeline: Timeline,
    *,
    across: bool,
) -> Floats:
    r"""Return the pseudo-value of each held-out block of the mean within or across states.

    Parameters
    ----------
    scores
        Of the same features and latents.
    x, y
        (T, M) features, (T, D) latents that count.
    timeline
        Labels (T,).
    across
        Whether of the pairs of two states, or of each state with itself.

    Returns
    -------
    (I,) in the order of the blocks' numbers, of all states together; empty where a state has one
    scored block alone.

    Notes
    -----
    A block lies in one state. Without it the score :math:`\theta_{fs}` of its state s alone
    changes, whose pseudo-values :math:`p` over that state's :math:`I_s` blocks `block_values`
    gives, so that the mean :math:`\theta` of n pairs has the pseudo-value
    :math:`\theta + \sum_f (I - 1) (p - \theta_{fs}) / (n (I_s - 1))` with I blocks of all
    states. It is what leaving the block out of the mean gives.

    Examples
    --------
    See `tests/measures/test_transfer.py`, which leaves each block out.
    """
    pairs = [
        (fitted, scored, score)
        for fitted, row in scores.by_states.items()
        for scored, score in row.items()
        if (fitted != scored) is across
    ]
    here = {
        scored: np.flatnonzero(timeline.scored & (timeline.state == scored))
        for _, scored, _ in pairs
    }
    blocks = np.unique(np.concatenate([timeline.group[bins] for bins in here.values()]))
    mean = float(np.mean([score for _, _, score in pairs]))
    found = np.full(len(blocks), mean)
    for fitted, scored, score in pairs:
        bins = here[scored]
        own = np.unique(timeline.group[bins])
        if len(own) < 2:
            return np.zeros(0)
        values = block_values(scores.fits[fitted], x[bins], y[bins], timeline.group[bins])
        change = (len(blocks) - 1) * (values - score) / (len(pairs) * (len(own) - 1))
        found[np.searchsorted(blocks, own)] += change
    return found
