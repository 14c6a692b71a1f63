"""The next configurations to try, from what the study has found so far."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from rheobase.core.seeds import child_seed
from rheobase.study.file.objectives import DIRECTIONS
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import BASELINE, ENDED, TrialRecord
from rheobase.study.search.cmaes import propose_cmaes
from rheobase.study.search.observations import Observation, observations_of
from rheobase.study.search.space import Space

NUM_OWN_ATTEMPTS = 8  # of the sampler; later ones are random draws


def propose(
    spec: StudySpec,
    records: Sequence[TrialRecord],
    num: int,
    attempt: int = 0,
    earlier: Sequence[TrialRecord] = (),
) -> list[dict[str, Any]]:
    """Return `num` configurations to try next, each by dotted path.

    Parameters
    ----------
    spec
        The study: its search space, sampler and seed.
    records
        What is known of its trials; only the search's own that have ended are looked at.
    num
        How many are wanted. They are asked for together, none knowing the others' results.
    attempt
        Another attempt draws other configurations from the same records; after eight they are
        drawn at random, for a sampler that has settled may name the same ones for ever.
    earlier
        Trials of an earlier run that the sampler is told as if they were the search's first.

    Returns
    -------
    The same configurations for the same arguments, on any machine and in any process. Settings
    whose condition does not hold are left out.

    Notes
    -----
    Objectives are means over replicates. Constraints are the violations of every feasibility
    line, the worst over replicates (<= 0 holds); with several objectives the required CCA is one
    more. A failed trial has none. A trial stopped early is PRUNED, with its held-out CCA at every
    report and, where rates had settled, its violation: TPE puts a feasible one below every
    complete trial and an infeasible one among the infeasible; GP and NSGA-II look at complete
    trials alone. CMA-ES knows no constraints: see `propose_cmaes`.
    """
    space = Space(spec)
    if not space.distributions:
        return []
    observations = observations_of(spec, space, records, ())
    before = observations_of(spec, space, (), earlier)
    num_ended = sum(
        record.request.stage == "select"
        and record.request.arm == BASELINE
        and record.status in ENDED
        for record in records
    )
    seed = child_seed(spec.search.seed, "sampler", num_ended, attempt) % 2**32
    is_random = spec.search.sampler == "random" or attempt >= NUM_OWN_ATTEMPTS
    if spec.search.sampler == "cmaes" and not is_random:
        start = space.own()
        return propose_cmaes(
            space.distributions,
            start,
            [one for one in observations if one.params != start],
            before,
            spec.search.generation,
            seed,
            num,
        )
    directions = [DIRECTIONS[name] for name in spec.search.objectives]
    with quiet():
        sampler = RandomSampler(seed=seed) if is_random else _sampler(spec, space, seed)
        study = optuna.create_study(directions=directions, sampler=sampler)
        if not is_random:
            known = [*before, *observations]
            if isinstance(sampler, GPSampler):
                known = _with_worst_line(known)
            study.add_trials(_frozen(known, space, sampler))
        return [_asked(study.ask(), space) for _ in range(num)]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna silent about studies in memory and interfaces that may change."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a study in memory is no news
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            # Its GP weighs the draws that one far better leaves none of, and then takes that one.
            warnings.filterwarnings("ignore", "invalid value encountered in divide")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _sampler(spec: StudySpec, space: Space, seed: int) -> BaseSampler:
    # Optuna's ten random trials would be most of a small budget, and so would its fifty parents.
    num_random = max(4, min(10, spec.search.trials // 3))
    if spec.search.sampler == "gp":
        return GPSampler(seed=seed, n_startup_trials=num_random)
    if spec.search.sampler == "nsga2":
        return NSGAIISampler(seed=seed, population_size=max(4, min(50, spec.search.trials // 5)))
    return TPESampler(
        seed=seed,
        n_startup_trials=num_random,
        multivariate=True,
        group=space.is_conditional,
        constant_liar=True,
    )


def _asked(trial: Trial, space: Space) -> dict[str, Any]:
    def draw(path: str, distribution: BaseDistribution) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            return trial.suggest_categorical(path, distribution.choices)
        if isinstance(distribution, IntDistribution):
            return trial.suggest_int(
                path,
                distribution.low,
                distribution.high,
                step=distribution.step,
                log=distribution.log,
            )
        assert isinstance(distribution, FloatDistribution)
        return trial.suggest_float(
            path, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )

    return space.drawn(draw)


def _with_worst_line(observations: Sequence[Observation]) -> list[Observation]:
    """Return the trials with one constraint, the worst line of those that any of them broke.

    The feasible region is the same. Optuna fits a Gaussian process for each constraint, which
    for a dozen lines costs more than many a trial.
    """
    broken = {line for one in observations for line, value in one.constraints.items() if value > 0}
    merged = []
    for one in observations:
        values = [value for line, value in one.constraints.items() if line in broken]
        merged.append(replace(one, constraints={"worst": max(values)} if values else {}))
    return merged


def _frozen(
    observations: Sequence[Observation], space: Space, sampler: BaseSampler
) -> list[FrozenTrial]:
    trials, num_complete = [], 0
    for one in observations:
        marks = {}
        if one.values is not None and isinstance(sampler, NSGAIISampler):
            # Where Optuna itself would have written down the trial's generation.
            assert sampler.population_size is not None
            marks[sampler._get_generation_key()] = num_complete // sampler.population_size
        num_complete += one.values is not None
        state = TrialState.PRUNED if one.intermediate else TrialState.FAIL
        trials.append(
            create_trial(
                params=one.params,
                distributions=space.active(one.params),
                state=state if one.values is None else TrialState.COMPLETE,
                values=one.values,
                constraints=one.constraints,
                intermediate_values=one.intermediate,
                system_attrs=marks,
            )
        )
    return trials
