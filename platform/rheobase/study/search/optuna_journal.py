"""A study's ledger as a journal that optuna-dashboard opens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from rheobase.core.artifacts import whole_file
from rheobase.study.file.objectives import DIRECTIONS
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import ENDED, TrialRecord
from rheobase.study.search.observations import observation_of
from rheobase.study.search.sampler import quiet
from rheobase.study.search.space import Space

STATES = {
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def write_journal(spec: StudySpec, records: Sequence[TrialRecord], path: Path) -> None:
    """Write a study for ``optuna-dashboard PATH``, or ``optuna.load_study``.

    Parameters
    ----------
    spec
        The study.
    records
        Every trial of its ledger.
    path
        The journal; one that is there is replaced.

    Notes
    -----
    A copy to look at: nothing is read back from it. Optuna's study holds the trials of the
    search: state, searched settings, values, constraints as the sampler is told them, and held-out
    CCA at every report. What Optuna has no place for are user attributes: `trial_id`, `number`
    in the ledger, `stage`, `arm`, `seeds`, every setting of the trial (`params`, also those
    outside the space, which a distribution cannot hold) and `error`. Trials on report seeds and
    audits are studies of their own, ``NAME-report`` and ``NAME-audit``, for no sampler has seen
    them and a best-of must not mix them in.
    """
    with whole_file(path) as partial, quiet():
        storage = JournalStorage(JournalFileBackend(str(partial)))
        for stage in dict.fromkeys(record.request.stage for record in records):
            study = optuna.create_study(
                storage=storage,
                study_name=spec.name if stage == "select" else f"{spec.name}-{stage}",
                directions=[DIRECTIONS[name] for name in spec.search.objectives],
            )
            study.set_metric_names(list(spec.search.objectives))
            study.set_user_attr("question", spec.question)
            study.add_trials([_frozen(spec, r) for r in records if r.request.stage == stage])


def _frozen(spec: StudySpec, record: TrialRecord) -> FrozenTrial:
    request, space = record.request, Space(spec)
    searched = space.inside(request.params) or {}
    seen = observation_of(spec, searched, record) if record.status in ENDED else None
    attributes = {
        "trial_id": request.trial_id,
        "number": request.number,
        "stage": request.stage,
        "arm": request.arm,
        "seeds": list(request.seeds),
        "params": dict(request.params),
        "error": record.error,
    }
    trial = create_trial(
        state=STATES[record.status],
        params=searched,
        distributions=space.active(searched),
        values=seen.values if seen else None,
        constraints=seen.constraints if seen else None,
        intermediate_values={
            step: values["cca_heldout"]
            for step, values in record.progress
            if "cca_heldout" in values
        },
        user_attrs={name: value for name, value in attributes.items() if value is not None},
    )
    trial.datetime_start = _moment(record.started_at)
    trial.datetime_complete = _moment(record.ended_at)
    return trial


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds)
