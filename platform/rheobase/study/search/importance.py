"""How much of a search's held-out CCA goes with each setting, by Optuna: descriptive, no test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import TrialState, create_trial

from rheobase.core.errors import StudyError
from rheobase.core.settings import Settings
from rheobase.study.file.objectives import ObjectiveName, objective_values
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import BASELINE, TrialRecord
from rheobase.study.search.sampler import quiet
from rheobase.study.search.space import Space

OF: Sequence[ObjectiveName] = ("cca_heldout",)
FEWEST_TRIALS = 4
BEST = 0.1
"""Share of the trials that PED-ANOVA holds against all of them."""
CAVEAT = (
    "descriptive: settings were proposed where trials were good, not at random, and no seed, "
    "session or interval is in these shares; an ablation is the test"
)


class Importance(Settings):
    """Shares of one searched setting; those of all settings sum to 1, unless all are 0."""

    setting: str
    """By dotted path."""
    ped_anova: float
    """How far its values among the best trials differ from those among all."""
    fanova: float | None
    """Its share of the variance of held-out CCA in a random forest; null of one that is searched
    only where another has a certain value."""


class Importances(Settings):
    """Of every setting that a search varied, the most important by PED-ANOVA first."""

    study: str
    num_trials: int
    """Complete trials of the search, infeasible ones too."""
    num_best: int
    """Of these, those that PED-ANOVA calls the best."""
    settings: tuple[Importance, ...]
    caveat: str = CAVEAT


def importances_of(spec: StudySpec, records: Sequence[TrialRecord]) -> Importances:
    """Return what Optuna's two evaluators say of the searched settings.

    Parameters
    ----------
    spec
        The study.
    records
        Every trial of its ledger; complete ones of the search count.

    Raises
    ------
    StudyError
        Nothing is searched, or fewer than `FEWEST_TRIALS` are complete.

    Notes
    -----
    PED-ANOVA (Watanabe et al. 2023) and fANOVA (Hutter et al. 2014), of held-out CCA alone whatever
    else is sought. The forest's seed is the search's.
    """
    space = Space(spec)
    trials = []
    for one in records:
        params = space.inside(one.request.params)
        if (
            one.request.stage == "select"
            and one.request.arm == BASELINE
            and one.result is not None
            and params is not None
        ):
            of_each = objective_values(one.request, one.result, OF)["cca_heldout"]
            value = math.fsum(of_each) / len(of_each)
            trials.append((params, value))
    if not space.distributions or len(trials) < FEWEST_TRIALS:
        what = f"{len(trials)} are" if space.distributions else "nothing is searched"
        raise StudyError(
            f"{spec.name}: the importance of settings must be of {FEWEST_TRIALS} complete trials "
            f"of a search at least, but {what}; add search.trials or [search.space]"
        )
    with quiet():
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            [
                create_trial(
                    state=TrialState.COMPLETE,
                    params=params,
                    distributions=space.active(params),
                    value=value,
                )
                for params, value in trials
            ]
        )
        everywhere = [path for path in space.distributions
                      if all(path in params for params, _ in trials)]  # fmt: skip
        ped = _shares(study, PedAnovaImportanceEvaluator(target_quantile=BEST), None)
        fanova = _shares(study, FanovaImportanceEvaluator(seed=spec.search.seed), everywhere)
    found = [
        Importance(setting=path, ped_anova=ped.get(path, 0.0), fanova=fanova.get(path))
        for path in space.distributions
    ]
    return Importances(
        study=spec.name,
        num_trials=len(trials),
        num_best=max(1, math.ceil(BEST * len(trials))),
        settings=tuple(sorted(found, key=lambda one: -one.ped_anova)),
    )


def _shares(
    study: optuna.Study, evaluator: BaseImportanceEvaluator, params: list[str] | None
) -> dict[str, float]:
    if params == []:
        return {}
    return dict(get_param_importances(study, evaluator=evaluator, params=params))
