"""A study's ledger as a journal that optuna-dashboard opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from rheobase.core.artifacts import whole_file
from rheobase.study.file.objectives import DIRECTIONS
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.rank import rank_study, trial_row
from rheobase.study.ranking.ranking import EndedTrial, MeasuredTrial, RankedTrial
from rheobase.study.records.result import ENDED, TrialRecord
from rheobase.study.search.observations import observation_of
from rheobase.study.search.sampler import quiet
from rheobase.study.search.space import Space

OLDER_CONSTRAINTS = "constraints"
"""Where Optuna kept constraints before version 5, and optuna-dashboard looks for them."""
FEASIBLE = "feasible"
ASKED = frozenset(EndedTrial.model_fields)
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
    CCA at every report. Constraints are there in Optuna 5's form and in the older one, which
    optuna-dashboard reads. What Optuna has no place for are user attributes: `trial_id`, `number`
    in the ledger, `stage`, `arm`, `seeds`, every setting of the trial (`params`, also those
    outside the space, which a distribution cannot hold), `error`, and tier, reasons and measures
    as the ranking has them. Trials on report seeds and
    audits are studies of their own, ``NAME-report`` and ``NAME-audit``, for no sampler has seen
    them and a best-of must not mix them in. Where the search has infeasible trials, its feasible
    ones are a study of their own, too, ``NAME-feasible``: optuna-dashboard shows constraints, but
    its Best Trial is the highest value, feasible or not.
    """
    rows = {one.request.trial_id: trial_row(spec, one) for one in records if one.status in ENDED}
    with whole_file(path) as partial, quiet():
        storage = JournalStorage(JournalFileBackend(str(partial)))
        for name, chosen in _studies(spec, records, rows).items():
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=[DIRECTIONS[name] for name in spec.search.objectives],
            )
            study.set_metric_names(list(spec.search.objectives))
            study.set_user_attr("question", spec.question)
            study.add_trials([_frozen(spec, one, rows.get(one.request.trial_id)) for one in chosen])
            if name == spec.name:
                for key, value in _note(spec, records).items():
                    storage.set_study_system_attr(study._study_id, key, value)


def _studies(
    spec: StudySpec, records: Sequence[TrialRecord], rows: Mapping[str, RankedTrial]
) -> dict[str, list[TrialRecord]]:
    """Return the trials of each of Optuna's studies by its name."""
    found: dict[str, list[TrialRecord]] = {}
    for record in records:
        stage = record.request.stage
        name = spec.name if stage == "select" else f"{spec.name}-{stage}"
        found.setdefault(name, []).append(record)
    searched = [record for record in found.get(spec.name, ()) if record.result is not None]
    feasible = [one for one in searched if rows[one.request.trial_id].is_feasible]
    if 0 < len(feasible) < len(searched):
        found[f"{spec.name}-{FEASIBLE}"] = feasible
    return found


def _frozen(spec: StudySpec, record: TrialRecord, row: RankedTrial | None) -> FrozenTrial:
    request, space = record.request, Space(spec)
    searched = space.inside(request.params) or {}
    seen = observation_of(spec, searched, record) if record.status in ENDED else None
    attributes: dict[str, Any] = {
        "trial_id": request.trial_id,
        "number": request.number,
        "stage": request.stage,
        "arm": request.arm,
        "seeds": list(request.seeds),
        "params": dict(request.params),
        "error": record.error,
        **(_measures(row) if row else {}),
    }
    trial = create_trial(
        state=STATES[record.status],
        params=searched,
        distributions=space.active(searched),
        values=seen.values if seen else None,
        constraints=seen.constraints if seen else None,
        system_attrs={OLDER_CONSTRAINTS: list(seen.constraints.values())} if seen else {},
        intermediate_values=record.curve("cca_heldout"),
        user_attrs={name: value for name, value in attributes.items() if value is not None},
    )
    trial.datetime_start = _moment(record.started_at)
    trial.datetime_complete = _moment(record.ended_at)
    return trial


def _note(spec: StudySpec, records: Sequence[TrialRecord]) -> dict[str, str | int]:
    """Return optuna-dashboard's note of a study: its best-of looks at values alone."""
    best = rank_study(spec, records).best
    numbers = {record.request.trial_id: record.request.number for record in records}
    told = f"trial {numbers[best]} (`{best}`)" if best else "none: no trial is feasible"
    text = (
        f"Best by rheobase's ranking: {told}. The dashboard's own Best Trial of this study has the "
        f"highest value whether it is feasible or not: see the study {spec.name}-{FEASIBLE} beside "
        "it, and `tier` and `why` among the user attributes."
    )
    return {"dashboard:note_ver": 1, "dashboard:note_str:0": text}


def _measures(row: RankedTrial) -> dict[str, Any]:
    """Return what the ranking says of a trial that has ended, the numbers by name."""
    names = [name for name in MeasuredTrial.model_fields if name not in ASKED]
    numbers = {name: getattr(row, name, None) for name in names}
    scalars = {name: x for name, x in numbers.items() if isinstance(x, int | float)}
    return {
        "tier": row.tier,
        "why": list(row.why),
        "cca_heldout": row.cca_heldout.mean,
        "rate_hz": row.rate_hz.mean,
        "in_band": row.rate_hz.in_band,
        **scalars,
    }


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds)
