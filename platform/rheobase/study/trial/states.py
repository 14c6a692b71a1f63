"""What networks hold within each brain state and across states, on bins of every state."""

# Shape legend: T bins, R replicates, M features.

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.moments import CrossMoments, Parts, of_first_latents
from rheobase.measures.nulls import Measured
from rheobase.measures.state_nulls import StateDraws, StateNulls
from rheobase.measures.transfer import ONE_STATE, mean_across, state_blocks, state_scores
from rheobase.shards.shard import TEST, Shard
from rheobase.shards.timeline import Timeline, timeline_of
from rheobase.student.fit import TrainingData
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import STATE_NULLS, Null
from rheobase.study.trial.session_nulls import SessionNulls


class StateMeasures:
    """Held-out CCA by fitted and scored state, whichever states the study fits and scores in.

    Parameters
    ----------
    data
        The session as students learn it, some states perhaps set aside.
    shard
        The same session, whole.
    nulls
        Its draws.
    spec
        Its study. Nulls of states cost about a seventh of a short trial: the search is spared them
        unless the study asks something of states.

    Attributes
    ----------
    timeline
        Labels (T,) of all states; test is sealed where it is in `data`.
    notes
        Why any number is missing.
    """

    def __init__(
        self, data: TrainingData, shard: Shard, nulls: SessionNulls, spec: StudySpec
    ) -> None:
        self._data, self._nulls = data, nulls
        line = data.timeline
        self._has_nulls = line.scored_split == TEST or spec.asks_of_states
        whole = timeline_of(shard, open_test=line.scored_split == TEST)
        self.is_whole = bool(np.array_equal(line.split, whole.split))
        self.timeline: Timeline = line if self.is_whole else whole
        self.notes: list[str] = []

    @cached_property
    def _own_parts(self) -> Parts:
        return Parts(self._data.latents, self.timeline, self._nulls.masks)

    def _moments(
        self, x: npt.NDArray[Any], moments: Sequence[CrossMoments]
    ) -> Sequence[CrossMoments]:
        if self.is_whole:
            return moments
        dims = self._data.counted.shape[1]
        return [of_first_latents(one, dims) for one in self._own_parts.moments(x)]

    @cached_property
    def _state_nulls(self) -> dict[str, StateNulls | None]:
        states = [str(state) for state in np.unique(self.timeline.state)]
        found: dict[str, StateNulls | None] = dict.fromkeys(STATE_NULLS)
        for name in STATE_NULLS if self._has_nulls else ():
            if (drawn := self._nulls.drawn(name)) is None:
                continue
            try:
                found[name] = StateNulls(drawn[0], self.timeline, drawn[1], states)
            except DataError as error:
                self.notes.append(f"state_nulls of {name}: {error}")
        return found

    def of_networks(
        self,
        features: npt.NDArray[np.float32],
        parts: Parts,
        moments: Sequence[Sequence[CrossMoments]],
        shrinkages: Sequence[float],
    ) -> list[dict[str, Any]]:
        """Return the fields of each network's result that speak of states.

        Parameters
        ----------
        features
            (R, T, M).
        parts
            The session's bins as the study fits and scores them.
        moments
            Of each network in each part.
        shrinkages
            What each network's covariance was shrunk by.

        Raises
        ------
        DataError
            A state has too few bins, or a latent does not vary in it.
        """
        used = parts if self.is_whole else self._own_parts
        own = [self._moments(x, one) for x, one in zip(features, moments, strict=True)]
        rows: list[dict[str, Any]] = []
        for x, one, shrinkage in zip(features, own, shrinkages, strict=True):
            scores = state_scores(used, one, shrinkage)
            if scores is None:
                self.notes = [ONE_STATE]
                return [{"cca_within": {}, "cca_cross_state": None} for _ in features]
            y = self._data.counted
            blocks = {
                across: tuple(state_blocks(scores, x, y, self.timeline, across=across).tolist())
                for across in (False, True)
            }
            rows.append(
                {
                    "cca_within": scores.within,
                    "cca_cross_state": mean_across(scores),
                    "cca_within_state": float(np.mean(list(scores.within.values()))),
                    "cca_by_states": scores.by_states,
                    "within_state_blocks": blocks[False],
                    "cross_state_blocks": blocks[True],
                }
            )
        return [
            row | nulls
            for row, nulls in zip(
                rows, self._null_fields(features, used, own, shrinkages), strict=True
            )
        ]

    def _null_fields(
        self,
        features: npt.NDArray[np.float32],
        parts: Parts,
        moments: Sequence[Sequence[CrossMoments]],
        shrinkages: Sequence[float],
    ) -> list[dict[str, dict[str, Null]]]:
        found: list[dict[str, dict[str, Null]]] = [
            {"within_state_nulls": {}, "cross_state_nulls": {}} for _ in features
        ]
        for inside, (name, nulls) in zip(parts.inside, self._state_nulls.items(), strict=False):
            if nulls is None:
                continue
            students = [
                {
                    str(state): Measured(
                        x,
                        parts.pooled(one, parts.train & inside & (parts.state == state)),
                        parts.pooled(one, parts.scored & inside & (parts.state == state)),
                        shrinkage,
                    )
                    for state in parts.states
                }
                for x, one, shrinkage in zip(features, moments, shrinkages, strict=True)
            ]
            for fields, (within, across) in zip(found, nulls.of(students), strict=True):
                fields["within_state_nulls"][name] = _null(within)
                fields["cross_state_nulls"][name] = _null(across)
        return found


def _null(found: StateDraws) -> Null:
    return Null(
        mean=float(found.draws.mean()),
        q95=float(np.quantile(found.draws, 0.95)),
        num_draws=len(found.draws),
        own=found.own,
    )
