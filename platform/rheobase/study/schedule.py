"""What a study runs next, decided by its records alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rheobase.core.digest import digest
from rheobase.core.errors import RheobaseError
from rheobase.shards.latents import Latents
from rheobase.shards.shard import Shard
from rheobase.student.settings import StudentSettings
from rheobase.study.ablation import arms_of
from rheobase.study.ledger import Ledger
from rheobase.study.listener import Listener
from rheobase.study.rank import winner_of
from rheobase.study.result import BASELINE, Stage, TrialRecord, TrialRequest, TrialResult
from rheobase.study.sampler import propose
from rheobase.study.spec import StudySpec, override_student
from rheobase.study.trial import OnProgress, run_trial

MAX_ATTEMPTS = 8  # draws of a generation before a space is taken to be exhausted
STAGES: Mapping[Stage, str] = {"select": "search", "report": "report"}


def next_requests(
    spec: StudySpec,
    records: Sequence[TrialRecord],
    inputs_digest: str,
    elapsed_s: float = 0.0,
) -> list[TrialRequest]:
    """Return the trials to run now, all of which may run at once; none when the study is done.

    Parameters
    ----------
    spec
        The study.
    records
        Every trial of its ledger, by number.
    inputs_digest
        Digest of what a trial's numbers depend on beside its own settings and seeds.
    elapsed_s
        Seconds the study has run; past `resources.time_budget_s` no generation begins.

    Returns
    -------
    Trials that were asked for and have not ended, if any. Else the search's next generation,
    which begins with the study's own settings as number 0. Else the report stage: the winner
    (the study's own settings where no trial is feasible) and every arm of the ablation.

    Notes
    -----
    A pure function: a study that was interrupted goes on as if it never had been.
    """
    unfinished = [r.request for r in records if r.status in ("waiting", "running")]
    if unfinished:
        return unfinished
    is_reporting = any(record.request.stage == "report" for record in records)
    budget_s = spec.resources.time_budget_s
    is_late = bool(records) and 0 < budget_s <= elapsed_s
    if not is_reporting and not is_late:
        generation = _next_generation(spec, records, inputs_digest)
        if generation:
            return generation
    return _report_stage(spec, records, inputs_digest)


def _request(
    spec: StudySpec,
    stage: Stage,
    arm: str,
    params: Mapping[str, Any],
    student: StudentSettings,
    inputs_digest: str,
    number: int,
) -> TrialRequest:
    table = student.model_dump(mode="json")
    seeds = spec.seeds.select if stage == "select" else spec.seeds.report
    decides = {
        "student": table,
        "seeds": seeds,
        "stage": stage,
        "arm": arm,
        "inputs": inputs_digest,
    }
    return TrialRequest(
        trial_id=digest(decides),
        number=number,
        stage=stage,
        arm=arm,
        params=dict(params),
        student=table,
        seeds=seeds,
    )


def _own_settings(spec: StudySpec) -> dict[str, Any]:
    """Return the study's own values of the settings it searches."""
    table = spec.student.model_dump(mode="json")
    return {path: table[path.partition(".")[2]] for path in spec.search.space}


def _next_generation(
    spec: StudySpec, records: Sequence[TrialRecord], inputs_digest: str
) -> list[TrialRequest]:
    known = {record.request.trial_id for record in records}
    num = min(spec.search.generation, spec.search.trials - len(records))
    found: list[TrialRequest] = []

    def ask(params: Mapping[str, Any]) -> None:
        number = len(records) + len(found)
        student = override_student(spec.student, params)
        asked = _request(spec, "select", BASELINE, params, student, inputs_digest, number)
        if asked.trial_id not in known and len(found) < num:
            known.add(asked.trial_id)
            found.append(asked)

    if not records:
        ask(_own_settings(spec))
    for attempt in range(MAX_ATTEMPTS):
        if len(found) >= num:
            break
        for params in propose(spec, records, num - len(found), attempt):
            ask(params)
    return found


def _report_stage(
    spec: StudySpec, records: Sequence[TrialRecord], inputs_digest: str
) -> list[TrialRequest]:
    if not spec.seeds.report:
        return []
    winner = winner_of(spec, records)
    params = winner.request.params if winner else _own_settings(spec)
    student = StudentSettings.model_validate(winner.request.student) if winner else spec.student
    known = {record.request.trial_id for record in records}
    found: list[TrialRequest] = []
    for arm, overrides in {BASELINE: {}, **arms_of(spec)}.items():
        number = len(records) + len(found)
        lifted = override_student(student, overrides)
        asked = _request(
            spec, "report", arm, {**params, **overrides}, lifted, inputs_digest, number
        )
        if asked.trial_id not in known:
            found.append(asked)
    return found


class Bookkeeper:
    """Writes what happens to trials into the ledger, then tells the listener."""

    def __init__(self, ledger: Ledger, listener: Listener) -> None:
        self.ledger = ledger
        self.listener = listener
        self._stage: Stage | None = None

    def planned(self, requests: Sequence[TrialRequest]) -> None:
        """Take in trials that are about to run, all of one stage."""
        for request in requests:
            self.ledger.add(request)
        if requests[0].stage != self._stage:
            self._stage = requests[0].stage
            self.listener.stage(STAGES[self._stage], f"{len(requests[0].seeds)} seeds a trial")

    def started(self, request: TrialRequest) -> None:
        """Take in that a trial runs."""
        self.ledger.start(request.trial_id)
        self.listener.trial_started(request)

    def progressed(self, trial_id: str, step: int, values: Mapping[str, float]) -> None:
        """Take in scalars of a training step."""
        self.ledger.progress(trial_id, step, values)
        self.listener.trial_progress(trial_id, step, values)

    def ended(self, trial_id: str, outcome: TrialResult | str) -> None:
        """Take in what a trial found, or why it failed."""
        if isinstance(outcome, TrialResult):
            self.ledger.complete(outcome)
        else:
            self.ledger.fail(trial_id, outcome)
        self.listener.trial_ended(self.ledger.record(trial_id))


def outcome_of(
    request: TrialRequest,
    spec: StudySpec,
    shards: Sequence[Shard],
    latents: Latents,
    run: Path,
    on_progress: OnProgress | None = None,
) -> TrialResult | str:
    """Run a trial in its folder below `run`; return its result, or in one line why it failed."""
    folder = run / "trials" / request.trial_id
    try:
        result: TrialResult = run_trial(request, spec, shards, latents, folder, on_progress)
        return result
    except RheobaseError as error:
        return str(error)
    except Exception as error:
        # One configuration that breaks the code must not cost the others their study.
        return " ".join(f"{type(error).__name__}: {error}".split())


def run_here(
    spec: StudySpec,
    run: Path,
    shards: Sequence[Shard],
    latents: Latents,
    inputs_digest: str,
    bookkeeper: Bookkeeper,
    elapsed_s: Callable[[], float] = lambda: 0.0,
) -> None:
    """Run what is left of a study in this process, one trial after another.

    Parameters
    ----------
    spec
        The study.
    run
        Folder of the run; trials keep their files in ``trials/<trial_id>`` below it.
    shards
        Binned sessions.
    latents
        The teacher's latents of each.
    inputs_digest
        As `next_requests` takes it.
    bookkeeper
        Of the run's ledger.
    elapsed_s
        Says how long the study has run.

    Notes
    -----
    The numbers are those of the same study under Ray: this is its oracle.
    """
    ledger = bookkeeper.ledger
    while requests := next_requests(spec, ledger.records(), inputs_digest, elapsed_s()):
        bookkeeper.planned(requests)
        for request in requests:
            bookkeeper.started(request)
            trial_id = request.trial_id

            def report(step: int, values: Mapping[str, float], trial_id: str = trial_id) -> None:
                bookkeeper.progressed(trial_id, step, values)

            bookkeeper.ended(trial_id, outcome_of(request, spec, shards, latents, run, report))
