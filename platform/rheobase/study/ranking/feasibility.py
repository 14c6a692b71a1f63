"""How far a trial as a whole lies beyond each feasibility line."""

from __future__ import annotations

from rheobase.measures.firing import worst_violations
from rheobase.study.records.result import TrialResult


def violations_of(result: TrialResult) -> dict[str, float]:
    """Return the worst replicate's signed violation of each line; a line holds at <= 0.

    A seed without numbers breaks the line ``finite`` by 1: a trial that lacks one is not feasible.
    """
    worst = worst_violations([one.violations for one in result.replicates])
    return worst | {"finite": 1.0} if result.failed else worst
