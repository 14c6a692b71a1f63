"""The nulls of a session, drawn once and held against every network."""

# Shape legend: T bins, R replicates, M features.

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.core.seeds import generator
from rheobase.measures.drift import null_drift
from rheobase.measures.memory import autocorrelation_time, judge_split
from rheobase.measures.moments import CrossMoments, Parts
from rheobase.measures.null_sessions import Other, session_draws
from rheobase.measures.nulls import (
    Measured,
    NullRows,
    NullTeachers,
    clock_rows,
    own_cca,
    shift_rows,
)
from rheobase.student.fit import TrainingData
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import NULLS, Null

NUM_NULL_DRAWS = 100


class SessionNulls:
    """What chance earns on a session.

    The draws are the same for every seed and trial of a study: nulls differ by the student alone.

    Parameters
    ----------
    data
        The session.
    spec
        Its study.
    others
        Latents that count and labels of the study's other sessions.

    Attributes
    ----------
    notes
        Why any is missing.
    """

    def __init__(self, data: TrainingData, spec: StudySpec, others: Sequence[Other]) -> None:
        self._data, self._spec = data, spec
        self.notes: list[str] = []
        own = data.counted

        def shifted(random: np.random.Generator) -> tuple[npt.NDArray[np.floating], NullRows]:
            return own, shift_rows(data.timeline, random, NUM_NULL_DRAWS)

        def of_clock(random: np.random.Generator) -> tuple[npt.NDArray[np.floating], NullRows]:
            return own, clock_rows(data.timeline, random, NUM_NULL_DRAWS)

        def of_others(random: np.random.Generator) -> tuple[npt.NDArray[np.floating], NullRows]:
            return session_draws(data.timeline, others, random, NUM_NULL_DRAWS)

        draws = zip(NULLS, (shifted, of_clock, of_others), strict=True)
        self._drawn = {name: self._draw(name, draw) for name, draw in draws}

    def _draw(
        self, name: str, draw: Callable[..., tuple[npt.NDArray[np.floating], NullRows]]
    ) -> tuple[npt.NDArray[np.floating], NullRows] | None:
        seed, session = self._spec.data.split.seed, self._data.session
        try:
            return draw(generator(seed, "null", name.removeprefix("null_"), session))
        except DataError as error:
            self.notes.append(f"{name}: {error}")
            return None

    def drawn(self, name: str) -> tuple[npt.NDArray[np.floating], NullRows] | None:
        """Return the latents and the draws of a null; None where it is missing."""
        return self._drawn[name]

    @property
    def masks(self) -> list[npt.NDArray[np.bool_]]:
        """The bins (T,) that each null takes, as `Parts` cuts by them; all where it is missing."""
        everywhere = np.ones(len(self._data.timeline), bool)
        return [everywhere if drawn is None else drawn[1].valid for drawn in self._drawn.values()]

    @cached_property
    def _teachers(self) -> dict[str, NullTeachers | None]:
        line = self._data.timeline
        return {
            name: None if drawn is None else NullTeachers(drawn[0], line, drawn[1])
            for name, drawn in self._drawn.items()
        }

    @cached_property
    def drift(self) -> float | None:
        """Held-out CCA of functions of time and state with the latents."""
        found = null_drift(self._data.counted, self._data.timeline)
        if found.note:
            self.notes.append(found.note)
        return found.cca

    def of_networks(
        self,
        features: npt.NDArray[np.float32],
        parts: Parts,
        moments: Sequence[Sequence[CrossMoments]],
        shrinkages: Sequence[float],
    ) -> dict[str, list[Null | None]]:
        """Return each null of every network.

        Parameters
        ----------
        features
            (R, T, M).
        parts
            The session's bins, cut by `masks`.
        moments
            Of each network in each part.
        shrinkages
            What each network's covariance was shrunk by.

        Returns
        -------
        By the result's names; None where the data cannot give it.
        """
        by_name: dict[str, list[Null | None]] = {}
        for inside, (name, teachers) in zip(parts.inside, self._teachers.items(), strict=True):
            if teachers is None:
                by_name[name] = [None] * len(features)
                continue
            students = [
                Measured(
                    x,
                    parts.pooled(one, parts.train & inside),
                    parts.pooled(one, parts.scored & inside),
                    shrinkage,
                )
                for x, one, shrinkage in zip(features, moments, shrinkages, strict=True)
            ]
            by_name[name] = [
                Null(
                    mean=float(draws.mean()),
                    q95=float(np.quantile(draws, 0.95)),
                    num_draws=len(draws),
                    own=own_cca(student),
                )
                for student, draws in zip(students, teachers.cca(students), strict=True)
            ]
        return by_name

    @cached_property
    def _memory_s(self) -> npt.NDArray[np.float64]:
        return autocorrelation_time(self._data.counted, self._data.timeline)

    def split_note(self, x: npt.NDArray[np.float32]) -> str | None:
        """Return why blocks and gaps are too short for a network's features (T, M), if they are."""
        line, split = self._data.timeline, self._spec.data.split
        if line.kind != "continuous":
            return None
        _, num_bins = np.unique(line.state, return_counts=True)
        judged = judge_split(
            autocorrelation_time(x, line),
            self._memory_s,
            block_s=split.block_s,
            gap_ms=split.gap_ms,
            recorded_s=float(num_bins.min()) * line.bin_ms / 1000,
        )
        return judged.note
