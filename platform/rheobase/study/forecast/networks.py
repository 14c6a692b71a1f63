"""The networks that a run's student is held against, and what each of them gives of a session."""

# Shape legend: T bins, M neurons, D dimensions.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.shards.timeline import Timeline
from rheobase.student.fit import TrainingData, advance, begun, report_steps
from rheobase.student.network import initial_students, simulate_session
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate, Students

Features = npt.NDArray[np.float32]
OnStep = Callable[[str, int, int, int], None]
"""Told the model, its seed, the step and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Networks of a session, and what trains and drives them.

    Attributes
    ----------
    data
        Counts, latents of each seed's teacher, labels with test sealed.
    timeline
        Labels (T,), test open.
    split_seed
        Of `data.split`, which draws what an input permutes.
    on_step
        Told of training.
    """

    data: TrainingData
    timeline: Timeline
    split_seed: int
    on_step: OnStep

    def stored(self, students: Students, row: int, replicate: Replicate) -> Features:
        """Return the features (T, M) of one of the networks that a run has trained."""
        one = Students(**{name: each[row : row + 1] for name, each in vars(students).items()})
        return self._features(one, replicate)

    def untrained(self, replicate: Replicate) -> Features:
        """Return those of a network before its first step."""
        counts = self._fed(replicate.settings).counts
        fresh = initial_students([replicate], counts, self.data.timeline, self.data.session)
        return self._features(fresh, replicate)

    def trained(self, model: str, replicate: Replicate, target: Features | None = None) -> Features:
        """Return those of a network trained here, as a trial would train it.

        Parameters
        ----------
        model
            Its name, for who is told.
        replicate
            Its seed and settings.
        target
            (T, D) what it learns in the place of its teacher's latents.

        Raises
        ------
        DataError
            Its loss is not finite.
        """
        fed = self._fed(replicate.settings)
        seed, steps = replicate.seed, replicate.settings.num_steps
        latents = fed.of_seed(seed).latents if target is None else target
        data = replace(fed, latents=latents, taught={})
        training = begun([replicate], data)
        for step in report_steps(steps):
            found = advance(training, data, step)
            if found.failed:
                raise DataError(f"{model}: {found.failed[0]}")
            training = found.training
            self.on_step(model, seed, step, steps)
        return self._features(training.students, replicate)

    def _fed(self, settings: StudentSettings) -> TrainingData:
        return self.data.fed(settings.input, self.split_seed)

    def _features(self, students: Students, replicate: Replicate) -> Features:
        counts = self._fed(replicate.settings).counts
        _, features = simulate_session(students, counts, self.timeline, [replicate])
        if not np.isfinite(features).all():
            raise DataError(
                f"{self.data.session}: features must be finite to forecast from, but those of seed "
                f"{replicate.seed} are not; use a smaller student.learning_rate"
            )
        made: Features = features[0]
        return made
