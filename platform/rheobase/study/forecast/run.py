"""Forecasts of a run's recordings: every session's scores, kept as they come."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from rheobase.core.artifacts import READ_ONLY, read_json, write_json
from rheobase.core.digest import code_digest, digest
from rheobase.core.errors import ArtifactError, StudyError
from rheobase.core.versions import deciding_versions
from rheobase.student.memory import keep_freed_memory
from rheobase.study.file.spec import StudySpec
from rheobase.study.forecast.bins import num_bins
from rheobase.study.forecast.networks import OnStep
from rheobase.study.forecast.record import Forecast, SessionForecast
from rheobase.study.forecast.session import Chosen, OnModel, SessionForecaster
from rheobase.study.forecast.summary import summary
from rheobase.study.ranking.rank import rank_study
from rheobase.study.ranking.ranking import RankedTrial
from rheobase.study.records.result import BASELINE, ENDED, TOP, TrialRecord
from rheobase.study.run_folder import RunFolder

ROOMS = (
    "shards", "measures", "teacher", "student", "study/trial", "study/forecast",
)  # fmt: skip
"""Whose code decides a forecast."""


# BLAS sums in another order for another number of threads.
@threadpool_limits.wrap(limits=1)  # type: ignore[untyped-decorator]
def forecast_run(run: RunFolder, ahead_ms: float, on_model: OnModel, on_step: OnStep) -> Forecast:
    """Return how well a run's teacher and networks forecast the counts of its recordings.

    Parameters
    ----------
    run
        A run that has ended: its report stage has opened test.
    ahead_ms
        Width of the bin that is forecast.
    on_model, on_step
        Told of each forecast, and of training.

    Raises
    ------
    StudyError
        The run has not ended, has no network of its report seeds, or its student is none that is
        trained and spikes; or `ahead_ms` is no whole number of its bins.

    Notes
    -----
    Each network's scores are kept in the run's folder as soon as they are there, under the digest
    of what decides them: the same command goes on where it stopped. Nothing is kept of a run that
    nobody may write to.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    spec, records = run.read_study(), run.read_records()
    row, chosen = chosen_trials(spec, records, str(run.path))
    num_bins(spec.data.bin_ms, ahead_ms)
    inputs = run.read_inputs()
    shards, latents = run.read_data()
    sessions = []
    for shard in sorted(shards, key=lambda shard: shard.session_id):
        key = digest(
            {
                "inputs": inputs.digests.model_dump(mode="json"),
                "trials": [one.trial_id if one else None for one in chosen],
                "session": shard.session_id,
                "ahead_ms": ahead_ms,
                "code": code_digest(*ROOMS),
                "versions": dict(deciding_versions()),
            }
        )
        path = run.forecast / f"{shard.session_id}-{ahead_ms:g}ms.json"
        found = _kept(path, key)
        if found is None or not found.is_whole:
            forecaster = SessionForecaster(
                spec=spec,
                run=run,
                latents=latents,
                shard=shard,
                chosen=chosen,
                ahead_ms=ahead_ms,
                on_model=on_model,
                on_step=on_step,
            )
            found = forecaster.found(key, found.forecasts if found else (), partial(_keep, path))
            _keep(path, found)
        sessions.append(found)
    whole = summary(spec, row, ahead_ms, sessions)
    _keep(run.forecast / "forecast.json", whole)
    return whole


def chosen_trials(
    spec: StudySpec, records: Sequence[TrialRecord], where: str
) -> tuple[RankedTrial, Chosen]:
    """Return the row and the request of the constrained student, and the run's gated control.

    Parameters
    ----------
    spec
        The study.
    records
        Its trials.
    where
        The run, for errors.

    Returns
    -------
    The best of the winners that the report stage ran: those through the gate first, then those
    that are feasible, then the others. The gated control is the arm `gru`, where there is one.
    """
    if not all(record.status in ENDED for record in records):
        raise StudyError(
            f"{where}: a run must have ended for its test bins to be forecast, but has trials "
            "that have not; finish it with 'rheobase run --resume'"
        )
    ranking = rank_study(spec, records)
    complete = {
        record.request.trial_id: record.request
        for record in records
        if record.request.stage == "report" and record.result is not None
    }
    winners = [
        row
        for row in ranking.confirmed
        if row.trial_id in complete and (row.arm == BASELINE or row.arm.startswith(TOP))
    ]
    if not winners:
        raise StudyError(
            f"{where}: the report stage must have run the student on its own seeds before test is "
            "forecast, but it has no such trial; give seeds.report and run the study in a new "
            "folder"
        )
    row = min(winners, key=lambda one: one.rank or 0)
    student = complete[row.trial_id]
    kind = spec.student.model_validate(student.student).kind
    if not (kind.is_trained and kind.spikes):
        raise StudyError(
            f"{where}: the student must be a spiking network to be held against one without a "
            f"teacher, but is '{student.student['neuron']}'; forecast another run"
        )
    gated = next((one for one in complete.values() if one.arm == "gru"), None)
    return row, Chosen(student, gated)


def _kept(path: Path, key: str) -> SessionForecast | None:
    """Return what was kept of a session; None where it is not there, or of something else."""
    try:
        found = SessionForecast.model_validate(read_json(path))
    except (ArtifactError, ValidationError):
        return None
    return found if found.key == key else None


def _keep(path: Path, found: SessionForecast | Forecast) -> None:
    try:
        write_json(path, found.model_dump(mode="json"))
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
