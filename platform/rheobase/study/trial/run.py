"""Trials: train populations of replicates, then measure them on held-out bins."""

# Shape legend: R replicates.

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from rheobase.core.artifacts import whole_file
from rheobase.core.errors import RheobaseError
from rheobase.core.host import host_class
from rheobase.core.versions import deciding_versions
from rheobase.shards.carried import carried_of
from rheobase.shards.latents import Latents
from rheobase.shards.shard import Shard
from rheobase.shards.states import student_line
from rheobase.shards.targets import Target
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.student.fit import TrainingData
from rheobase.student.memory import MEMORY_BYTES, keep_freed_memory
from rheobase.student.settings import StudentSettings, population_key
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import ReplicateResult, TrialRequest, TrialResult, TrialStopped
from rheobase.study.run_folder import RunFolder, TrialFolder
from rheobase.study.trial.measure import SessionScorer, measure_students
from rheobase.study.trial.population import (
    OnPopulationProgress,
    Outcome,
    RunningTrial,
    SessionTraining,
    going_on,
    trial_clock,
)

MOST_OTHERS = 8  # sessions whose latents are held beside one's, for a null
OnProgress = Callable[[int, Mapping[str, float]], None]


class TrialFailed(RheobaseError):
    """A trial that cannot give numbers; the study goes on without it."""


# BLAS sums in another order for another number of threads.
@threadpool_limits.wrap(limits=1)  # type: ignore[untyped-decorator]
def run_population(
    requests: Sequence[TrialRequest],
    spec: StudySpec,
    shards: Sequence[Shard],
    latents: Latents,
    run: Path,
    on_progress: OnPopulationProgress | None = None,
    *,
    memory_bytes: int = MEMORY_BYTES,
) -> dict[str, Outcome]:
    """Train several trials as one population, and measure each.

    Parameters
    ----------
    requests
        The trials. Those of one `population_key` train packed, the others after them.
    spec
        The study.
    shards
        Binned sessions.
    latents
        The teacher's latents of each, and those of the study's further teachers.
    run
        Folder of the run: a trial keeps its files in ``trials/<trial_id>`` below it.
    on_progress
        Called with the trial's id, its training step over all sessions, and mean values:
        the training's own, and `cca_heldout` and `violation` on a small part of the session.
    memory_bytes
        What the packed networks of a step may take; more than fit it train in turn.

    Returns
    -------
    The outcome of each trial by its id: its measures; where it was stopped early; or, in one
    line, why it failed.

    Notes
    -----
    A trial's numbers depend neither on the trials beside it nor on `memory_bytes`. A trial that
    fails or stops leaves, and the others go on. One that was interrupted goes on from the
    checkpoint in its folder, with whichever trials it is packed this time.
    """
    folders = {request.trial_id: RunFolder(run).trial(request.trial_id) for request in requests}
    return _outcomes(requests, folders, spec, shards, latents, on_progress, memory_bytes)


@threadpool_limits.wrap(limits=1)  # type: ignore[untyped-decorator]
def run_trial(
    request: TrialRequest,
    spec: StudySpec,
    shards: Sequence[Shard],
    latents: Latents,
    folder: Path,
    on_progress: OnProgress | None = None,
) -> TrialResult | TrialStopped:
    """Train and measure every replicate of one trial: a population of one.

    Parameters
    ----------
    request
        The configuration and its seeds.
    spec, shards, latents
        As `run_population` takes them.
    folder
        Where weights, the figures' sample and the checkpoint are kept.
    on_progress
        Called with the training step over all sessions, and mean values.

    Returns
    -------
    The measures of each (seed, session), the same wherever the trial runs, or where it stopped.

    Raises
    ------
    TrialFailed
        It cannot give numbers.
    """

    def report(_: str, step: int, values: Mapping[str, float]) -> None:
        if on_progress:
            on_progress(step, values)

    trial_id = request.trial_id
    folders = {trial_id: TrialFolder(folder)}
    heard = report if on_progress else None
    outcome = _outcomes([request], folders, spec, shards, latents, heard, MEMORY_BYTES)[trial_id]
    if isinstance(outcome, str):
        raise TrialFailed(outcome)
    return outcome


def _outcomes(
    requests: Sequence[TrialRequest],
    folders: Mapping[str, TrialFolder],
    spec: StudySpec,
    shards: Sequence[Shard],
    latents: Latents,
    on_progress: OnPopulationProgress | None,
    memory_bytes: int,
) -> dict[str, Outcome]:
    torch.set_num_threads(1)
    keep_freed_memory()
    populations: dict[str, list[RunningTrial]] = defaultdict(list)
    trials = []
    for request in requests:
        settings = StudentSettings.model_validate(request.student)
        trial = RunningTrial(request=request, settings=settings, folder=folders[request.trial_id])
        trials.append(trial)
        populations[population_key(settings)].append(trial)
    for index, shard in enumerate(_by_id(shards)):
        data = {
            target: training_data(shard, spec, latents, target)
            for target in {population[0].settings.target for population in populations.values()}
        }
        for population in populations.values():
            settings = population[0].settings
            fed = data[settings.target].fed(settings.input, spec.data.split.seed)
            SessionTraining(population, fed, spec, index, on_progress, memory_bytes).run()
    targets = dict.fromkeys(trial.settings.target for trial in trials)
    for shard, opens, target in product(_by_id(shards), (False, True), targets):
        left = [
            trial
            for trial in going_on(trials)
            if opens is (trial.request.stage == "report") and trial.settings.target == target
        ]
        if left:
            teachers = latents if opens else replace(latents, further=())
            scorers = _scorers(shard, spec, shards, teachers, target, open_test=opens)
            for trial in left:
                with trial_clock(trial):
                    _measure(trial, shard.session_id, scorers)
    for trial in going_on(trials):
        with trial_clock(trial):
            _write_students(trial)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    host = {**host_class(), "device": device, "threads": torch.get_num_threads()}
    for trial in trials:
        trial.forget()
        if trial.outcome is None:
            trial.outcome = TrialResult(
                trial_id=trial.request.trial_id,
                replicates=tuple(trial.results),
                failed=tuple(trial.failed),
                notes=tuple(dict.fromkeys(trial.notes)),
                wall_s=trial.wall_s,
                host=host,
                versions=deciding_versions(),
            )
    return {trial.request.trial_id: trial.outcome for trial in trials if trial.outcome}


def _by_id(shards: Iterable[Shard]) -> list[Shard]:
    return sorted(shards, key=lambda shard: shard.session_id)


def _of_teachers(
    shard: Shard, latents: Latents, spec: StudySpec, target: Target, *, open_test: bool = False
) -> list[TrainingData]:
    """Return what students learn from, or are measured against, one for each teacher.

    Until test is opened the latents of its bins are NaN: whatever reached for them would not give
    a number.
    """
    whole, counts = timeline_of(shard, open_test=open_test), stacked_counts(shard)
    timeline = student_line(whole, shard.session_id, spec.data)
    of_each = [carried_of(shard, one, target) for one in (latents, *latents.further)]
    width = min(carried.shape[1] for carried, _ in of_each)  # of those of auto not all are as many
    found = []
    for whole_width, dims in of_each:
        carried = np.array(whole_width[:, :width])
        carried[timeline.sealed] = np.nan
        found.append(
            TrainingData(
                shard.session_id,
                counts,
                carried,
                timeline,
                spec.data.window_ms,
                dims=dims,
                unit_columns=shard.unit_columns,
            )
        )
    return found


def training_data(shard: Shard, spec: StudySpec, latents: Latents, target: Target) -> TrainingData:
    """Return what students of a session learn from, each seed from its own teacher.

    Parameters
    ----------
    shard
        The session.
    spec
        The study.
    latents
        Those of each of its teachers.
    target
        What of them is learnt.
    """
    first, *others = of_teachers = _of_teachers(shard, latents, spec, target)
    own = {seed: of_teachers[spec.seeds.teacher_of(seed)] for seed in spec.seeds.report}
    return replace(first, taught=own if others else {})


def _scorers(
    shard: Shard,
    spec: StudySpec,
    shards: Sequence[Shard],
    latents: Latents,
    target: Target,
    *,
    open_test: bool,
) -> list[SessionScorer]:
    """Return what students of a session are measured against, one for each teacher."""
    beside = [one for one in _by_id(shards) if one is not shard][:MOST_OTHERS]
    timelines = [timeline_of(one) for one in beside]
    teachers = latents, *latents.further
    all_data = _of_teachers(shard, latents, spec, target, open_test=open_test)
    scorers = []
    for teacher, data in zip(teachers, all_data, strict=True):
        width = data.counted.shape[1]
        others = [
            (carried_of(one, teacher, target)[0][:, :width], line)
            for one, line in zip(beside, timelines, strict=True)
        ]
        scorers.append(SessionScorer(data=data, spec=spec, shard=shard, others=others))
    return scorers


def _measure(trial: RunningTrial, session: str, scorers: Sequence[SessionScorer]) -> None:
    """Measure the networks of a trial on a session, each against its own teacher."""
    trained = trial.trained[session]
    results: list[ReplicateResult] = []
    sample = None if trial.results else trial.folder.sample
    spec = scorers[0].spec
    teachers = [spec.seeds.teacher_of(seed) for seed, _ in trained.replicates]
    for teacher in dict.fromkeys(teachers):
        own = [row for row, one in enumerate(teachers) if one == teacher]
        learners = trained.chosen(own) if len(own) < len(teachers) else trained
        found, failed, notes = measure_students(learners, scorers[teacher], sample)
        sample = None if found else sample
        for seed, reason in failed.items():
            trial.leave_out(seed, session, reason)
        root = spec.teacher_seeds[teacher]
        results += [one.model_copy(update={"teacher": root}) for one in found]
        trial.notes += notes
    order = trial.request.seeds.index
    trial.results += sorted(results, key=lambda one: order(one.seed))


def _write_students(trial: RunningTrial) -> None:
    weights: dict[str, npt.NDArray[Any]] = {}
    for session, training in trial.trained.items():
        arrays = training.students.arrays()
        arrays["signs"] = arrays["signs"][0]  # the seeds of a trial share them
        arrays["seeds"] = np.array([one.seed for one in training.replicates])
        weights |= {f"{session}/{name}": array for name, array in arrays.items()}
    with whole_file(trial.folder.students) as partial, partial.open("wb") as file:
        np.savez(file, **weights)  # type: ignore[arg-type]
