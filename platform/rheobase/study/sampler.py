"""The next configurations to try, from what the study has found so far."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from rheobase.core.errors import StudyError
from rheobase.core.seeds import child_seed
from rheobase.student.settings import StudentSettings
from rheobase.study.result import BASELINE, TrialRecord
from rheobase.study.spec import Choice, Range, StudySpec

# What orders trials that were stopped early: the only reported scalar that the objective follows.
INTERMEDIATE = "train_cca2"


def propose(
    spec: StudySpec, records: Sequence[TrialRecord], num: int, attempt: int = 0
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
        Another attempt draws other configurations from the same records.

    Returns
    -------
    The same configurations for the same arguments, on any machine and in any process.

    Raises
    ------
    StudyError
        An integer setting has no integer in its range.

    Notes
    -----
    The objective is `cca_heldout`, its mean over replicates, to be maximised. Constraints are
    the violations of every feasibility line, the worst over replicates (<= 0 holds); a failed
    trial has none, and a pruned one is told by what it last reported. An ended trial whose
    settings lie outside the search space, as the study's own may, is not told to the sampler.
    """
    axes = {path: _distribution(path, axis) for path, axis in spec.search.space.items()}
    if not axes:
        return []
    ended = [
        record
        for record in records
        if record.request.stage == "select"
        and record.request.arm == BASELINE
        and record.status in ("complete", "pruned", "failed")
    ]
    seed = child_seed(spec.search.seed, "sampler", len(ended), attempt) % 2**32
    with _quiet():
        study = optuna.create_study(direction="maximize", sampler=_sampler(spec, seed))
        study.add_trials(
            [_told(record, axes) for record in ended if _is_inside(record.request.params, axes)]
        )
        return [dict(study.ask(axes).params) for _ in range(num)]


@contextmanager
def _quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a study in memory is no news
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _sampler(spec: StudySpec, seed: int) -> BaseSampler:
    # Optuna's ten random trials would be most of a small budget.
    num_random = max(4, min(10, spec.search.trials // 3))
    if spec.search.sampler == "random":
        return RandomSampler(seed=seed)
    if spec.search.sampler == "gp":
        return GPSampler(seed=seed, n_startup_trials=num_random)
    return TPESampler(seed=seed, n_startup_trials=num_random, multivariate=True, constant_liar=True)


def _distribution(path: str, axis: Range | Choice) -> BaseDistribution:
    if isinstance(axis, Choice):
        return CategoricalDistribution(axis.choices)
    if StudentSettings.model_fields[path.partition(".")[2]].annotation is not int:
        return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
    low, high = math.ceil(axis.low), math.floor(axis.high)
    if low > high:
        raise StudyError(
            f"[search.space.{path}]: an integer must lie in the range, but got "
            f"(low={axis.low:g}, high={axis.high:g})."
        )
    return IntDistribution(low, high, log=axis.log, step=max(1, round(axis.step or 1)))


def _is_inside(params: Mapping[str, Any], axes: Mapping[str, BaseDistribution]) -> bool:
    """Tell whether the sampler could have proposed these settings."""
    if not params.keys() >= axes.keys():
        return False
    chosen = {path: params[path] for path in axes}
    try:
        create_trial(state=TrialState.FAIL, params=chosen, distributions=dict(axes))
    except ValueError:  # a value that its distribution does not hold
        return False
    return True


def _told(record: TrialRecord, axes: Mapping[str, BaseDistribution]) -> FrozenTrial:
    told: dict[str, Any] = {
        "params": {path: record.request.params[path] for path in axes},
        "distributions": dict(axes),
    }
    if record.result is not None:
        replicates = record.result.replicates
        lines = sorted({line for found in replicates for line in found.violations})
        return create_trial(
            **told,
            state=TrialState.COMPLETE,
            value=math.fsum(found.cca_heldout for found in replicates) / len(replicates),
            constraints={
                line: max(f.violations[line] for f in replicates if line in f.violations)
                for line in lines
            },
        )
    seen = {
        step: values[INTERMEDIATE] for step, values in record.progress if INTERMEDIATE in values
    }
    pruned = record.status == "pruned" and bool(seen)
    return create_trial(
        **told,
        state=TrialState.PRUNED if pruned else TrialState.FAIL,
        intermediate_values=seen,
    )
