import pytest

from listeners import Silent
from rheobase.core.errors import StudyError
from rheobase.report.tables import least_told
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.ranking.ranking import KneeFate
from rheobase.study.ranking.statistics import compare
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import TrialResult
from rheobase.study.search.schedule import Bookkeeper, next_requests

WEIGHT = "student.rate_weight"


def spec_of(confirm=3, **more):
    table = {
        "name": "t",
        "data": {"sessions": ["s"]},
        "teacher": {"latent_dim": 2},
        "search": {
            "trials": 8,
            "confirm": confirm,
            "space": {WEIGHT: {"low": 1e-3, "high": 1.0, "log": True}},
        },
        "ablation": {"arms": {"no-dale": {"student.dale": False}}},
        "seeds": {"select": [0, 1, 2], "report": [10, 11, 12, 13, 14, 15]},
    }
    return parse_study({**table, **more})


def quality(request):
    return 0.9 - abs(request.student["rate_weight"] - 0.1)


def played(folder, spec, replicate_of, violation=-1.0):
    """Select seeds flatter by 0.02; seeds differ by thousandths."""
    with Ledger(folder / "l") as ledger:
        bookkeeper = Bookkeeper(ledger, Silent())
        while requests := next_requests(spec, ledger.records(), "d"):
            bookkeeper.planned(requests)
            for request in requests:
                bookkeeper.started(request)
                flattered = 0.02 if request.stage == "select" else 0.0
                found = tuple(
                    replicate_of(
                        seed, quality(request) + flattered + seed % 10 / 1000, violation=violation
                    )
                    for seed in request.seeds
                )
                bookkeeper.ended(
                    request.trial_id,
                    TrialResult(trial_id=request.trial_id, replicates=found, wall_s=1.0),
                )
        return ledger.records()


def test_the_best_trials_are_run_again_on_report_seeds(tmp_path, replicate_of):
    spec = spec_of()
    records = played(tmp_path, spec, replicate_of)
    report = [r.request for r in records if r.request.stage == "report"]
    assert [request.arm for request in report] == ["baseline", "top-2", "top-3", "no-dale"]
    ranking = rank_study(spec, records)
    by_id = {r.request.trial_id: r.request for r in records}
    best = [by_id[row.trial_id] for row in ranking.trials[:3]]
    assert [request.student for request in report[:3]] == [request.student for request in best]
    # The ablation stays paired with the winner.
    assert report[3].student == {**best[0].student, "dale": False}
    assert all(request.seeds == spec.seeds.report for request in report)


def test_the_optimism_of_each_is_shown_with_its_interval(tmp_path, replicate_of):
    records = played(tmp_path, spec_of(), replicate_of)
    ranking = rank_study(spec_of(), records)
    assert [one.arm for one in ranking.optimism] == ["baseline", "top-2", "top-3"]
    for one, row in zip(ranking.optimism, ranking.trials, strict=False):
        assert one.of_trial == row.trial_id
        assert one.mean == pytest.approx(0.02 + 0.001 - 0.0025)
        assert one.ci95[0] < one.mean < one.ci95[1]
        assert one.select - one.report == one.mean
        assert one.speaks_of == "this recording"


def test_where_no_trial_is_feasible_nothing_was_picked_and_nothing_is_optimistic(
    tmp_path, replicate_of
):
    records = played(tmp_path, spec_of(), replicate_of, violation=0.5)
    report = [r.request.arm for r in records if r.request.stage == "report"]
    assert report == ["baseline", "no-dale"]
    assert rank_study(spec_of(), records).optimism == ()


def test_a_confirmed_trial_can_be_compared_and_does_not_join_the_arms(tmp_path, replicate_of):
    records = played(tmp_path, spec_of(), replicate_of)
    found = compare(spec_of(), records, "top-2")
    assert found.num_pairs == 6
    assert found.mean_difference < 0
    assert found.p_holm is None
    arm = compare(spec_of(), records, "no-dale")
    assert arm.p_holm == arm.p_sign_flip  # a family of one
    with pytest.raises(StudyError, match="It has: baseline, no-dale, top-2, top-3"):
        compare(spec_of(), records, "top-9")


def test_an_arm_may_not_take_the_name_of_a_confirmed_trial():
    with pytest.raises(StudyError, match="names confirmed trials"):
        spec_of(ablation={"arms": {"top-2": {"student.dale": False}}})


SIZES = {
    "sampler": "random",
    "trials": 5,
    "generation": 5,
    "confirm": 5,
    "objectives": ["cca_heldout", "num_neurons"],
    "space": {"student.num_neurons": {"low": 8, "high": 40}},
}


def sized(folder, replicate_of, fewest):
    """Play a study in which networks of fewer than `fewest` neurons break a line on new seeds."""
    spec = spec_of(search=SIZES, student={"num_neurons": 40}, ablation=None)
    with Ledger(folder / "l") as ledger:
        bookkeeper = Bookkeeper(ledger, Silent())
        while requests := next_requests(spec, ledger.records(), "d"):
            bookkeeper.planned(requests)
            for request in requests:
                bookkeeper.started(request)
                neurons = request.student["num_neurons"]
                breaks = request.stage == "report" and neurons < fewest
                cca = 0.95 - 1 / neurons  # a convex front, on which every trial lies
                found = tuple(
                    replicate_of(seed, cca + seed / 1e4, violation=0.5 if breaks else -1.0)
                    for seed in request.seeds
                )
                result = TrialResult(trial_id=request.trial_id, replicates=found, wall_s=1.0)
                bookkeeper.ended(request.trial_id, result)
        return rank_study(spec, ledger.records())


def neurons_of(ranking):
    return {row.trial_id: row.num_neurons for row in ranking.trials}


def test_the_least_network_is_the_least_that_passed_on_report_seeds_not_the_knee(
    tmp_path, replicate_of
):
    (tmp_path / "all").mkdir()
    (tmp_path / "some").mkdir()
    whole = sized(tmp_path / "all", replicate_of, fewest=0)
    knee = neurons_of(whole)[whole.pareto.knee]
    ranking = sized(tmp_path / "some", replicate_of, fewest=knee + 1)
    assert ranking.pareto == whole.pareto  # the report seeds choose nothing
    least = ranking.least
    fate = KneeFate(trial_id=ranking.pareto.knee, arm="baseline", tier="infeasible")
    assert least.knee == fate
    passed = [row for row in ranking.confirmed if row.tier == "passed"]
    assert 2 <= least.num_passed == len(passed) < least.num_run == 5
    assert least.trial.num_neurons == min(row.num_neurons for row in passed) > knee
    assert neurons_of(ranking)[least.trial.of_trial] == least.trial.num_neurons
    told = least_told(least)
    assert told[0].startswith("The least network that passed on the report seeds, of 5 that were")
    assert f"num_neurons {least.trial.num_neurons:.0f}." in told[0]
    assert "on the report seeds it is infeasible" in told[1]


def test_where_no_network_passes_on_report_seeds_none_is_named(tmp_path, replicate_of):
    ranking = sized(tmp_path, replicate_of, fewest=99)
    assert ranking.best is not None
    assert ranking.least.trial is None
    assert least_told(ranking.least)[0] == (
        "No network passed on the report seeds, of 5 that were run there."
    )


def test_a_search_of_one_objective_names_no_least_network(tmp_path, replicate_of):
    ranking = rank_study(spec_of(), played(tmp_path, spec_of(), replicate_of))
    assert ranking.least is None
    assert least_told(None) == []
