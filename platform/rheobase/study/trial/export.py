"""What a trial's networks did, written out for other tools."""

# Shape legend: T bins, N units, M neurons, D teacher dimensions.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from rheobase.core.archives import read_archive
from rheobase.core.artifacts import whole_file
from rheobase.core.errors import ArtifactError, DataError
from rheobase.shards.latents import Latents
from rheobase.shards.shard import GAP, TEST, TRAIN, VALIDATION, Shard
from rheobase.shards.states import student_line
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.student.inputs import counts_for
from rheobase.student.network import simulate_session
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate, Students
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import TrialRequest
from rheobase.study.run_folder import RunFolder
from rheobase.study.trial.linear_readout import choose_linear_readout

SPLITS = {TRAIN: "train", VALIDATION: "validation", TEST: "test", GAP: "gap"}


def export_trial(
    request: TrialRequest,
    spec: StudySpec,
    shards: Sequence[Shard],
    latents: Latents,
    run: Path,
    out: Path,
) -> list[Path]:
    """Write one ``seed-<s>.npz`` for each seed that a complete trial has numbers of.

    Parameters
    ----------
    request
        The trial.
    spec
        Its study, named in errors.
    shards, latents
        Its sessions, and the latents of each teacher of the study.
    run
        Folder of the run that holds its weights.
    out
        Folder to write; each session has a network of its own, so that where there are several
        sessions each has a folder of its name in it.

    Returns
    -------
    The files. Each holds ``features`` (T, M) float32, the filtered spikes or counts that CCA sees;
    ``spikes`` (T, M) uint8, where the network spikes; ``latents`` (T, D) float32, its target;
    ``groups`` (T,) int; ``split`` (T,) train, validation, test or gap; ``state`` (T,) str;
    ``bin_ms``; ``dale_sign`` (M,) int8; ``recurrent_weights`` (M, M) [post, pre]; ``input_sign``
    (N,) int8, 0 of units whose weights are free; ``input_weights`` (M, N) [post, pre] ((3 M, N) of
    gated units); ``bias`` (M,).

    Raises
    ------
    ArtifactError
        The run does not hold the networks' weights.
    """
    # As in the trial: sums over threads would differ in the last bit.
    torch.set_num_threads(1)
    settings = StudentSettings.model_validate(request.student)
    stored = RunFolder(run).trial(request.trial_id).students
    written = []
    for shard in sorted(shards, key=lambda shard: shard.session_id):
        session = shard.session_id
        timeline = student_line(timeline_of(shard, open_test=True), session, spec.data)
        students, seeds = stored_students(spec.name, stored, session)
        taught_by = [latents.of_teacher(spec.seeds.teacher_of(seed)) for seed in seeds]
        replicates = [Replicate(seed, settings) for seed in seeds]
        counts = counts_for(settings.input, stacked_counts(shard), session, spec.data.split.seed)
        if settings.neuron == "linear":
            readouts = {
                teacher.digest: choose_linear_readout(
                    counts,
                    teacher.of_target(settings.target)[session][:, : teacher.dims],
                    timeline,
                    spec.teacher.filters_ms,
                ).of(counts, timeline)
                for teacher in {one.digest: one for one in taught_by}.values()
            }
            spikes, features = None, np.stack([readouts[one.digest] for one in taught_by])
        else:
            spikes, features = simulate_session(students, counts, timeline, replicates)
        for index, seed in enumerate(seeds):
            path = (out / session if len(shards) > 1 else out) / f"seed-{seed}.npz"
            with whole_file(path) as partial, partial.open("wb") as file:
                np.savez_compressed(
                    file,
                    features=features[index],
                    **({} if spikes is None else {"spikes": spikes[index]}),
                    latents=taught_by[index].of_target(settings.target)[session],
                    groups=timeline.group,
                    split=np.array([SPLITS[int(label)] for label in timeline.split]),
                    state=timeline.state,
                    bin_ms=np.array(timeline.bin_ms),
                    dale_sign=students.signs[index].numpy().astype(np.int8),
                    recurrent_weights=students.recurrent[index].numpy().T,
                    input_sign=students.input_signs[index].numpy().astype(np.int8),
                    input_weights=students.input_weights[index].numpy().T,
                    bias=students.bias[index].numpy(),
                )
            written.append(path)
    return written


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
