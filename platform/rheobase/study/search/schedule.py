"""What a study runs next, decided by its records alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rheobase.core.digest import digest
from rheobase.shards.latents import Latents
from rheobase.shards.shard import Shard
from rheobase.student.settings import StudentSettings, population_key
from rheobase.study.file.ablation import (
    arms_of,
    reads_of,
    reads_told,
    repeated_arms,
    repeated_told,
    retuned_arms,
    study_of_arm,
    tuned_settings,
)
from rheobase.study.file.path import path_steps, path_trials
from rheobase.study.file.spec import StudySpec, override_student, override_study
from rheobase.study.ranking.confirm import top_trials
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.listener import Listener
from rheobase.study.records.result import (
    BASELINE,
    ENDED,
    STAGES,
    Rung,
    Stage,
    TrialRecord,
    TrialRequest,
    TrialResult,
    TrialStopped,
)
from rheobase.study.search.pruning import rungs_of, to_audit
from rheobase.study.search.retuned import best_of_arm, records_of_arm
from rheobase.study.search.sampler import propose
from rheobase.study.search.space import Space
from rheobase.study.search.warm_start import Fork
from rheobase.study.trial.population import Outcome
from rheobase.study.trial.run import run_population

MAX_ATTEMPTS = 16  # draws of a generation before a space is taken to be exhausted


def next_requests(
    spec: StudySpec,
    records: Sequence[TrialRecord],
    inputs_digest: str,
    elapsed_s: float = 0.0,
    earlier: Sequence[TrialRecord] = (),
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
        Seconds the study has run; past `resources.time_budget_s` neither a generation nor the
        audit begins.
    earlier
        Trials of another run that the sampler is told.

    Returns
    -------
    Trials that were asked for and have not ended, if any. Else the search's next generation,
    which begins with the study's own settings as number 0. Else what arms are tuned by: the
    settings that gated controls choose from (`tuned_settings`), the next generation of each arm
    that has a search of its own, and the next step of a path by effect. Else the report stage: the
    winner (the study's own settings where no trial is feasible), further trials to be confirmed,
    and every arm of the ablation but those that are another (`repeated_arms`).
    Else the audit: some of the stopped trials, to their end.

    Notes
    -----
    A pure function: a study that was interrupted goes on as if it never had been.
    """
    unfinished = [r.request for r in records if r.status not in ENDED]
    if unfinished:
        return unfinished
    has_searched = any(record.request.stage != "select" for record in records)
    budget_s = spec.resources.time_budget_s
    is_late = bool(records) and 0 < budget_s <= elapsed_s
    if not has_searched and not is_late:
        generation = _next_generation(spec, records, inputs_digest, earlier)
        if generation:
            return generation
    report = _report_stage(spec, records, inputs_digest)
    return report or ([] if is_late else _audit_stage(spec, records, inputs_digest))


def packs(spec: StudySpec, requests: Sequence[TrialRequest]) -> list[list[TrialRequest]]:
    """Return requests in groups that may train as one population, `search.pack` at most in each.

    All of a group read the same shards and latents.
    """
    by_key: dict[tuple[str, str], list[TrialRequest]] = defaultdict(list)
    for request in requests:
        key = population_key(StudentSettings.model_validate(request.student))
        by_key[reads_told(request.reads), key].append(request)
    size = spec.search.pack
    return [
        alike[first : first + size]
        for alike in by_key.values()
        for first in range(0, len(alike), size)
    ]


def _request(
    spec: StudySpec,
    stage: Stage,
    arm: str,
    params: Mapping[str, Any],
    student: StudentSettings,
    inputs_digest: str,
    number: int,
    rungs: tuple[Rung, ...] = (),
    reads: Mapping[str, Any] | None = None,
) -> TrialRequest:
    table = student.model_dump(mode="json")
    seeds = spec.seeds.report if stage == "report" else spec.seeds.select
    decides = {
        "student": table,
        "seeds": seeds,
        "stage": stage,
        "arm": arm,
        # With the study's own inputs these settings name the shards and latents that are read.
        "inputs": digest({"inputs": inputs_digest, "reads": reads}) if reads else inputs_digest,
    }
    return TrialRequest(
        trial_id=digest(decides),
        number=number,
        stage=stage,
        arm=arm,
        params=dict(params),
        student=table,
        seeds=seeds,
        rungs=rungs,
        reads=dict(reads or {}),
    )


def _next_generation(
    spec: StudySpec,
    records: Sequence[TrialRecord],
    inputs_digest: str,
    earlier: Sequence[TrialRecord],
    arm: str = BASELINE,
    reads: Mapping[str, Any] | None = None,
) -> list[TrialRequest]:
    """Return the next trials of the study's search, or of the search of an arm."""
    stage: Stage = "select" if arm == BASELINE else "tune"
    known = {record.request.trial_id for record in records}
    num = min(spec.search.generation, spec.search.trials - len(records))
    requests: list[TrialRequest] = []

    def ask(params: Mapping[str, Any]) -> None:
        number = len(records) + len(requests)
        student = override_student(spec.student, params)
        rungs = rungs_of(spec, records, student)
        request = _request(spec, stage, arm, params, student, inputs_digest, number, rungs, reads)
        if request.trial_id not in known and len(requests) < num:
            known.add(request.trial_id)
            requests.append(request)

    if not records:
        ask(Space(spec).own())
    for attempt in range(MAX_ATTEMPTS):
        if len(requests) >= num:
            break
        for params in propose(spec, records, num - len(requests), attempt, earlier):
            ask(params)
    return requests


def _report_stage(
    spec: StudySpec, records: Sequence[TrialRecord], inputs_digest: str
) -> list[TrialRequest]:
    if not spec.seeds.report:
        return []
    by_id = {record.request.trial_id: record.request for record in records}
    top = top_trials(rank_study(spec, records), spec.search.confirm)
    winners = {arm: by_id[trial_id] for arm, trial_id in top.items()}
    params = winners[BASELINE].params if winners else Space(spec).own()
    student = spec.student
    if winners:
        student = StudentSettings.model_validate(winners[BASELINE].student)
    of_arms = {BASELINE: (params, student)}
    for arm, winner in winners.items():
        of_arms[arm] = (winner.params, StudentSettings.model_validate(winner.student))
    tried = _requests(
        spec,
        "tune",
        inputs_digest,
        [
            (arm, {**params, **one}, override_student(student, one))
            for arm, one in path_trials(spec, records).items()
        ],
    )
    steps, retuned, arms = path_steps(spec, records), retuned_arms(spec), arms_of(spec)
    reads = {arm: found for arm, one in arms.items() if (found := reads_of(spec, one))}
    for arm, overrides in arms.items():
        if arm in retuned:
            of_arm, own = study_of_arm(spec, arm), records_of_arm(records, arm)
            tried += _next_generation(of_arm, own, inputs_digest, (), arm, reads.get(arm))
            of_arms[arm] = (dict(overrides), of_arm.student)
            if best := best_of_arm(own):
                tuned = StudentSettings.model_validate(best.request.student)
                of_arms[arm] = ({**best.request.params, **overrides}, tuned)
            continue
        choices = _requests(
            spec,
            "tune",
            inputs_digest,
            [
                (arm, {**params, **one}, override_student(student, one))
                for one in tuned_settings(student, overrides)
            ],
            reads,
        )
        tried += choices
        chosen = _best_of(choices, records) or steps.get(arm, overrides)
        of_arms[arm] = ({**params, **overrides, **chosen}, override_student(student, chosen))
    if untried := _not_made(tried, records):
        return untried
    repeated = repeated_arms(spec, student)
    asked = [(arm, *one) for arm, one in of_arms.items() if arm not in repeated]
    return _not_made(_requests(spec, "report", inputs_digest, asked, reads), records)


def repeats_told(spec: StudySpec, requests: Sequence[TrialRequest]) -> str:
    """Return which arms of a report stage are not run, and why, in a line; empty if all are."""
    baseline = [one for one in requests if one.stage == "report" and one.arm == BASELINE]
    if not baseline:
        return ""
    student = StudentSettings.model_validate(baseline[0].student)
    return repeated_told(repeated_arms(spec, student))


def _best_of(
    requests: Sequence[TrialRequest], records: Sequence[TrialRecord]
) -> Mapping[str, Any] | None:
    """Return the settings of the trial with the largest held-out CCA; None if none has one."""
    asked = {request.trial_id for request in requests}
    found = [
        (fmean(one.cca_heldout for one in record.result.replicates), record.request.params)
        for record in records
        if record.request.trial_id in asked and record.result is not None
    ]
    return max(found, key=lambda one: one[0])[1] if found else None


def _audit_stage(
    spec: StudySpec, records: Sequence[TrialRecord], inputs_digest: str
) -> list[TrialRequest]:
    stopped = [
        (one.request.trial_id, one.request.params, StudentSettings(**one.request.student))
        for one in to_audit(spec, records)
    ]
    return _not_made(_requests(spec, "audit", inputs_digest, stopped), records)


def _requests(
    spec: StudySpec,
    stage: Stage,
    inputs_digest: str,
    asked: Sequence[tuple[str, Mapping[str, Any], StudentSettings]],
    reads: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[TrialRequest]:
    """Return the requests of a stage, of each arm, what it sets and all its settings.

    `reads` says which arms read other shards or latents than the study.
    """
    of_arms = reads or {}
    return [
        _request(spec, stage, arm, params, student, inputs_digest, 0, reads=of_arms.get(arm))
        for arm, params, student in asked
    ]


def _not_made(
    requests: Sequence[TrialRequest], records: Sequence[TrialRecord]
) -> list[TrialRequest]:
    """Return the requests that the study has not made yet, numbered after those that it has."""
    known = {record.request.trial_id for record in records}
    new = [request for request in requests if request.trial_id not in known]
    return [
        request.model_copy(update={"number": len(records) + index})
        for index, request in enumerate(new)
    ]


class Bookkeeper:
    """Writes what happens to trials into the ledger, then tells the listener."""

    def __init__(self, ledger: Ledger, listener: Listener, fork: Fork | None = None) -> None:
        self.ledger = ledger
        self.listener = listener
        self._fork = fork
        self._stage: Stage | None = None

    def planned(self, requests: Sequence[TrialRequest], told: str = "") -> list[TrialRequest]:
        """Take in trials that are about to run, all of one stage; return those left to run.

        The others have ended before, in the run that this one was forked from. What is `told` is
        said as the stage begins.
        """
        for request in requests:
            self.ledger.add(request)
        if requests[0].stage != self._stage:
            self._stage = requests[0].stage
            seeds = f"{len(requests[0].seeds)} seeds a trial"
            self.listener.stage(STAGES[self._stage], f"{seeds}; {told}" if told else seeds)
        return [request for request in requests if not self._is_taken_over(request)]

    def _is_taken_over(self, request: TrialRequest) -> bool:
        ended = self._fork.take(request) if self._fork else None
        if ended is None:
            return False
        self.ledger.adopt(request.trial_id, ended)
        self.listener.trial_started(request)
        for step, values in ended.progress:
            self.listener.trial_progress(request.trial_id, step, values)
        self.listener.trial_ended(self.ledger.record(request.trial_id))
        return True

    def started(self, request: TrialRequest) -> None:
        """Take in that a trial runs."""
        self.ledger.start(request.trial_id)
        self.listener.trial_started(request)

    def progressed(self, trial_id: str, step: int, values: Mapping[str, float]) -> None:
        """Take in scalars of a training step."""
        self.ledger.progress(trial_id, step, values)
        self.listener.trial_progress(trial_id, step, values)

    def ended(self, trial_id: str, outcome: Outcome) -> None:
        """Take in what a trial found, where it was stopped, or why it failed."""
        if isinstance(outcome, TrialResult):
            self.ledger.complete(outcome)
        elif isinstance(outcome, TrialStopped):
            self.ledger.prune(trial_id, outcome.reason)
        else:
            self.ledger.fail(trial_id, outcome)
        self.listener.trial_ended(self.ledger.record(trial_id))


def run_here(
    spec: StudySpec,
    run: Path,
    shards: Sequence[Shard],
    latents: Latents,
    inputs_digest: str,
    bookkeeper: Bookkeeper,
    elapsed_s: Callable[[], float] = lambda: 0.0,
    earlier: Sequence[TrialRecord] = (),
    others: Mapping[str, tuple[Sequence[Shard], Latents]] | None = None,
) -> None:
    """Run what is left of a study in this process, one population after another.

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
    earlier
        As `next_requests` takes it.
    others
        Shards and latents of arms that read others than the study, by `reads_told`.

    Notes
    -----
    The numbers are those of the same study under Ray: this is its oracle.
    """
    ledger = bookkeeper.ledger
    while requests := next_requests(spec, ledger.records(), inputs_digest, elapsed_s(), earlier):
        planned = bookkeeper.planned(requests, repeats_told(spec, requests))
        for pack in packs(spec, planned):
            for request in pack:
                bookkeeper.started(request)
            reads, data = pack[0].reads, (shards, latents)
            if reads:
                data = (others or {})[reads_told(reads)]
            its_study = override_study(spec, reads)
            outcomes = run_population(pack, its_study, *data, run, bookkeeper.progressed)
            for request in pack:
                bookkeeper.ended(request.trial_id, outcomes[request.trial_id])
