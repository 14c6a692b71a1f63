"""Held-out CCA and feasibility of networks in training, on a small fixed part of a session."""

# Shape legend: T bins, R replicates, B windows, L scored bins of a window, M neurons.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from rheobase.core.seeds import generator
from rheobase.measures.cca import fit_cca, score_cca
from rheobase.measures.firing import firing_rates, violations
from rheobase.shards.shard import TRAIN
from rheobase.shards.windows import window_starts
from rheobase.student.dale import dale_violations, input_violations
from rheobase.student.fit import NUM_REPORTS, Training, TrainingData
from rheobase.student.inputs import Windows
from rheobase.student.network import activity_of, features_of
from rheobase.student.settings import StudentSettings
from rheobase.study.file.spec import StudySpec
from rheobase.study.trial.balance import ScoredCounts, balance_of

# Of the bins that training simulates, those that all reports together may: a bin of training
# costs about three, for its backward pass.
BINS_SHARE = 0.09
TRAIN_SHARE = 2 / 3  # of the windows: to fit takes more samples than to score
# Inside the grid of `measures.cca`, of which the final measure chooses by folds of train: here that
# would cost three times all else.
SHRINKAGE = 1e-2
LEAST_PER_FEATURE = 4  # train bins for every feature and latent, however short the training


class Stretches(NamedTuple):
    """Windows (B,) of `num_bins`, of which the first `warm_up` bins are not scored."""

    starts: npt.NDArray[np.int64]
    num_bins: int
    warm_up: int

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Scored bins (B, L)."""
        scored = np.arange(self.warm_up, self.num_bins)
        return np.asarray(self.starts[:, None] + scored, np.int64)


class Heard(NamedTuple):
    """Held-out CCA of a network in training, the violation of each feasibility line, and E/I.

    `balance` is inhibitory over excitatory current; None where nothing spikes or excites.
    """

    cca: float
    violations: dict[str, float]
    balance: float | None


class InterimMeasure:
    """What reports measure on one session: the same bins for all trials of a study.

    Parameters
    ----------
    data
        The session.
    spec
        Its study, whose split's seed names the draw.
    settings
        Of the students: how long they train says how many bins a report may take.

    Raises
    ------
    DataError
        Train or test has no stretch to simulate.
    """

    def __init__(self, data: TrainingData, spec: StudySpec, settings: StudentSettings) -> None:
        self._data = data
        self._require = spec.require
        trained = settings.num_steps * settings.batch_windows * data.num_bins
        budget = BINS_SHARE * trained / NUM_REPORTS
        least = LEAST_PER_FEATURE * (settings.num_neurons + data.counted.shape[1])
        seed = spec.data.split.seed
        self._train = _drawn(data, TRAIN, max(TRAIN_SHARE * budget, least), seed)
        self._scored = _drawn(
            data, data.timeline.scored_split, max((1 - TRAIN_SHARE) * budget, least / 2), seed
        )

    def heldout(self, training: Training) -> list[Heard]:
        """Return what each network reports: held-out CCA, signed violations of feasibility, E/I.

        As `measures.cca`, `measures.firing` and `measures.balance` define them, on fewer bins, at
        a fixed shrinkage and from windows that start at rest: close to the final measure, not equal
        to it.

        Raises
        ------
        DataError
            The part is too small, or a latent does not vary in it.
        """
        timeline = self._data.timeline
        x_train, _ = self._simulated(training, self._train)
        x_test, spikes = self._simulated(training, self._scored)
        train, test = self._train.rows.ravel(), self._scored.rows.ravel()
        students = training.students
        wrong = dale_violations(students.recurrent, students.signs) + input_violations(
            students.input_weights, students.input_signs
        )
        connections = students.recurrent.count_nonzero(dim=(1, 2)).tolist()
        state = timeline.state[test]
        scored = ScoredCounts.of(self._data.counts[test], state, timeline.bin_ms)
        found = []
        for index in range(len(training.replicates)):
            seed, settings = training.replicates[index]
            latents = self._data.of_seed(seed).counted
            fit = fit_cca(x_train[index], latents[train], SHRINKAGE)
            cca = float(score_cca(fit, x_test[index], latents[test]).mean())
            rates = {
                str(name) or "all": firing_rates(spikes[index][state == name], timeline.bin_ms)
                for name in np.unique(state if settings.kind.spikes else [])
            }
            sizes = int(wrong[index]), int(connections[index])
            broken = violations(rates, self._require.rate_hz, *sizes, True)
            current = None
            if settings.kind.spikes:
                balance = balance_of(students, index, spikes[index], scored)
                broken |= balance.violations(settings, self._require.ei_balance)
                current = balance.current
            found.append(Heard(cca, broken, current))
        return found

    def _simulated(
        self, training: Training, stretches: Stretches
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return features and spikes (R, B x L, M) of the scored bins."""
        replicates, students = training.replicates, training.students
        starts, num_bins, warm_up = stretches
        bin_ms = self._data.timeline.bin_ms
        features: list[npt.NDArray[np.float32]] = []
        spikes: list[npt.NDArray[np.float32]] = []
        # As many windows at once as in a step, whose memory is known to fit.
        at_once = replicates[0].settings.batch_windows
        with torch.no_grad():
            for first in range(0, len(starts), at_once):
                some = np.tile(starts[first : first + at_once], (len(replicates), 1))
                windows = Windows(self._data.sparse, some, num_bins)
                active = activity_of(students, windows, replicates, bin_ms)
                smooth, _ = features_of(active, replicates, bin_ms, warm_up)
                for kept, values in ((features, smooth), (spikes, active[:, warm_up:])):
                    kept.append(values.transpose(1, 2).cpu().numpy())
        width = len(replicates), -1, features[0].shape[-1]
        joined = [np.concatenate(part, axis=1).reshape(width) for part in (features, spikes)]
        return joined[0], joined[1]


def _drawn(data: TrainingData, split: int, least_bins: float, seed: int) -> Stretches:
    """Draw windows side by side, states in turn, until `least_bins` bins are scored."""
    timeline = data.timeline
    num_bins = min(data.num_bins, max(1, *map(len, timeline.runs(split))))
    warm_up = data.warm_up(num_bins)
    starts = window_starts(timeline, split, num_bins, stride_bins=num_bins)
    draw = generator(seed, "probe", data.session, split)
    starts = draw.permutation(starts)
    turn = np.zeros(len(starts), np.int64)
    for state in np.unique(timeline.state[starts]):
        here = timeline.state[starts] == state
        turn[here] = np.arange(here.sum())
    num_windows = int(np.ceil(least_bins / (num_bins - warm_up)))
    chosen = starts[np.argsort(turn, kind="stable")][:num_windows]
    return Stretches(np.sort(chosen), num_bins, warm_up)
