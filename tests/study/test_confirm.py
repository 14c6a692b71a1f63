import numpy as np
import pytest
from scipy.stats import ttest_ind

from rheobase.core.errors import StudyError
from rheobase.study.ledger import Ledger
from rheobase.study.listener import Silent
from rheobase.study.rank import rank_study
from rheobase.study.result import TrialResult
from rheobase.study.schedule import Bookkeeper, next_requests
from rheobase.study.spec import parse_study
from rheobase.study.statistics import compare, welch_interval

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
    best = [by_id[row["trial_id"]] for row in ranking["trials"][:3]]
    assert [request.student for request in report[:3]] == [request.student for request in best]
    # The ablation stays paired with the winner.
    assert report[3].student == {**best[0].student, "dale": False}
    assert all(request.seeds == spec.seeds.report for request in report)


def test_the_optimism_of_each_is_shown_with_its_interval(tmp_path, replicate_of):
    records = played(tmp_path, spec_of(), replicate_of)
    ranking = rank_study(spec_of(), records)
    assert [one["arm"] for one in ranking["optimism"]] == ["baseline", "top-2", "top-3"]
    for one, row in zip(ranking["optimism"], ranking["trials"], strict=False):
        assert one["of_trial"] == row["trial_id"]
        assert one["mean"] == pytest.approx(0.02 + 0.001 - 0.0025)
        assert one["ci95"][0] < one["mean"] < one["ci95"][1]
        assert one["select"] - one["report"] == one["mean"]


def test_where_no_trial_is_feasible_nothing_was_picked_and_nothing_is_optimistic(
    tmp_path, replicate_of
):
    records = played(tmp_path, spec_of(), replicate_of, violation=0.5)
    report = [r.request.arm for r in records if r.request.stage == "report"]
    assert report == ["baseline", "no-dale"]
    assert rank_study(spec_of(), records)["optimism"] == []


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


def test_welch_s_interval_is_scipy_s():
    draw = np.random.default_rng(0)
    left, right = draw.normal(0.8, 0.1, 5), draw.normal(0.7, 0.02, 8)
    expected = ttest_ind(left, right, equal_var=False).confidence_interval(0.95)
    found = welch_interval(left, ["s"] * 5, right, ["s"] * 8)
    assert found == pytest.approx((expected.low, expected.high))


def test_welch_s_interval_covers_the_truth_and_leaves_out_the_spread_between_sessions():
    draw, covered = np.random.default_rng(1), 0
    sessions = np.repeat(["a", "b", "c"], 3)
    shift = {"a": 0.0, "b": 0.3, "c": -0.2}
    offset = np.array([shift[name] for name in sessions])
    for _ in range(1000):
        sides = [draw.normal(mean, sd, 9) + offset for mean, sd in ((0.8, 0.02), (0.75, 0.04))]
        low, high = welch_interval(sides[0], sessions, sides[1], sessions)
        covered += low <= 0.05 <= high
    assert 930 <= covered <= 970
