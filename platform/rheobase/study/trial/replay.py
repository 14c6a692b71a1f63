"""One trial run again, to see whether it ends as it did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rheobase.core.errors import StudyError
from rheobase.shards.latents import Latents
from rheobase.shards.shard import Shard
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import ENDED, TrialRecord, TrialResult
from rheobase.study.trial.population import Outcome
from rheobase.study.trial.run import TrialFailed, run_trial

OF_THE_RUN = {"wall_s", "host", "versions"}  # what the same trial may have otherwise


def replay_trial(
    record: TrialRecord,
    spec: StudySpec,
    shards: Sequence[Shard],
    latents: Latents,
    folder: Path,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how a trial ended and how it ends now, as plain JSON values.

    Parameters
    ----------
    record
        A trial that has ended, in whichever way, alone or packed with others.
    spec, shards, latents
        As `run_trial` takes them.
    folder
        Where the trial run again keeps its files.

    Returns
    -------
    Of a complete trial its result but for time, host and versions; of one that was stopped or
    failed, the reason. On the same class of host both are the same, bit for bit.

    Raises
    ------
    StudyError
        The trial has not ended.
    """
    if record.status not in ENDED:
        raise StudyError(
            f"{record.request.trial_id}: a trial that has ended must be replayed, but it is "
            f"{record.status}; go on with 'rheobase run --resume' first"
        )
    try:
        again: Outcome = run_trial(record.request, spec, shards, latents, folder)
    except TrialFailed as error:
        again = str(error)
    return _plain(record.result or record.error or "", record.status), _plain(again, None)


def _plain(outcome: Outcome, status: str | None) -> dict[str, Any]:
    if isinstance(outcome, TrialResult):
        return outcome.model_dump(mode="json", exclude=OF_THE_RUN)
    if isinstance(outcome, str):
        return {status or "failed": outcome}
    return {"pruned": outcome.reason}
