"""Early stopping: what a trial must reach at which step, and which stopped ones to finish."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rheobase.core.seeds import generator
from rheobase.student.fit import report_steps
from rheobase.student.settings import StudentSettings
from rheobase.study.file.search_settings import StopSettings
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.pruned import num_sessions_of, num_steps_of, stopped_trials
from rheobase.study.records.result import Rung, TrialRecord, score


def rungs_of(
    spec: StudySpec, records: Sequence[TrialRecord], student: StudentSettings
) -> tuple[Rung, ...]:
    """Return where a trial that is asked for now may be stopped, by rising step.

    Parameters
    ----------
    spec
        The study; without [search.stop] there are none.
    records
        Its trials so far.
    student
        Settings of the trial.

    Notes
    -----
    Successive halving that never waits (Li et al. 2020, ASHA), with thresholds that are fixed
    when a generation is planned: the ``1 - 1 / reduction`` quantile of `score` at that share of
    the training over all earlier trials of the search that reported there, those stopped there
    included. A trial that is level with it goes on.
    """
    stop, num_sessions = spec.search.stop, num_sessions_of(records)
    if stop is None or num_sessions is None:
        return ()
    rungs: dict[int, Rung] = {}
    for share in sorted(stop.rungs):
        step = _rung_step(share, student.steps, num_sessions)
        reached = scores_at(stop, records, share, num_sessions)
        if len(reached) < stop.min_trials or step >= num_sessions * student.steps:
            continue
        least = float(np.quantile(reached, 1 - 1 / stop.reduction))
        rungs[step] = Rung(step=step, least_score=least, counts_violation=_counts(stop, share))
    return tuple(rungs.values())


def scores_at(
    stop: StopSettings, records: Sequence[TrialRecord], share: float, num_sessions: int
) -> list[float]:
    """Return `score` of each trial of the search that reported at a share of its training."""
    scores = []
    for record in records:
        if record.request.stage != "select" or record.status not in ("complete", "pruned"):
            continue
        step = _rung_step(share, num_steps_of(record), num_sessions)
        values = dict(record.progress).get(step, {})
        if "cca_heldout" in values:
            violation = values.get("violation", 0.0)
            scores.append(score(values["cca_heldout"], violation, _counts(stop, share)))
    return scores


def to_audit(spec: StudySpec, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the stopped trials that are to be run to their end, drawn by the study's seed."""
    stop = spec.search.stop
    pruned = stopped_trials(records)
    if stop is None or not pruned:
        return []
    num = min(stop.audit, len(pruned))
    chosen = generator(spec.search.seed, "audit").choice(len(pruned), num, replace=False)
    return [pruned[index] for index in sorted(chosen.tolist())]


def all_report_steps(num_steps: int, num_sessions: int) -> list[int]:
    """Return the training steps over all sessions at which a trial reports.

    Examples
    --------
    >>> all_report_steps(20, 2)
    [3, 6, 9, 12, 15, 18, 20, 23, 26, 29, 32, 35, 38, 40]
    """
    of_one = report_steps(num_steps)
    return [session * num_steps + step for session in range(num_sessions) for step in of_one]


def _rung_step(share: float, num_steps: int, num_sessions: int) -> int:
    wanted = share * num_steps * num_sessions
    return min(all_report_steps(num_steps, num_sessions), key=lambda step: abs(step - wanted))


def _counts(stop: StopSettings, share: float) -> bool:
    return share >= stop.settle
