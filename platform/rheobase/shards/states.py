"""Which brain states are fitted in and scored in: bins of the others are set aside as gaps."""

# Shape legend: T bins.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError, did_you_mean
from rheobase.shards.settings import DataSettings
from rheobase.shards.shard import GAP, TEST, TRAIN, VALIDATION, Shard
from rheobase.shards.timeline import Timeline

HELD_OUT = (VALIDATION, TEST)


def in_states(
    timeline: Timeline, session: str, *, fit: Sequence[str] = (), score: Sequence[str] = ()
) -> Timeline:
    """Return the labels of a session that is fitted in some states and scored in some.

    Parameters
    ----------
    timeline
        Labels (T,).
    session
        Named in errors.
    fit
        States whose train bins stay; empty keeps those of all.
    score
        States whose validation and open test bins stay; empty keeps those of all.

    Returns
    -------
    The same timeline where both are empty. Else one in which train bins of other states, and
    held-out bins of other states, are ``GAP``: no part takes them. No bin changes from one part to
    another, and what is sealed stays sealed.

    Raises
    ------
    DataError
        The session lacks a state that is named, or has no bin of it to fit or to score.
    """
    if not fit and not score:
        return timeline
    refuse_unknown_states(timeline, session, fit=fit, score=score)
    split = timeline.split.copy()
    if fit:
        split[timeline.train & ~np.isin(timeline.state, fit)] = GAP
    if score:
        split[np.isin(split, HELD_OUT) & ~np.isin(timeline.state, score)] = GAP
    return replace(timeline, split=split)


def refuse_unknown_states(
    timeline: Timeline, session: str, *, fit: Sequence[str] = (), score: Sequence[str] = ()
) -> None:
    """Refuse a session that lacks a state, or has no bin of it to fit or to score.

    Parameters
    ----------
    timeline
        Labels (T,).
    session
        Named in errors.
    fit, score
        As `in_states` takes them.

    Raises
    ------
    DataError
        It does.
    """
    there = [str(state) for state in np.unique(timeline.state)]
    for key, names, part, done in (
        ("fit_states", fit, timeline.train, "train"),
        ("score_states", score, timeline.scored, "held-out"),
    ):
        _refuse_unknown(session, key, names, there)
        for name in names:
            if not part[timeline.state == name].any():
                raise DataError(
                    f"{session}: data.{key}: state '{name}' must have {done} bins, but has none; "
                    "use a longer recording, or another data.split.seed"
                )


def two_states(timeline: Timeline) -> bool:
    """Tell whether at least two states have both train and scored bins.

    Parameters
    ----------
    timeline
        Labels (T,).
    """
    both = set(timeline.state[timeline.train]) & set(timeline.state[timeline.scored])
    return len(both) > 1


def student_line(timeline: Timeline, session: str, data: DataSettings) -> Timeline:
    """Return the labels (T,) by which students of a study are fitted and scored.

    Parameters
    ----------
    timeline
        Labels (T,) as the split drew them.
    session
        Named in errors.
    data
        The study's [data] table.

    Raises
    ------
    DataError
        As `in_states`.
    """
    fit = data.fit_states_for("student")
    return in_states(timeline, session, fit=fit, score=data.score_states)


def fitted_in(shard: Shard, states: Sequence[str]) -> Shard:
    """Return a shard from which a teacher learns in some states alone.

    Parameters
    ----------
    shard
        The session.
    states
        Whose train and validation bins stay, for what the teacher chooses by validation is a
        part of its fit; empty keeps all. Test bins stay what they are.

    Raises
    ------
    DataError
        The session lacks one of them.
    """
    if not states:
        return shard
    there = sorted({segment.state for segment in shard.segments})
    _refuse_unknown(shard.session_id, "fit_states", states, there)
    segments = tuple(
        one if one.state in states else replace(one, split=_set_aside(one.split))
        for one in shard.segments
    )
    return replace(shard, segments=segments)


def _refuse_unknown(session: str, key: str, names: Sequence[str], there: Sequence[str]) -> None:
    for name in names:
        if name not in there:
            known = ", ".join(state or "one without a name" for state in there)
            raise DataError(
                f"{session}: data.{key} must name states that the session has, but it lacks "
                f"'{name}'.{did_you_mean(name, there)} It has: {known}"
            )


def _set_aside(split: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    learnt = np.isin(split, (TRAIN, VALIDATION))
    return np.asarray(np.where(learnt, np.int8(GAP), split), np.int8)
