"""Which trials are run again on the report seeds, and by how much the search flattered them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rheobase.study.result import BASELINE, TOP, TrialRecord
from rheobase.study.spec import StudySpec
from rheobase.study.statistics import welch_interval


def top_trials(ranking: Mapping[str, Any], num: int) -> dict[str, str]:
    """Return ids of the search's best feasible trials by arm: `baseline`, `top-2`, `top-3`, ….

    Parameters
    ----------
    ranking
        What `rank_study` returned.
    num
        How many are wanted; fewer where fewer are feasible.

    Notes
    -----
    The first is the ranking's `best`. With several objectives the rest of the front comes before
    trials that it dominates, that with the larger bulge first.
    """
    best = ranking["best"]
    if best is None:
        return {}
    front = ranking["pareto"]["trials"] if ranking["pareto"] else []
    front = sorted(front, key=lambda row: -row["bulge"])
    feasible = [row for row in ranking["trials"] if row["tier"] in ("passed", "feasible")]
    ids = dict.fromkeys([best, *(row["trial_id"] for row in [*front, *feasible])])
    names = [BASELINE, *(f"{TOP}{rank}" for rank in range(2, num + 1))]
    return dict(zip(names[:num], ids, strict=False))


def optimism(
    spec: StudySpec, records: Sequence[TrialRecord], trials: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return each confirmed trial's held-out CCA on the search's seeds minus the report's.

    Parameters
    ----------
    spec
        The study.
    records
        Its trials.
    trials
        Rows of the ranking's search: only feasible trials were chosen.

    Notes
    -----
    The interval is Welch's, 95 %, over seeds within sessions. The search has picked the trial by
    the first of the two means, so that a difference above 0 is what picking is expected to give.
    """
    feasible = {row["trial_id"] for row in trials if row["tier"] in ("passed", "feasible")}
    searched = {
        _settings(record): record for record in records if record.request.trial_id in feasible
    }
    found = []
    for record in records:
        request = record.request
        is_winner = request.arm == BASELINE or request.arm.startswith(TOP)
        if request.stage != "report" or not is_winner or record.result is None:
            continue
        chosen = searched.get(_settings(record))
        if chosen is None or chosen.result is None:
            continue
        select, report = chosen.result.replicates, record.result.replicates
        means = [fmean(one.cca_heldout for one in side) for side in (select, report)]
        interval = welch_interval(
            [one.cca_heldout for one in select],
            [one.session for one in select],
            [one.cca_heldout for one in report],
            [one.session for one in report],
        )
        found.append(
            {
                "arm": request.arm,
                "trial_id": request.trial_id,
                "of_trial": chosen.request.trial_id,
                "select": means[0],
                "report": means[1],
                "mean": means[0] - means[1],
                "ci95": None if interval is None else list(interval),
            }
        )
    return found


def _settings(record: TrialRecord) -> str:
    return repr(sorted(record.request.student.items()))
