"""The search that an arm has of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rheobase.study.ranking.feasibility import violations_of
from rheobase.study.records.result import BASELINE, TrialRecord


def records_of_arm(records: Sequence[TrialRecord], arm: str) -> list[TrialRecord]:
    """Return the trials of an arm's search, as one of `study_of_arm` would have asked for them."""
    return [
        one.model_copy(
            update={"request": one.request.model_copy(update={"stage": "select", "arm": BASELINE})}
        )
        for one in records
        if one.request.stage == "tune" and one.request.arm == arm
    ]


def best_of_arm(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the trial that an arm's search ends with; None if none has a result.

    Of those that break no line of feasibility but what all of the arm's trials break, the one with
    the highest held-out CCA on validation: an arm that lifts a constraint breaks its line in every
    trial, and has to keep the others.
    """
    broken: Mapping[str, set[str]] = {
        one.request.trial_id: {line for line, by in violations_of(one.result).items() if by > 0}
        for one in records
        if one.result is not None
    }
    if not broken:
        return None
    least = set.intersection(*broken.values())
    clean = {name for name, lines in broken.items() if lines == least} or {*broken}
    found: dict[str, Any] = {
        one.request.trial_id: fmean(each.cca_heldout for each in one.result.replicates)
        for one in records
        if one.result is not None and one.request.trial_id in clean
    }
    best = max(found, key=found.__getitem__)
    return next(one for one in records if one.request.trial_id == best)
