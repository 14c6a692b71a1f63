"""Trained networks of a stored trial, each with what it was trained on."""

# Shape legend: T bins, N units, M neurons, D teacher dimensions.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from rheobase.core.archives import read_archive
from rheobase.core.errors import ArtifactError, DataError
from rheobase.shards.carried import carried_of
from rheobase.shards.latents import Latents
from rheobase.shards.shard import Shard
from rheobase.shards.states import student_line
from rheobase.shards.timeline import Timeline, stacked_counts, timeline_of
from rheobase.student.inputs import counts_for
from rheobase.student.network import simulate_session
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate, Students
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import TrialRequest
from rheobase.study.run_folder import RunFolder
from rheobase.study.trial.linear_readout import LinearReadout, choose_linear_readout


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedNetwork:
    """One network of a trial.

    Attributes
    ----------
    replicate
        Its seed and settings.
    students
        Its weights, R = 1.
    shard, timeline
        Its session and the labels (T,) of all bins, those of test too.
    counts
        (T, N) that it is fed.
    latents
        (T, D) what the teacher of its seed gives it to learn.
    linear
        What stands in the place of a network where its neurons are `linear`.
    """

    replicate: Replicate
    students: Students
    shard: Shard
    timeline: Timeline
    counts: npt.NDArray[np.uint8]
    latents: npt.NDArray[np.float32]
    linear: LinearReadout | None

    def run(self) -> tuple[npt.NDArray[np.uint8] | None, npt.NDArray[np.float32]]:
        """Return what it does over its session: spikes (T, M), None of no spiking one; features.

        Features (T, M) are what CCA sees.
        """
        # As in the trial: sums over threads would differ in the last bit.
        torch.set_num_threads(1)
        if self.linear is not None:
            return None, self.linear.of(self.counts, self.timeline)
        spikes, features = simulate_session(
            self.students, self.counts, self.timeline, [self.replicate]
        )
        return None if spikes is None else spikes[0], features[0]


def trained_networks(
    request: TrialRequest,
    spec: StudySpec,
    shards: Sequence[Shard],
    latents: Latents,
    run: Path,
) -> Iterator[TrainedNetwork]:
    """Yield the network of each session and seed that a complete trial has numbers of.

    Parameters
    ----------
    request, spec
        The trial, and its study.
    shards, latents
        The study's sessions, and the latents of each of its teachers.
    run
        Folder of the run that holds the weights.

    Raises
    ------
    ArtifactError
        The run does not hold the weights.
    """
    settings = StudentSettings.model_validate(request.student)
    stored = RunFolder(run).trial(request.trial_id).students
    for shard in sorted(shards, key=lambda shard: shard.session_id):
        session = shard.session_id
        students, seeds = stored_students(spec.name, stored, session)
        timeline = student_line(timeline_of(shard, open_test=True), session, spec.data)
        counts = counts_for(settings.input, stacked_counts(shard), session, spec.data.split.seed)
        readouts: dict[str, LinearReadout] = {}
        for index, seed in enumerate(seeds):
            teacher = latents.of_teacher(spec.seeds.teacher_of(seed))
            carried, dims = carried_of(shard, teacher, settings.target)
            if settings.neuron == "linear" and teacher.digest not in readouts:
                readouts[teacher.digest] = choose_linear_readout(
                    counts, carried[:, :dims], timeline, spec.teacher.filters_ms
                )
            yield TrainedNetwork(
                replicate=Replicate(seed, settings),
                students=students.chosen(torch.tensor([index])),
                shard=shard,
                timeline=timeline,
                counts=counts,
                latents=carried,
                linear=readouts.get(teacher.digest),
            )


def stored_students(study: str, path: Path, session: str) -> tuple[Students, list[int]]:
    """Return the networks of a trial on a session, and the seed of each.

    Parameters
    ----------
    study
        Its name, for errors.
    path
        The trial's `TrialFolder.students`.
    session
        Id of the session.

    Raises
    ------
    ArtifactError
        The file is not there, or not of this session.
    """
    if not path.is_file():
        raise ArtifactError(
            f"{study}: only a complete trial can be exported, but there is no {path}; "
            "'rheobase rank' lists which are complete"
        )
    try:
        arrays = read_archive(path)
        given = arrays[f"{session}/input_weights"]
        # Of runs from before inputs had signs and gaps.
        arrays.setdefault(f"{session}/input_signs", np.zeros(given.shape[:2], np.float32))
        arrays.setdefault(f"{session}/input_connected", np.ones(given.shape, bool))
        names = [field.name for field in fields(Students)]
        stored = {name: torch.from_numpy(arrays[f"{session}/{name}"]) for name in names}
        # The seeds of a trial share their signs, which are stored once.
        stored["signs"] = stored["signs"].expand(len(stored["bias"]), -1)
        return Students(**stored), arrays[f"{session}/seeds"].tolist()
    except (DataError, KeyError, ValueError, RuntimeError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ArtifactError(
            f"{study}: {path} is damaged, or of other sessions ({reason}); run the study again in "
            "a new folder"
        ) from None
