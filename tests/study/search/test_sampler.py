import numpy as np
import pytest

from replicates import bare_replicate
from rheobase.core.errors import StudyError
from rheobase.study.file.spec import parse_study
from rheobase.study.records.result import (
    Rung,
    TrialRecord,
    TrialRequest,
    TrialResult,
)
from rheobase.study.search.observations import GATE, observations_of
from rheobase.study.search.sampler import propose
from rheobase.study.search.space import Space

SPACE = {
    "student.rate_weight": {"low": 1e-3, "high": 1.0, "log": True},
    "student.num_neurons": {"low": 16, "high": 64, "step": 16},
    "student.surrogate": {"choices": ["atan", "fast_sigmoid"]},
}
PARAMS = {"student.rate_weight": 0.1, "student.num_neurons": 32, "student.surrogate": "atan"}


NUMBERS = {path: axis for path, axis in SPACE.items() if "choices" not in axis}
SAMPLERS = ("tpe", "gp", "random", "nsga2", "cmaes")
ALL_OBJECTIVES = ("cca_heldout", "num_neurons", "spikes_per_s", "connections", "rate_error")


def space_of(sampler):
    """CMA-ES takes numbers alone."""
    return NUMBERS if sampler == "cmaes" else SPACE


def spec_of(sampler="tpe", space=None, seed=0, trials=40, **more):
    space = space_of(sampler) if space is None else space
    search = {"sampler": sampler, "space": space, "seed": seed, "trials": trials, **more}
    return parse_study(
        {"name": "t", "data": {"sessions": ["s"]}, "teacher": {"latent_dim": 2}, "search": search}
    )


def record(number, params, cca=0.5, violation=-1.0, status="complete", progress=(), **changes):
    replicate = bare_replicate(0, cca, violations={"all.mean": violation})
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
        request=request,
        status=status,
        result=found if status == "complete" else None,
        progress=progress,
    )


def mixed(num, seed=0):
    """A history as it comes: complete, infeasible, stopped and failed trials."""
    draw = np.random.default_rng(seed)
    kinds = ["complete", "complete", "complete", "pruned", "failed"]
    return [
        record(
            number,
            {
                "student.rate_weight": float(10 ** draw.uniform(-3, 0)),
                "student.num_neurons": int(draw.choice([16, 32, 48, 64])),
                "student.surrogate": str(draw.choice(["atan", "fast_sigmoid"])),
            },
            cca=float(draw.uniform()),
            violation=float(draw.uniform(-0.5, 0.5)),
            status=kinds[number % 5],
            progress=((10, {"cca_heldout": float(draw.uniform()), "violation": 0.2}),),
        )
        for number in range(num)
    ]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("num", [0, 1, 7, 21])
def test_proposals_depend_on_the_arguments_alone(sampler, num):
    spec, records = spec_of(sampler), mixed(num)
    first = propose(spec, records, 3)
    assert len(first) == 3
    assert propose(spec, records, 3) == first


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_attempt_or_seed_proposes_otherwise(sampler):
    first = propose(spec_of(sampler), [], 3)
    assert propose(spec_of(sampler), [], 3, attempt=1) != first
    assert propose(spec_of(sampler, seed=1), [], 3) != first


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("num", [1, 12])
def test_every_proposal_lies_in_the_space(sampler, num):
    for params in propose(spec_of(sampler), mixed(num), 20):
        assert list(params) == list(space_of(sampler))
        assert 1e-3 <= params["student.rate_weight"] <= 1.0
        assert params["student.num_neurons"] in (16, 32, 48, 64)
        assert isinstance(params["student.num_neurons"], int)
        assert params.get("student.surrogate", "atan") in ("atan", "fast_sigmoid")


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("status", ["failed", "pruned"])
def test_a_history_without_a_complete_trial_is_survived(sampler, status):
    records = [one.model_copy(update={"status": status, "result": None}) for one in mixed(9)]
    assert len(propose(spec_of(sampler), records, 4)) == 4


@pytest.mark.parametrize(
    "sampler", ["tpe", "nsga2", "random", pytest.param("gp", marks=pytest.mark.slow)]
)
def test_several_objectives_are_taken(sampler):
    spec = spec_of(sampler, objectives=ALL_OBJECTIVES[: 2 if sampler == "gp" else 5])
    records = [one for one in mixed(20) if one.status != "pruned"]  # no study has both
    asked = propose(spec, records, 2)
    assert asked == propose(spec, records, 2)
    assert len(asked) == 2


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_a_conditional_setting_is_proposed_where_its_condition_holds_and_nowhere_else(sampler):
    slope = {"low": 2.0, "high": 50.0, "log": True, "when": {"student.surrogate": "atan"}}
    space = {"student.surrogate_slope": slope, **SPACE}
    spec, records = spec_of(sampler, space), []
    for number in range(5):
        asked = propose(spec, records, 6)
        for params in asked:
            assert ("student.surrogate_slope" in params) == (params["student.surrogate"] == "atan")
        for params in asked:
            records.append(record(len(records), params, cca=0.1 * number))
    kinds = {params["student.surrogate"] for params in (r.request.params for r in records)}
    assert kinds == {"atan", "fast_sigmoid"}


@pytest.mark.parametrize(
    ("sampler", "trials"),
    [("tpe", 60), ("cmaes", 60), ("nsga2", 160), pytest.param("gp", 16, marks=pytest.mark.slow)],
)
def test_a_search_finds_the_best_feasible_point_not_the_best_point(sampler, trials):
    """CCA rises with x + y; feasible is x + y <= 1. Judged by the last half of the trials."""
    space = {
        "student.rate_weight": {"low": 0.0, "high": 1.0},
        "student.recurrent_gain": {"low": 0.0, "high": 1.0},
    }
    spec = spec_of(sampler, space, trials=trials)
    records = []
    while len(records) < trials:
        for params in propose(spec, records, 4):
            total = sum(params.values())
            records.append(record(len(records), params, cca=total / 2, violation=total - 1))
    sums = np.array([sum(r.request.params.values()) for r in records[trials // 2 :]])
    # GP settles on the border itself, up to a hundredth beyond it.
    near = sums <= 1 + (0.01 if sampler == "gp" else 0)
    assert near.mean() > 0.5
    assert sums[near].max() > 0.9
    assert np.median(np.abs(sums - 1)) < 0.25  # of uniform draws: 0.29 at any time


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


def with_lines(records, **lines):
    """The same trials with more feasibility lines."""
    found = []
    for one in records:
        if one.result is not None:
            (replicate,) = one.result.replicates
            more = replicate.model_copy(update={"violations": {**replicate.violations, **lines}})
            result = one.result.model_copy(update={"replicates": (more,)})
            one = one.model_copy(update={"result": result})
        found.append(one)
    return found


def test_to_the_gaussian_process_a_line_says_something_once_a_trial_has_broken_it():
    spec, records = spec_of("gp"), mixed(21)
    own = propose(spec, records, 1)
    assert propose(spec, with_lines(records, dale=0.0, other=-3.0), 1) == own
    worse = [*with_lines(records[:10], other=2.0), *with_lines(records[10:], other=-3.0)]
    assert propose(spec, worse, 1) != own


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
        spec_of(space=space)


def test_a_stopped_trial_is_told_as_worse_than_any_feasible_one_that_ended():
    space = {"student.rate_weight": {"low": 0.0, "high": 1.0}}
    grid = np.linspace(0.02, 0.98, 30)

    def share_above_half(violation):
        stopped = ((5, {"cca_heldout": 0.99, "violation": violation}),)
        rung = Rung(step=5, least_score=0.0, counts_violation=True)
        records = [
            record(n, {"student.rate_weight": x}, cca=0.5, rungs=(rung,))
            if x < 0.5
            else record(
                n, {"student.rate_weight": x}, status="pruned", progress=stopped, rungs=(rung,)
            )
            for n, x in enumerate(grid)
        ]
        asked = propose(spec_of(space=space), records, 40)
        return np.mean([params["student.rate_weight"] > 0.5 for params in asked])

    assert share_above_half(-1.0) < 0.5
    assert share_above_half(0.5) < 0.5


def test_what_a_stopped_trial_is_told_by_counts_its_violation_only_after_settling():
    spec = spec_of(space=SPACE)
    progress = ((5, {"cca_heldout": 0.4, "violation": 0.3}),)
    for counts, told in ((True, 0.3), (False, 0.0)):
        rung = Rung(step=5, least_score=1.9, counts_violation=counts)
        one = record(0, PARAMS, status="pruned", progress=progress, rungs=(rung,))
        (found,) = observations_of(spec, Space(spec), [one], ())
        assert found.constraints == {"violation": told}
        assert found.intermediate == {5: 0.4}
        assert found.values is None


def test_nsga2_breeds_from_the_trials_of_earlier_generations():
    """All parents have 16 neurons: a child has another number by mutation alone."""
    spec = spec_of("nsga2", objectives=("cca_heldout", "num_neurons"))
    records = [
        record(n, {**PARAMS, "student.num_neurons": 16, "student.rate_weight": 0.01 * (n + 1)})
        for n in range(16)
    ]
    asked = propose(spec, records, 40)
    assert np.mean([params["student.num_neurons"] == 16 for params in asked]) > 0.5


def test_the_gate_is_a_constraint_beside_several_objectives_and_never_of_one():
    for names, wanted in ((("cca_heldout",), None), (("cca_heldout", "num_neurons"), 0.2)):
        spec = spec_of("nsga2", objectives=names)
        (found,) = observations_of(spec, Space(spec), [record(0, PARAMS, cca=0.5)], ())
        assert found.constraints.get(GATE) == (wanted and pytest.approx(wanted))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "cmaes"])
def test_a_warm_start_begins_where_the_earlier_run_was_good(sampler):
    space = {
        "student.rate_weight": {"low": 0.0, "high": 1.0},
        "student.recurrent_gain": {"low": 0.0, "high": 1.0},
    }
    spec = spec_of(sampler, space, trials=40)
    draw = np.random.default_rng(0)
    earlier = []
    for number, (x, y) in enumerate(draw.uniform(size=(60, 2)).tolist()):
        params = {"student.rate_weight": x, "student.recurrent_gain": y}
        earlier.append(record(number, params, cca=1 - abs(x - 0.8) - abs(y - 0.8)))

    def distance(earlier):
        asked = propose(spec, [], 20, earlier=earlier)
        return np.mean([abs(p - 0.8) for params in asked for p in params.values()])

    assert distance(earlier) < 0.75 * distance([])
