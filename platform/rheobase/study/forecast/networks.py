"""The networks that a run's student is held against, and what each of them gives of a session."""

# Shape legend: T bins, M neurons, D dimensions.

from __future__ import annotations

from collections.abc import Callable, Iterator
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

    def stored(self, students: Students, replicates: list[Replicate]) -> Iterator[Features]:
        """Yield the features (T, M) of networks that a run has trained."""
        for row, replicate in enumerate(replicates):
            one = Students(**{name: each[row : row + 1] for name, each in vars(students).items()})
            yield self._features(one, replicate)

    def untrained(self, replicates: list[Replicate]) -> Iterator[Features]:
        """Yield those of the same networks before their first step."""
        for replicate in replicates:
            counts = self._fed(replicate.settings).counts
            fresh = initial_students([replicate], counts, self.data.timeline, self.data.session)
            yield self._features(fresh, replicate)

    def trained(
        self,
        model: str,
        replicates: list[Replicate],
        target_of: Callable[[int], npt.NDArray[np.float32]] | None = None,
    ) -> Iterator[Features]:
        """Yield those of networks trained here, each as a trial would.

        Parameters
        ----------
        model
            Its name, for who is told.
        replicates
            Their seeds and settings.
        target_of
            Gives what a seed learns (T, D) in the place of its teacher's latents.

        Raises
        ------
        DataError
            A network's loss is not finite.
        """
        for replicate in replicates:
            fed = self._fed(replicate.settings)
            seed = replicate.seed
            latents = target_of(seed) if target_of else fed.of_seed(seed).latents
            data = replace(fed, latents=latents, taught={})
            training = begun([replicate], data)
            steps = replicate.settings.num_steps
            for step in report_steps(steps):
                found = advance(training, data, step)
                if found.failed:
                    raise DataError(f"{model}: {found.failed[0]}")
                training = found.training
                self.on_step(model, seed, step, steps)
            yield self._features(training.students, replicate)

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
