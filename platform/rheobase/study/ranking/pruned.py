"""What early stopping saved, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.ranking import AuditedTrial, EarlyStopping, MeasuredTrial
from rheobase.study.records.result import TrialRecord


def stopped_trials(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials of the search that were stopped early."""
    return [r for r in records if r.request.stage == "select" and r.status == "pruned"]


def steps_saved(records: Sequence[TrialRecord]) -> float | None:
    """Return the share of the search's training steps that stopping saved; None without any."""
    num_sessions = num_sessions_of(records)
    searched = [
        record
        for record in records
        if record.request.stage == "select" and record.status in ("complete", "pruned")
    ]
    if num_sessions is None or not searched:
        return None
    whole = [num_sessions * num_steps_of(record) for record in searched]
    done = [
        record.progress[-1][0] if record.status == "pruned" and record.progress else most
        for record, most in zip(searched, whole, strict=True)
    ]
    return 1 - sum(done) / sum(whole)


def stopped_summary(
    spec: StudySpec,
    records: Sequence[TrialRecord],
    audited: Sequence[MeasuredTrial],
    beats_best: Sequence[bool],
) -> EarlyStopping | None:
    """Return what early stopping did; None in a study without it.

    Parameters
    ----------
    spec
        The study.
    records
        Its trials.
    audited
        Rows of the ranking of stopped trials that were run to their end.
    beats_best
        Of each, whether it comes before every trial that the search ran to its end.
    """
    if spec.search.stop is None:
        return None
    return EarlyStopping(
        num_stopped=len(stopped_trials(records)),
        steps_saved=steps_saved(records),
        num_audited=len(audited),
        num_would_be_best=sum(beats_best),
        num_would_pass=sum(row.tier == "passed" for row in audited),
        num_would_be_feasible=sum(row.is_feasible for row in audited),
        audited=tuple(
            AuditedTrial(
                trial_id=row.trial_id,
                of_trial=row.arm,
                tier=row.tier,
                cca_heldout=row.cca_heldout.mean,
                violation=row.violation,
                would_be_best=best,
            )
            for row, best in zip(audited, beats_best, strict=True)
        ),
    )


def num_steps_of(record: TrialRecord) -> int:
    """Return the optimiser steps of a trial on one session."""
    return int(record.request.student["steps"])


def num_sessions_of(records: Sequence[TrialRecord]) -> int | None:
    """Return how many sessions every trial trains on; None before one is complete."""
    for record in records:
        if record.result is not None:
            return len({one.session for one in record.result.replicates})
    return None
