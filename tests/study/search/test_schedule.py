import numpy as np
import pytest

from listeners import Silent
from replicates import bare_replicate
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import Null, TrialResult
from rheobase.study.search.schedule import Bookkeeper, next_requests

WEIGHT = "student.rate_weight"


def spec_of(**changes):
    table = {
        "name": "t",
        "data": {"sessions": ["s"]},
        "teacher": {"latent_dim": 2},
        "search": {
            "trials": 7,
            "generation": 3,
            "space": {WEIGHT: {"low": 1e-3, "high": 1.0, "log": True}},
        },
        "ablation": {"arms": {"no-dale": {"student.dale": False}}},
        "seeds": {"select": [0, 1], "report": [10, 11]},
    }
    return parse_study({**table, **changes})


def result(request, cca=0.9, violation=-1.0):
    replicates = [
        bare_replicate(
            seed,
            cca,
            cca_pairs=(cca, cca),
            untrained=0.1 + seed / 1e6,
            violations={"all.mean_low": violation},
        )
        for seed in request.seeds
    ]
    return TrialResult(trial_id=request.trial_id, replicates=tuple(replicates), wall_s=1.0)


def score(request):
    """Know the answer: the best weight is 0.1."""
    return 0.9 - abs(request.student["rate_weight"] - 0.1)


def played(ledger, spec, most=100, order=1):
    """Answer what the schedule asks for, `most` trials at most; return the generations."""
    generations = []
    while requests := next_requests(spec, ledger.records(), "d"):
        generations.append(requests)
        for request in requests:
            ledger.add(request)
        for request in requests[::order]:
            if most == 0:
                return generations
            most -= 1
            ledger.start(request.trial_id)
            ledger.complete(result(request, score(request)))
    return generations


def requests_of(ledger):
    return [record.request for record in ledger.records()]


def test_a_study_is_its_own_settings_then_the_search_then_the_report(tmp_path):
    spec = spec_of()
    with Ledger(tmp_path / "l") as ledger:
        generations = played(ledger, spec)
    assert [len(one) for one in generations] == [3, 3, 1, 2]
    assert [r.number for one in generations for r in one] == list(range(9))
    first = generations[0][0]
    assert first.params == {WEIGHT: spec.student.rate_weight}
    assert first.student == dump_study(spec)["student"]
    search, report = generations[:3], generations[3]
    assert all(r.seeds == (0, 1) and r.stage == "select" for one in search for r in one)
    assert [r.arm for r in report] == ["baseline", "no-dale"]
    assert all(r.seeds == (10, 11) and r.stage == "report" for r in report)
    best = max((r for one in search for r in one), key=score)
    assert report[0].student == best.student
    assert report[1].student == {**best.student, "dale": False}
    assert report[1].params == {**best.params, "student.dale": False}


@pytest.mark.parametrize("most", [1, 3, 4, 8])
def test_an_interrupted_study_asks_for_what_it_would_have_asked_for(tmp_path, most):
    spec = spec_of()
    with Ledger(tmp_path / "whole") as whole, Ledger(tmp_path / "cut") as cut:
        played(whole, spec)
        played(cut, spec, most)
        played(cut, spec)
        assert requests_of(cut) == requests_of(whole)


def test_the_order_in_which_trials_end_changes_nothing(tmp_path):
    with Ledger(tmp_path / "a") as forth, Ledger(tmp_path / "b") as back:
        played(forth, spec_of())
        played(back, spec_of(), order=-1)
        assert requests_of(forth) == requests_of(back)


def test_what_was_asked_for_is_asked_for_again_until_it_ends(tmp_path):
    spec = spec_of()
    with Ledger(tmp_path / "l") as ledger:
        generation = next_requests(spec, [], "d")
        for request in generation:
            ledger.add(request)
        ledger.start(generation[1].trial_id)
        ledger.fail(generation[0].trial_id, "x")
        assert next_requests(spec, ledger.records(), "d") == generation[1:]


def test_other_inputs_give_other_trials():
    ids = [next_requests(spec_of(), [], inputs)[0].trial_id for inputs in ("d", "d", "e")]
    assert ids[0] == ids[1] != ids[2]


def test_a_space_smaller_than_the_budget_ends_the_search(tmp_path):
    space = {"student.surrogate": {"choices": ["atan", "fast_sigmoid"]}}
    spec = spec_of(search={"trials": 9, "generation": 4, "space": space})
    with Ledger(tmp_path / "l") as ledger:
        generations = played(ledger, spec)
    assert sorted(r.student["surrogate"] for r in generations[0]) == ["atan", "fast_sigmoid"]
    assert [r.stage for r in generations[1]] == ["report", "report"]


def test_after_the_time_budget_only_the_report_stage_begins(tmp_path):
    spec = spec_of(resources={"time_budget_s": 5.0})
    assert next_requests(spec, [], "d", elapsed_s=9.0)
    with Ledger(tmp_path / "l") as ledger:
        played(ledger, spec, most=3)
        records = [record for record in ledger.records() if record.status == "complete"]
    assert next_requests(spec, records, "d", elapsed_s=4.0)[0].stage == "select"
    assert next_requests(spec, records, "d", elapsed_s=6.0)[0].stage == "report"


def test_where_no_trial_is_feasible_the_study_s_own_settings_are_reported(tmp_path):
    spec = spec_of()
    with Ledger(tmp_path / "l") as ledger:
        while requests := next_requests(spec, ledger.records(), "d"):
            if requests[0].stage == "report":
                break
            for request in requests:
                ledger.add(request)
                ledger.start(request.trial_id)
                ledger.complete(result(request, score(request), violation=1.0))
    assert requests[0].student == dump_study(spec)["student"]


def test_without_report_seeds_a_study_is_a_search(tmp_path):
    spec = spec_of(seeds={"select": [0], "report": []}, ablation=None)
    with Ledger(tmp_path / "l") as ledger:
        generations = played(ledger, spec)
    assert {r.stage for one in generations for r in one} == {"select"}


def test_the_listener_hears_each_stage_once_and_each_end(tmp_path):
    class Ear(Silent):
        def __init__(self):
            self.heard = []

        def stage(self, name, detail):
            self.heard.append(name)

        def trial_ended(self, record):
            self.heard.append(record.status)

    spec, ear = spec_of(search={"trials": 2, "generation": 1, "space": {}}), Ear()
    with Ledger(tmp_path / "l") as ledger:
        bookkeeper = Bookkeeper(ledger, ear)
        while requests := next_requests(spec, ledger.records(), "d"):
            bookkeeper.planned(requests)
            for request in requests:
                bookkeeper.started(request)
                bookkeeper.progressed(request.trial_id, 1, {"loss": 1.0})
                fails = request.arm == "no-dale"
                bookkeeper.ended(request.trial_id, "x" if fails else result(request))
    assert ear.heard == ["search", "complete", "report", "complete", "failed"]


def test_the_baseline_leaves_out_a_setting_whose_condition_does_not_hold():
    slope = {"low": 2.0, "high": 50.0, "when": {"student.surrogate": "atan"}}
    space = {
        "student.surrogate_slope": slope,
        "student.surrogate": {"choices": ["atan", "fast_sigmoid"]},
    }
    first, *_ = next_requests(spec_of(search={"trials": 4, "space": space}), [], "d")
    assert first.params == {"student.surrogate": "fast_sigmoid"}
    assert first.student == dump_study(spec_of())["student"]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "cmaes"])
def test_no_configuration_comes_twice_and_a_small_space_is_searched_to_its_end(tmp_path, sampler):
    space = {"student.num_neurons": {"low": 8, "high": 30}}
    search = {"trials": 23, "generation": 4, "sampler": sampler, "space": space}
    spec = spec_of(search=search, student={"num_neurons": 10})
    with Ledger(tmp_path / "l") as ledger:
        played(ledger, spec)
        searched = [r for r in requests_of(ledger) if r.stage == "select"]
    sizes = [request.student["num_neurons"] for request in searched]
    assert sizes[0] == 10
    assert len(set(sizes)) == len(sizes)
    assert len(sizes) >= 20


def test_the_report_stage_of_several_objectives_begins_with_the_knee(tmp_path):
    space = {"student.num_neurons": {"choices": [8, 16, 32, 64, 128]}}
    search = {
        "trials": 5,
        "generation": 5,
        "sampler": "nsga2",
        "objectives": ["cca_heldout", "num_neurons"],
        "confirm": 2,
        "space": space,
    }
    cca = {8: 0.75, 16: 0.93, 32: 0.94, 64: 0.945, 128: 0.95}
    spec = spec_of(search=search)
    with Ledger(tmp_path / "l") as ledger:
        while requests := next_requests(spec, ledger.records(), "d"):
            for request in requests:
                ledger.add(request)
                ledger.start(request.trial_id)
                found = result(request, cca[request.student["num_neurons"]])
                drawn = {"null_shift": Null(mean=0.0, q95=0.1, num_draws=100)}
                each = tuple(one.model_copy(update=drawn) for one in found.replicates)
                ledger.complete(found.model_copy(update={"replicates": each}))
        report = [r for r in requests_of(ledger) if r.stage == "report"]
    assert [(r.arm, r.student["num_neurons"]) for r in report] == [
        ("baseline", 16),
        ("top-2", 32),
        ("no-dale", 16),
    ]


def test_a_gated_control_chooses_its_steps_and_learning_rate_on_validation(tmp_path):
    spec = spec_of(ablation={"baselines": ["gru"], "arms": {"no-dale": {"student.dale": False}}})

    def tuned(request):
        far = abs(np.log(request.student["learning_rate"] / (3 * spec.student.learning_rate)))
        return 0.9 - far - (request.student["steps"] == spec.student.steps)

    with Ledger(tmp_path / "l") as ledger:
        generations = []
        while requests := next_requests(spec, ledger.records(), "d"):
            generations.append(requests)
            for request in requests:
                ledger.add(request)
                ledger.start(request.trial_id)
                cca = tuned(request) if request.student["neuron"] == "gru" else score(request)
                ledger.complete(result(request, cca))
    *_, tried, report = generations
    assert {(one.stage, one.arm, one.seeds) for one in tried} == {("tune", "gru", (0, 1))}
    assert len({(one.student["learning_rate"], one.student["steps"]) for one in tried}) == 6
    (gru,) = (one for one in report if one.arm == "gru")
    assert gru.student["learning_rate"] == pytest.approx(3 * spec.student.learning_rate)
    assert gru.student["steps"] == 3 * spec.student.steps
    assert gru.params["student.steps"] == gru.student["steps"]
    best = next(one for one in report if one.arm == "baseline")
    assert best.student["steps"] == spec.student.steps
    assert {one.stage for one in report} == {"report"}
    assert [one.number for one in report] == list(range(13, 16))
