"""What the schedule asks for before the report stage, and what it leaves out."""

import pytest

from listeners import Silent
from replicates import bare_replicate
from rheobase.study.file.ablation import tuned_trials
from rheobase.study.file.path import path_order
from rheobase.study.file.spec import parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import TrialResult
from rheobase.study.search.schedule import Bookkeeper, next_requests, packs, repeats_told

ARMS = {
    "a": {"student.dale": False},
    "b": {"student.rate_weight": 0.0},
    "c": {"student.surrogate_slope": 50.0},
}
WORTH = {"a": 0.1, "b": 0.3, "c": 0.2}


def study(trials=2, space=None, **ablation):
    return parse_study(
        {
            "name": "t",
            "data": {"sessions": ["s"]},
            "search": {"trials": trials, "generation": 2, "space": space or {}},
            "ablation": ablation,
            "seeds": {"select": [0, 1], "report": [10, 11]},
        }
    )


def worth(request):
    """Know the answer: what each lifted arm gives, b and c together half."""
    student = request.student
    lifted = {
        "a": not student["dale"],
        "b": student["rate_weight"] == 0.0,
        "c": student["surrogate_slope"] == 50.0,
    }
    both = 0.15 if lifted["b"] and lifted["c"] else 0.0
    return 0.3 + sum(WORTH[name] for name, is_lifted in lifted.items() if is_lifted) - both


def answered(request, cca, violations):
    replicates = tuple(
        bare_replicate(seed, cca, violations=violations(request)) for seed in request.seeds
    )
    return TrialResult(trial_id=request.trial_id, replicates=replicates, wall_s=1.0)


def played(ledger, spec, score=worth, violations=lambda request: {}, most=100, failing=()):
    while requests := next_requests(spec, ledger.records(), "d"):
        for request in requests:
            ledger.add(request)
        for request in requests:
            if most == 0:
                return
            most -= 1
            ledger.start(request.trial_id)
            if request.arm in failing:
                ledger.fail(request.trial_id, "broken")
            else:
                ledger.complete(answered(request, score(request), violations))


def asked(ledger, stage):
    return [one.request for one in ledger.records() if one.request.stage == stage]


BY_EFFECT = {"design": "path", "order": "effect", "arms": ARMS}


def test_a_path_by_effect_takes_the_best_step_on_validation(tmp_path):
    spec = study(trials=1, **BY_EFFECT)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        played(ledger, spec)
        tried = [one.arm for one in asked(ledger, "tune")]
        # b gives most alone; beside it a gives 0.1 and c, of which it takes half, 0.05.
        assert tried == ["a", "b", "c", "b+a", "b+c"]
        assert len(tried) == len(tuned_trials(spec))
        assert all(one.seeds == (0, 1) for one in asked(ledger, "tune"))
        assert path_order(spec, ledger.records()) == ["b", "a", "c"]
        steps = {one.arm: one.params for one in asked(ledger, "report")}
        assert list(steps) == ["baseline", "step-1", "step-2", "step-3"]
        assert steps["step-1"] == ARMS["b"]
        assert steps["step-2"] == {**ARMS["b"], **ARMS["a"]}
        assert steps["step-3"] == {k: v for one in ARMS.values() for k, v in one.items()}


@pytest.mark.parametrize("most", [3, 6])
@pytest.mark.parametrize("ablation", [BY_EFFECT, {"mode": "retuned", "arms": ARMS}])
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(tmp_path, most, ablation):
    spec = study(space={"student.tau_mem_ms": {"low": 5.0, "high": 50.0}}, **ablation)
    with Ledger(tmp_path / "whole.sqlite") as whole, Ledger(tmp_path / "cut.sqlite") as cut:
        played(whole, spec)
        played(cut, spec, most=most)
        played(cut, spec)
        assert [r.request for r in cut.records()] == [r.request for r in whole.records()]


def test_a_step_whose_every_seed_failed_is_taken_last(tmp_path):
    spec = study(trials=1, **BY_EFFECT)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        played(ledger, spec, failing=("b", "c+b"))
        assert path_order(spec, ledger.records()) == ["c", "a", "b"]


def test_retuned_arms_have_a_search_each_of_the_baseline_s_budget(tmp_path):
    space = {
        "student.tau_mem_ms": {"low": 5.0, "high": 50.0},
        "student.rate_weight": {"low": 0.01, "high": 1.0, "log": True},
    }
    arms = {"a": ARMS["a"], "b": ARMS["b"]}
    spec = study(4, space, mode="retuned", arms=arms, baselines=["untrained"])

    def slower_is_better(request):
        return request.student["tau_mem_ms"] / 100

    with Ledger(tmp_path / "l.sqlite") as ledger:
        played(ledger, spec, slower_is_better)
        tuned = asked(ledger, "tune")
        assert [one.arm for one in tuned].count("a") == 4 == [one.arm for one in tuned].count("b")
        assert len(tuned) == len(tuned_trials(spec)) == 8
        assert all(not one.student["dale"] for one in tuned if one.arm == "a")
        # What an arm sets, its search leaves alone.
        assert all(one.student["rate_weight"] == 0 for one in tuned if one.arm == "b")
        report = {one.arm: one for one in asked(ledger, "report")}
        assert list(report) == ["baseline", "a", "b", "untrained"]
        for arm in ("a", "b"):
            best = max((one for one in tuned if one.arm == arm), key=slower_is_better)
            assert report[arm].student == best.student
            assert report[arm].seeds == (10, 11)


def test_a_retuned_arm_keeps_the_lines_that_it_does_not_lift(tmp_path):
    spec = study(4, {"student.tau_mem_ms": {"low": 5.0, "high": 50.0}}, mode="retuned", arms=ARMS)

    def violations(request):
        return {"dale": 1.0, "rates": request.student["tau_mem_ms"] - 30.0}

    with Ledger(tmp_path / "l.sqlite") as ledger:
        played(ledger, spec, lambda one: one.student["tau_mem_ms"] / 100, violations)
        report = {one.arm: one.student["tau_mem_ms"] for one in asked(ledger, "report")}
        kept = [
            one.student["tau_mem_ms"]
            for one in asked(ledger, "tune")
            if one.arm == "a" and one.student["tau_mem_ms"] <= 30.0
        ]
        assert report["a"] == max(kept)


def test_what_the_search_has_chosen_is_not_run_twice_and_is_told(tmp_path):
    space = {"student.surrogate_slope": {"choices": [5.0, 50.0]}}
    spec = study(2, space, arms=ARMS, dose={"student.refractory_ms": [0, 20]})

    class Heard(Silent):
        def stage(self, name, detail):
            self.said = {**getattr(self, "said", {}), name: detail}

    with Ledger(tmp_path / "l.sqlite") as ledger:
        heard = Heard()
        books = Bookkeeper(ledger, heard)
        while requests := next_requests(spec, ledger.records(), "d"):
            for request in books.planned(requests, repeats_told(spec, requests)):
                books.started(request)
                books.ended(request.trial_id, answered(request, worth(request), lambda _: {}))
        report = [one.arm for one in asked(ledger, "report")]
    assert report == ["baseline", "a", "b", "refractory_ms=20"]
    assert heard.said["report"] == (
        "2 seeds a trial; not run twice: c is baseline, refractory_ms=0 is baseline"
    )


def test_arms_of_another_teacher_ask_for_what_they_read_and_change_no_other_trial(tmp_path):
    gru = {"teacher.encoder": "gru"}
    space = {"student.rate_weight": {"low": 0.01, "high": 1.0, "log": True}}
    arms = {"a": ARMS["a"], "gru": gru, "both": {**gru, **ARMS["a"]}}
    spec = study(2, space, arms=arms)
    with Ledger(tmp_path / "l.sqlite") as ledger, Ledger(tmp_path / "m.sqlite") as alone:
        played(ledger, spec)
        played(alone, study(2, space, arms={"a": ARMS["a"]}))
        report = {one.arm: one for one in asked(ledger, "report")}
        assert {arm: one.reads for arm, one in report.items()} == {
            "baseline": {},
            "a": {},
            "gru": gru,
            "both": gru,
        }
        assert report["both"].student == report["a"].student
        assert report["gru"].student == report["baseline"].student
        assert len({one.trial_id for one in report.values()}) == 4
        shared = [one.request for one in alone.records()]
        assert [one.request for one in ledger.records()][: len(shared)] == shared
    packed = spec.model_copy(update={"search": spec.search.model_copy(update={"pack": 8})})
    groups = [sorted(one.arm for one in group) for group in packs(packed, [*report.values()])]
    assert groups == [["a", "baseline"], ["both", "gru"]]


def test_a_retuned_arm_of_another_teacher_is_searched_with_that_teacher(tmp_path):
    space = {"student.tau_mem_ms": {"low": 5.0, "high": 50.0}}
    reads = {"data.bin_ms": 20.0}
    spec = study(3, space, mode="retuned", arms={"bins": {"data.bin_ms": 20}})
    with Ledger(tmp_path / "l.sqlite") as ledger:
        played(ledger, spec, lambda one: one.student["tau_mem_ms"] / 100)
        tuned = asked(ledger, "tune")
        assert [one.reads for one in tuned] == [reads] * 3
        assert [one.reads for one in asked(ledger, "report")] == [{}, reads]
        assert all(not one.reads for one in asked(ledger, "select"))
