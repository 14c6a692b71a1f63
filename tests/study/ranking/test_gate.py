"""What the gate and the order of infeasible trials do on the very limit."""

import pytest

from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.result import FailedReplicate, Null

SPEC = parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}})
REQUIRED = SPEC.require.cca_heldout
A_LITTLE = 1e-9
LESS = 1e-11  # by which untrained networks differ, or a gain would have no interval


def null_of(q95):
    return Null(mean=0.0, q95=q95, num_draws=100)


@pytest.fixture
def tier_of(trial_of, replicate_of):
    """Return the tier of a trial of two seeds that score the same."""

    def rank(cca, untrained=0.2, **changes):
        found = [
            replicate_of(seed, cca, untrained=untrained + off, **changes)
            for seed, off in enumerate((-LESS, LESS))
        ]
        record = trial_of(0, found)
        (row,) = rank_study(SPEC, [record]).trials
        assert row.cca_heldout.mean == cca
        return row.tier

    return rank


def test_a_cca_that_reaches_what_is_required_does_not_exceed_it(tier_of):
    assert tier_of(REQUIRED) == "feasible"
    assert tier_of(REQUIRED + A_LITTLE) == "passed"


@pytest.mark.parametrize("name", ["null_shift", "null_clock"])
def test_a_cca_that_reaches_a_null_does_not_exceed_it(tier_of, name):
    assert tier_of(0.75, **{name: null_of(0.75)}) == "feasible"
    assert tier_of(0.75 + A_LITTLE, **{name: null_of(0.75)}) == "passed"


def test_a_network_as_good_as_untrained_has_gained_nothing(tier_of):
    assert tier_of(0.75, untrained=0.75) == "feasible"
    assert tier_of(0.75 + A_LITTLE, untrained=0.75) == "passed"


def test_seeds_that_gain_the_same_give_no_interval_and_do_not_pass(trial_of, replicate_of):
    (row,) = rank_study(SPEC, [trial_of(0, [replicate_of(seed, 0.9) for seed in (0, 1)])]).trials
    assert row.tier == "feasible"
    assert row.gate.gain_ci95 is None
    assert row.why == ("the gain over the untrained network has no interval",)


def test_a_line_on_its_limit_holds(tier_of):
    assert tier_of(0.75, violation=0.0) == "passed"
    assert tier_of(0.75, violation=A_LITTLE) == "infeasible"


@pytest.fixture
def broken(trial_of, replicate_of):
    """Build an infeasible trial of which each seed breaks lines by so much."""

    def build(number, *violations):
        found = [replicate_of(seed, 0.75, violations=one) for seed, one in enumerate(violations)]
        return trial_of(number, found)

    return build


def test_violations_of_several_lines_add_up(broken):
    wide = broken(0, {"dale": 0.3, "active:silent": 0.25, "active:in_band": -0.5})
    deep = broken(1, {"dale": 0.5, "active:silent": -1.0, "active:in_band": -0.5})
    first, second = rank_study(SPEC, [wide, deep]).trials
    # By the largest line, or with what holds counted in, the order would turn.
    assert (first.number, second.number) == (1, 0)
    assert first.violation == pytest.approx(0.5)
    assert second.violation == pytest.approx(0.55)


def test_of_each_line_the_worst_seed_counts_once(broken):
    trial = broken(0, {"dale": 0.3, "active:silent": -1.0}, {"dale": 0.1, "active:silent": 0.2})
    (row,) = rank_study(SPEC, [trial]).trials
    assert row.violations == {"dale": 0.3, "active:silent": 0.2}
    assert row.violation == pytest.approx(0.5)


@pytest.fixture
def of_sessions(trial_of, replicate_of):
    """Rank a trial of three seeds on two sessions, the second of which is changed."""

    def rank(cca, **changes):
        found = [
            replicate_of(seed, value + 1e-3 * seed, session=session, **extra)
            for session, value, extra in (("s1", 0.95, {}), ("s2", cca, changes))
            for seed in (0, 1, 2)
        ]
        (row,) = rank_study(SPEC, [trial_of(0, found)]).trials
        return row

    return rank


def test_a_good_mean_does_not_make_up_for_a_session_that_fails(of_sessions):
    assert of_sessions(0.9).tier == "passed"
    assert of_sessions(0.9).why == ()
    for changes, line in (
        ({"cca": 0.6}, "s2: held-out CCA 0.601 does not exceed 0.7"),
        (
            {"cca": 0.8, "null_shift": null_of(0.85)},
            "on the bins that null_shift takes, does not exceed its 95 % quantile 0.850",
        ),
        (
            {"cca": 0.8, "null_clock": null_of(0.85)},
            "on the bins that null_clock takes, does not exceed its 95 % quantile 0.850",
        ),
        ({"cca": 0.8, "null_session": null_of(0.85)}, "that null_session takes, does not exceed"),
        ({"cca": 0.8, "null_drift": 0.85}, "0.801 does not exceed null_drift 0.850, what time"),
        ({"cca": 0.72, "untrained": 0.92}, "s2: the gain over the untrained network is -0.199 ["),
    ):
        row = of_sessions(**changes)
        assert row.cca_heldout.mean > REQUIRED
        assert row.gain > 0
        assert row.tier == "feasible"
        (why,) = row.why
        assert line in why


def test_a_null_of_one_session_does_not_judge_another(of_sessions):
    # The first session's own CCA is 0.95: the second's null of 0.93 says nothing of it.
    assert of_sessions(0.94, null_shift=null_of(0.93)).tier == "passed"


def test_a_trial_that_lacks_a_seed_is_not_ranked_beside_one_that_has_it(trial_of, replicate_of):
    whole = trial_of(0, [replicate_of(seed, 0.75, violation=9.0) for seed in (0, 1)])
    short = trial_of(1, [replicate_of(0, 0.99)])
    lost = FailedReplicate(seed=1, session="s", reason="not finite")
    result = short.result.model_copy(update={"failed": (lost,)})
    request = short.request.model_copy(update={"seeds": (0, 1)})
    short = short.model_copy(update={"result": result, "request": request})
    first, second = rank_study(SPEC, [short, whole]).trials
    assert (first.number, second.number) == (0, 1)
    assert second.tier == "infeasible"
    assert second.why[0] == "finite lies 1 beyond its limit"
    assert "without numbers: seed 1: not finite" in second.notes


def test_a_null_is_held_against_the_networks_number_on_the_bins_that_it_takes(tier_of):
    kept = Null(mean=0.0, q95=0.8, num_draws=100, own=0.7)
    assert tier_of(0.9, null_shift=kept) == "feasible"
    assert tier_of(0.9, null_shift=kept.model_copy(update={"own": 0.81})) == "passed"


def test_a_seed_that_lacks_one_session_alone_is_lacking_too(trial_of, replicate_of):
    pairs = [(seed, session) for session in ("s1", "s2") for seed in (0, 1)]
    whole = trial_of(0, [replicate_of(s, 0.75, session=name, violation=9.0) for s, name in pairs])
    short = trial_of(1, [replicate_of(s, 0.99, session=name) for s, name in pairs[:-1]])
    lost = FailedReplicate(seed=1, session="s2", reason="not finite")
    result = short.result.model_copy(update={"failed": (lost,)})
    request = short.request.model_copy(update={"seeds": (0, 1)})
    short = short.model_copy(update={"result": result, "request": request})
    first, second = rank_study(SPEC, [short, whole]).trials
    assert (first.number, second.number) == (0, 1)
