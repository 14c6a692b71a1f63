"""TensorBoard's view of a study: one run a trial, compared by its settings and measures."""

# Shape legend: T bins, M neurons, R replicates.

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from rheobase.core.artifacts import read_json
from rheobase.report import figures, teacher
from rheobase.report import tensorboard_messages as messages
from rheobase.report.tables import outcome
from rheobase.report.tensorboard_messages import FINAL, RUNNING, run_name
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.rank import ranked, trial_row
from rheobase.study.ranking.ranking import RankedTrial
from rheobase.study.records.result import ENDED, Stage, TrialRecord, TrialRequest
from rheobase.study.run_folder import RunFolder

TEACHER = "teacher"
EVENTS = "events.out.tfevents"
ROOT = "root"
PICTURES = "pictures"
DOTS_AN_INCH = 90


class TensorBoardLog:
    """A listener that writes ``RUN/tensorboard/<stage>/<name>`` and ``RUN/tensorboard/teacher``.

    A trial that runs is in a folder whose name says so, with its settings and curves. When it has
    ended its folder is written anew from its record and bears its outcome: ``search/007-passed``.
    Ranks of other trials that an end changes are written at once. What a process that was killed
    left undone is done when the next one starts a trial.

    Parameters
    ----------
    run
        Folder of the run; nothing is written before the teacher's first report or the first
        trial's start.
    spec
        The study.
    """

    def __init__(self, run: Path, spec: StudySpec) -> None:
        self._run = RunFolder(run)
        self._folder = self._run.tensorboard
        self._spec = spec
        self._running: dict[str, Path] = {}  # its file of events
        self._rows: dict[str, RankedTrial] = {}
        self._has_caught_up = False
        self._teacher: Path | None = None

    def stage(self, name: str, detail: str) -> None:
        """Tell what the teacher holds, once there are students to compare with it."""
        if name not in ("search", "report") or not self._run.teacher_report.exists():
            return
        path = self._folder / TEACHER / f"{EVENTS}.9-told"
        if path.exists():
            return
        report = read_json(self._run.teacher_report)
        try:
            sentences = teacher.verdict(report)
        except (KeyError, TypeError):  # of an earlier version
            return
        told = [f"- {one}" for one in [*sentences, *report.get("notes", ())]]
        _write(path, [(0, messages.text("what it holds", "\n".join(told)))])

    def teacher_progress(self, step: int, num_steps: int, values: Mapping[str, float]) -> None:
        """Write the scalars of a step, in place of what earlier processes wrote of it."""
        if self._teacher is None:
            self._teacher = self._folder / TEACHER / _file_name()
            # TensorBoard drops what older files hold of the step of a start and of later ones.
            start = Event(session_log=SessionLog(status=SessionLog.START), step=step)
            _add(self._teacher, [_header(), start])
        scalars = messages.scalars({f"{TEACHER}/{name}": value for name, value in values.items()})
        _write(self._teacher, [(step, scalars)])

    def teacher_ended(self) -> None:
        """Begin another file if the teacher is trained again."""
        self._teacher = None

    def trial_started(self, request: TrialRequest) -> None:
        """Write the trial's settings."""
        known = self._caught_up()
        folder = self._folder / run_name(request, RUNNING)
        shutil.rmtree(folder, ignore_errors=True)
        path = self._running[request.trial_id] = folder / _file_name()
        _write(path, [(0, one) for one in self._opening(request, RUNNING, time.time())])
        before = known.get(request.trial_id)
        _write(
            path, [(step, messages.curves(v)) for step, v in (before.progress if before else ())]
        )

    def trial_progress(self, trial_id: str, step: int, values: Mapping[str, float]) -> None:
        """Write the scalars of a training step."""
        _write(self._running[trial_id], [(step, messages.curves(values))])

    def trial_ended(self, record: TrialRecord) -> None:
        """Write a trial's measures and how it ended, and the ranks that this changes."""
        del self._running[record.request.trial_id]
        self._write_ended(record)
        self._write_ranks(record.request.stage)

    def _opening(self, request: TrialRequest, ended: str, started_s: float) -> Iterable[Summary]:
        yield messages.settings(self._spec, request, ended, started_s)
        yield messages.text("settings", messages.settings_text(self._spec, request))

    def _caught_up(self) -> dict[str, TrialRecord]:
        """Declare the columns and write what earlier processes did not; return their records."""
        if self._has_caught_up:
            return {}
        self._has_caught_up = True
        root = self._folder / f"{EVENTS}.{ROOT}"
        if not root.exists():
            _write(root, [(0, messages.declaration(self._spec)), (0, messages.layout())])
        records = self._run.read_records() if self._run.ledger.exists() else ()
        for record in records:
            if record.status in ENDED:
                self._write_ended(record)
        for stage in ("select", "report"):
            self._write_ranks(stage)
        return {record.request.trial_id: record for record in records}

    def _write_ended(self, record: TrialRecord) -> None:
        request = record.request
        row = self._rows[request.trial_id] = trial_row(self._spec, record)
        folder = self._folder_of(row)
        if not folder.exists():
            # Made beside TensorBoard's folder: it must never see half of a run.
            partial = self._folder.with_name(".tensorboard.partial")
            shutil.rmtree(partial, ignore_errors=True)
            _write(partial / f"{EVENTS}.{ROOT}", self._told(row, record), record.ended_at)
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(folder)
        shutil.rmtree(self._folder / run_name(request, RUNNING), ignore_errors=True)

    def _folder_of(self, row: RankedTrial) -> Path:
        return self._folder / run_name(row, outcome(row))

    def _told(self, row: RankedTrial, record: TrialRecord) -> Iterable[tuple[int, Summary]]:
        """Yield all that is told of a trial that has ended, each with its step."""
        request, ended = record.request, outcome(row)
        for summary in self._opening(request, ended, record.started_at or 0.0):
            yield 0, summary
        yield 0, messages.text("outcome", messages.outcome_text(row, record.error))
        for step, values in record.progress:
            yield step, messages.curves(values)
        last = record.progress[-1][0] if record.progress else 0
        numbers = messages.final(row)
        yield last, messages.scalars({f"{FINAL}/{name}": x for name, x in numbers.items()})
        for summary in self._pictured(request):
            yield 0, summary
        yield 0, messages.end(record.status == "failed", record.ended_at or 0.0)

    def _pictured(self, request: TrialRequest) -> Iterable[Summary]:
        """Yield distributions and pictures of the trial's first network, if they are kept.

        Pictures that take long to draw are of the report stage alone.
        """
        folder = self._run.trial(request.trial_id)
        sample, students = _arrays(folder.sample), _arrays(folder.students)
        for word, sign in (("excitatory", 1), ("inhibitory", -1)):
            if "rate_hz" in sample:
                rates = sample["rate_hz"][sample["dale_sign"] == sign]
                yield messages.histogram(f"rates (Hz)/{word}", rates)
            for name, weights in students.items():
                if name.endswith("/recurrent"):
                    signs = students[name.removesuffix("recurrent") + "signs"]
                    sent = weights[:, signs == sign]
                    yield messages.histogram(f"recurrent weights/{word}", sent[sent != 0])
                    break
        if "spikes" in sample:
            png = messages.spike_map(sample["spikes"], sample["dale_sign"])
            yield messages.picture(f"{PICTURES}/spikes", png)
        if sample and request.stage == "report":
            for name, figure in (
                ("raster", figures.raster(sample, self._spec.require.rate_hz)),
                ("latents", figures.latents_over_time(sample)),
                ("canonical pairs", figures.canonical_pairs(sample)),
            ):
                if figure is not None:
                    yield messages.picture(
                        f"{PICTURES}/{name}", figures.png_of(figure, DOTS_AN_INCH)
                    )

    def _write_ranks(self, stage: Stage) -> None:
        """Write the ranks of a stage's trials that are not what was written last."""
        of_stage = [row for row in self._rows.values() if row.stage == stage]
        if stage == "audit":
            return
        for rank, row in enumerate(ranked(of_stage), start=1):
            if rank == self._rows[row.trial_id].rank:
                continue
            self._rows[row.trial_id] = row
            path = self._folder_of(row) / f"{EVENTS}.{ROOT}"
            _write(path, [(len(of_stage), messages.scalars({f"{FINAL}/rank": rank}))])


def _file_name() -> str:
    """Return a name after those of earlier processes: files are read in the order of names."""
    return f"{EVENTS}.{time.time():017.6f}"


def _header() -> Event:
    return Event(file_version="brain.Event:2")


def _write(
    path: Path, summaries: Iterable[tuple[int, Summary]], moment_s: float | None = None
) -> None:
    """Add summaries, each with its step, to a file of events."""
    moment_s = time.time() if moment_s is None else moment_s
    events = [Event(summary=one, step=step, wall_time=moment_s) for step, one in summaries]
    _add(path, events if path.exists() else [_header(), *events])


def _add(path: Path, events: Iterable[Event]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        writer = RecordWriter(file)
        for event in events:
            event.wall_time = event.wall_time or time.time()
            writer.write(event.SerializeToString())


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not path.exists():
        return {}
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}
