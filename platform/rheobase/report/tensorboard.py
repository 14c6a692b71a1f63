"""TensorBoard's view of a study: one run a trial, compared by its settings and measures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata, summary_v2
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.rank import trial_row
from rheobase.study.records.result import TrialRecord, TrialRequest
from rheobase.study.run_folder import RunFolder

TEACHER = "teacher"
METRICS = (
    "cca_heldout",
    "cca_validation",
    "cca_all_dims",
    "untrained",
    "gain",
    "closed",
    "linear_readout",
    "null_shift_q95",
    "null_clock_q95",
    "null_session_q95",
    "null_drift",
    "reliability",
    "procrustes",
    "rate_hz",
    "in_band",
    "cv_isi",
    "violation",
)


class TensorBoardLog:
    """A listener that writes ``RUN/tensorboard/<trial_id>/`` and ``RUN/tensorboard/teacher/``.

    The full configuration is written when a trial starts and its status when it ends, so that
    a trial that fails early is there and one that was killed is not called a success. Of a
    trial that ran twice, both files are of one group.

    Parameters
    ----------
    run
        Folder of the run; nothing is written before the teacher's first report or the first
        trial's start.
    spec
        The study.
    """

    def __init__(self, run: Path, spec: StudySpec) -> None:
        self._folder = RunFolder(run).tensorboard
        self._spec = spec
        self._writers: dict[str, EventFileWriter] = {}
        self._last_step: dict[str, int] = {}
        self._teacher: EventFileWriter | None = None

    def stage(self, name: str, detail: str) -> None:
        """Stages have no place in TensorBoard."""

    def teacher_progress(self, step: int, num_steps: int, values: Mapping[str, float]) -> None:
        """Write the scalars of a step, in place of what earlier processes wrote of it."""
        if self._teacher is None:
            self._teacher = EventFileWriter(str(self._folder / TEACHER))
            # TensorBoard drops what older files hold of the step of a start and of later ones.
            start = SessionLog(status=SessionLog.START)
            self._teacher.add_event(Event(session_log=start, step=step, wall_time=time.time()))
        _write(self._teacher, _scalars({f"{TEACHER}/{k}": v for k, v in values.items()}), step)
        self._teacher.flush()

    def teacher_ended(self) -> None:
        """Close the teacher's file."""
        if self._teacher is not None:
            self._teacher.close()
            self._teacher = None

    def trial_started(self, request: TrialRequest) -> None:
        """Write the trial's full configuration."""
        if not list(self._folder.glob("events.*")):
            root = EventFileWriter(str(self._folder))
            _write(root, _declaration(request))
            root.close()
        writer = EventFileWriter(str(self._folder / request.trial_id))
        self._writers[request.trial_id] = writer
        _write(writer, summary_v2.hparams_pb(_hparams(request), trial_id=request.trial_id))
        writer.flush()

    def trial_progress(self, trial_id: str, step: int, values: Mapping[str, float]) -> None:
        """Write the scalars of a training step."""
        self._last_step[trial_id] = step
        _write(
            self._writers[trial_id], _scalars({f"train/{k}": v for k, v in values.items()}), step
        )
        self._writers[trial_id].flush()

    def trial_ended(self, record: TrialRecord) -> None:
        """Write a trial's measures and how it ended."""
        trial_id = record.request.trial_id
        writer = self._writers.pop(trial_id)
        row = trial_row(self._spec, record)
        measured = {
            **{name: getattr(row, name, None) for name in METRICS},
            "cca_heldout": row.cca_heldout.mean,
            "rate_hz": row.rate_hz.mean,
            "in_band": row.rate_hz.in_band,
        }
        scalars = {name: value for name, value in measured.items() if value is not None}
        _write(writer, _scalars(scalars), self._last_step.pop(trial_id, 0))
        _write(writer, _end(record.status == "complete"))
        writer.close()


def _write(writer: EventFileWriter, summary: Summary, step: int = 0) -> None:
    writer.add_event(Event(summary=summary, step=step, wall_time=time.time()))


def _scalars(values: Mapping[str, float]) -> Summary:
    return Summary(
        value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    )


def _hparams(request: TrialRequest) -> dict[str, bool | float | str]:
    """Return the configuration in the types that the plugin shows; others as text."""
    table: dict[str, Any] = {f"student.{key}": value for key, value in request.student.items()}
    table |= {"stage": request.stage, "arm": request.arm, "seeds": list(request.seeds)}
    return {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in table.items()
    }


def _declaration(request: TrialRequest) -> Summary:
    """Return the columns of the comparison, the same for every trial."""
    made: Summary = summary_v2.hparams_config_pb(
        hparams=[summary_v2.HParam(name) for name in _hparams(request)],
        metrics=[summary_v2.Metric(name) for name in METRICS],
    )
    return made


def _end(succeeded: bool) -> Summary:
    info = SessionEndInfo(
        status=STATUS_SUCCESS if succeeded else STATUS_FAILURE, end_time_secs=time.time()
    )
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(HParamsPluginData(session_end_info=info)),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])
