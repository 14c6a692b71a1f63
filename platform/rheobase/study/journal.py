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
from rheobase.study.objectives import DIRECTIONS
from rheobase.study.result import TrialRecord
from rheobase.study.space import Space
from rheobase.study.spec import StudySpec
from rheobase.study.told import Told, told_trials

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
    search, as its sampler is told them; their number is the ledger's, and the user attributes
    `trial_id`, `stage`, `arm`, `seeds` and `error` say what Optuna has no place for. Trials on
    report seeds and audits are studies of their own, ``NAME-report`` and ``NAME-audit``, for no
    sampler has seen them and a best-of must not mix them in.
    """
    with whole_file(path) as partial:
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
