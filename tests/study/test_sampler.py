import numpy as np
import pytest

from rheobase.core.errors import StudyError
from rheobase.study.result import (
    RateSummary,
    ReplicateResult,
    TrialRecord,
    TrialRequest,
    TrialResult,
)
from rheobase.study.sampler import propose
from rheobase.study.spec import parse_study

SPACE = {
    "student.rate_weight": {"low": 1e-3, "high": 1.0, "log": True},
    "student.num_neurons": {"low": 16, "high": 64, "step": 16},
    "student.surrogate": {"choices": ["atan", "fast_sigmoid"]},
}
PARAMS = {"student.rate_weight": 0.1, "student.num_neurons": 32, "student.surrogate": "atan"}


def spec_of(sampler="tpe", space=SPACE, seed=0, trials=40):
    search = {"sampler": sampler, "space": space, "seed": seed, "trials": trials}
    return parse_study(
        {"name": "t", "data": {"sessions": ["s"]}, "teacher": {"latent_dim": 2}, "search": search}
    )


def record(number, params, cca=0.5, violation=-1.0, status="complete", **changes):
    replicate = ReplicateResult(
        seed=0,
        session="s",
        cca_heldout=cca,
        cca_pairs=(cca,),
        shrinkage=0.01,
        untrained=0.1,
        linear_readout=0.9,
        procrustes=0.2,
        null_shift=None,
        null_clock=None,
        cca_within={},
        cca_cross_state=None,
        rates={"all": RateSummary(mean=10, in_band=1, silent=0, saturated=0)},
        dale_violations=0,
        ei_weight_balance=None,
        ei_current_balance=None,
        violations={"all.mean": violation},
    )
    request = TrialRequest(
        **{
            "trial_id": f"t{number}",
            "number": number,
            "stage": "select",
            "params": params,
            "student": {},
            "seeds": (0,),
            **changes,
        }
    )
    found = TrialResult(trial_id=request.trial_id, replicates=(replicate,), wall_s=1.0)
    return TrialRecord(
        request=request, status=status, result=found if status == "complete" else None
    )


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_proposals_depend_on_the_arguments_alone(sampler):
    spec = spec_of(sampler, trials=12)
    records = [record(n, {**PARAMS, "student.rate_weight": 0.01 * (n + 1)}) for n in range(6)]
    first = propose(spec, records, 3)
    assert propose(spec, records, 3) == first


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_another_attempt_or_seed_proposes_otherwise(sampler):
    first = propose(spec_of(sampler), [], 3)
    assert propose(spec_of(sampler), [], 3, attempt=1) != first
    assert propose(spec_of(sampler, seed=1), [], 3) != first


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_every_proposal_lies_in_the_space(sampler):
    for params in propose(spec_of(sampler), [record(0, PARAMS)], 20):
        assert list(params) == list(SPACE)
        assert 1e-3 <= params["student.rate_weight"] <= 1.0
        assert params["student.num_neurons"] in (16, 32, 48, 64)
        assert isinstance(params["student.num_neurons"], int)
        assert params["student.surrogate"] in ("atan", "fast_sigmoid")


def test_infeasible_trials_repel_the_search_however_high_they_score():
    space = {"student.rate_weight": {"low": 0.0, "high": 1.0}}
    grid = np.linspace(0.02, 0.98, 30)

    def share_above_half(violation):
        records = [
            record(n, {"student.rate_weight": x}, cca=x, violation=violation(x))
            for n, x in enumerate(grid)
        ]
        asked = propose(spec_of(space=space), records, 30)
        return np.mean([params["student.rate_weight"] > 0.5 for params in asked])

    assert share_above_half(lambda x: -1.0) > 0.7
    assert share_above_half(lambda x: x - 0.5) < 0.5


def test_only_the_search_s_own_ended_trials_are_looked_at():
    spec = spec_of("random")
    ended = [record(0, PARAMS), record(1, PARAMS, status="failed")]
    strange = [
        record(2, PARAMS, stage="report"),
        record(3, PARAMS, arm="no-dale"),
        record(4, PARAMS, status="running"),
    ]
    assert propose(spec, [*ended, *strange], 4) == propose(spec, ended, 4)
    assert propose(spec, ended, 4) != propose(spec, ended[:1], 4)


def test_settings_outside_the_space_are_not_told_and_do_no_harm():
    outside = [record(0, {**PARAMS, "student.num_neurons": 128}), record(1, {})]
    assert len(propose(spec_of(), outside, 2)) == 2


def test_a_range_without_an_integer_is_refused():
    space = {"student.num_neurons": {"low": 16.2, "high": 16.8}}
    with pytest.raises(StudyError, match="an integer must lie in the range"):
        propose(spec_of(space=space), [], 1)
