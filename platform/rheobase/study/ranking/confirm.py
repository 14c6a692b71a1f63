"""Which trials are run again on the report seeds, and what the search said of them too much."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rheobase.study.file.objectives import DIRECTIONS, objective_values
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.intervals import estimate_difference, runs_of
from rheobase.study.ranking.ranking import (
    KneeFate,
    LeastNetwork,
    LeastTrial,
    Optimism,
    ParetoFront,
    RankedTrial,
    Ranking,
    Tier,
)
from rheobase.study.records.result import BASELINE, TOP, TrialRecord


def top_trials(ranking: Ranking, num: int) -> dict[str, str]:
    """Return ids of the search's best feasible trials by arm: `baseline`, `top-2`, `top-3`, ….

    Parameters
    ----------
    ranking
        Of the study's trials so far.
    num
        How many are wanted; fewer where fewer are feasible.

    Notes
    -----
    The first is the ranking's `best`. With several objectives the rest of the front comes before
    trials that it dominates, that with the larger bulge first.
    """
    if ranking.best is None:
        return {}
    front = sorted(ranking.pareto.trials if ranking.pareto else (), key=lambda row: -row.bulge)
    feasible = [row for row in ranking.trials if row.is_feasible]
    ids = dict.fromkeys([ranking.best, *(row.trial_id for row in [*front, *feasible])])
    names = [BASELINE, *(f"{TOP}{rank}" for rank in range(2, num + 1))]
    return dict(zip(names[:num], ids, strict=False))


def optimism(records: Sequence[TrialRecord], trials: Sequence[RankedTrial]) -> list[Optimism]:
    """Return how much better each confirmed trial looked to the search than it is on test.

    Parameters
    ----------
    records
        The study's trials.
    trials
        Rows of the ranking's search: only feasible trials were chosen.

    Notes
    -----
    Held-out CCA of the search's seeds on validation minus that of the report's seeds on test. The
    search has picked the trial by the first of the two, so that a difference above 0 is what
    picking is expected to give; other bins are another part of it, either way. The interval is
    that of `intervals.estimate_difference`: paired by session where there are several.
    """
    feasible = {row.trial_id for row in trials if row.is_feasible}
    searched = {
        _settings(record): record for record in records if record.request.trial_id in feasible
    }
    found = []
    for record in records:
        request = record.request
        if request.stage != "report" or not _is_winner(request.arm) or record.result is None:
            continue
        chosen = searched.get(_settings(record))
        if chosen is None or chosen.result is None:
            continue
        select, report = (runs_of(one.replicates) for one in (chosen.result, record.result))
        difference = estimate_difference(select, report)
        found.append(
            Optimism(
                arm=request.arm,
                trial_id=request.trial_id,
                of_trial=chosen.request.trial_id,
                select=fmean(select.means().values()),
                report=fmean(report.means().values()),
                mean=difference.mean,
                ci95=difference.ci95,
                speaks_of=difference.speaks_of,
                degrees_of_freedom=difference.degrees_of_freedom,
                notes=difference.notes,
            )
        )
    return found


def least_network(
    spec: StudySpec,
    records: Sequence[TrialRecord],
    confirmed: Sequence[RankedTrial],
    front: ParetoFront | None,
) -> LeastNetwork | None:
    """Return the least network that passed on the report seeds, and what became of the knee there.

    Parameters
    ----------
    spec
        The study.
    records
        Its trials.
    confirmed
        Rows of the ranking on the report seeds.
    front
        What `pareto_front` returned.

    Returns
    -------
    None for a search that minimises nothing; its ``trial`` is None where none passed, its ``knee``
    where no trial of the search passed.

    Notes
    -----
    Least is least in the first objective to be minimised; level in it, in the second, and so on.
    """
    sizes = [name for name in spec.search.objectives if DIRECTIONS[name] == "minimize"]
    if front is None or not sizes:
        return None
    searched = {_settings(r): r.request.trial_id for r in records if r.request.stage == "select"}
    by_id = {record.request.trial_id: record for record in records}
    passed: list[LeastTrial] = []
    fates: dict[str | None, tuple[str, Tier]] = {}
    run = [row for row in confirmed if _is_winner(row.arm)]
    for row in run:
        record = by_id[row.trial_id]
        of_trial = searched.get(_settings(record))
        fates[of_trial] = row.arm, row.tier
        if row.tier == "passed" and record.result is not None:
            values = objective_values(record.request, record.result, spec.search.objectives)
            means = {name: fmean(each) for name, each in values.items()}
            passed.append(
                LeastTrial(trial_id=row.trial_id, of_trial=of_trial, arm=row.arm, **means)
            )
    knee = None
    if front.knee:
        arm, tier = fates.get(front.knee, (None, None))
        knee = KneeFate(trial_id=front.knee, arm=arm, tier=tier)
    return LeastNetwork(
        num_run=len(run),
        num_passed=len(passed),
        trial=min(passed, key=lambda one: [one.means[name] for name in sizes], default=None),
        knee=knee,
    )


def _is_winner(arm: str) -> bool:
    return arm == BASELINE or arm.startswith(TOP)


def _settings(record: TrialRecord) -> str:
    return repr(sorted(record.request.student.items()))
