from itertools import product

import numpy as np
import pytest
from scipy.stats import t, trim_mean

from rheobase.core.errors import StudyError
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.statistics import (
    bootstrap_intervals,
    compare,
    compare_arms,
    holm,
    interquartile_mean,
    probability_of_improvement,
    sign_flip_p,
    t_interval,
    welch_interval,
)

ARMS = {"no-dale": {"student.dale": False}, "no-rate": {"student.rate_weight": 0.0}}
SPEC = parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}, "ablation": {"arms": ARMS}})


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def records(trial_of, replicate_of):
    """Eight pairs of the baseline and two arms; `no-rate` costs nothing on average."""
    draw = np.random.default_rng(1)
    costs = {"baseline": np.zeros(8), "no-dale": np.full(8, 0.1), "no-rate": np.zeros(8)}
    runs = [(seed, session) for session in "ab" for seed in range(4)]
    base = draw.normal(0.8, 0.05, 8)
    return [
        trial_of(
            number,
            [
                replicate_of(seed, base[i] + cost[i] + draw.normal(0, 0.01), session)
                for i, (seed, session) in enumerate(runs)
            ],
            stage="report",
            arm=arm,
        )
        for number, (arm, cost) in enumerate(costs.items())
    ]


def test_the_t_interval_is_scipys(random):
    values = random.standard_normal(8)
    expected = t.interval(0.95, 7, values.mean(), values.std(ddof=1) / np.sqrt(8))
    assert t_interval(values) == pytest.approx(expected)
    assert t_interval([1.0]) is None


def spread_within(values, strata):
    """Return the sum of squares about the mean of each stratum, and its degrees of freedom."""
    values, names = np.asarray(values), np.asarray(strata)
    parts = [values[names == name] for name in set(strata)]
    return sum(((one - one.mean()) ** 2).sum() for one in parts), len(values) - len(parts)


def test_eight_seeds_on_three_sessions_have_21_degrees_of_freedom(random):
    strata = [session for session in "abc" for _ in range(8)]
    values = random.standard_normal(24) + np.repeat([0.0, 5.0, -3.0], 8)
    squares, freedom = spread_within(values, strata)
    assert freedom == 21
    half = t.ppf(0.975, 21) * np.sqrt(squares / 21 / 24)
    assert t_interval(values, strata) == pytest.approx((values.mean() - half, values.mean() + half))


def test_one_seed_on_eight_sessions_has_7_degrees_of_freedom(random):
    values = random.standard_normal(8)
    assert t_interval(values, list("abcdefgh")) == t_interval(values)


def test_two_values_have_an_interval_and_two_on_two_sessions_too():
    half = t.ppf(0.975, 1) * np.sqrt(0.5 / 2)
    for strata in (None, ["a", "a"], ["a", "b"]):
        assert t_interval([1.0, 2.0], strata) == pytest.approx((1.5 - half, 1.5 + half))


def test_welchs_interval_takes_the_degrees_of_freedom_within_sessions(random):
    left, right = random.standard_normal(8) + np.repeat([0, 4], 4), random.standard_normal(6)
    left_strata, right_strata = ["a"] * 4 + ["b"] * 4, ["a"] * 3 + ["b"] * 3
    variances, freedoms = [], []
    for values, strata in ((left, left_strata), (right, right_strata)):
        squares, freedom = spread_within(values, strata)
        variances.append(squares / freedom / len(values))
        freedoms.append(freedom)
    assert freedoms == [6, 4]
    shared = sum(variances) ** 2 / (variances[0] ** 2 / 6 + variances[1] ** 2 / 4)
    middle = left.mean() - right.mean()
    half = t.ppf(0.975, shared) * np.sqrt(sum(variances))
    found = welch_interval(left, left_strata, right, right_strata)
    assert found == pytest.approx((middle - half, middle + half))


def test_welchs_interval_needs_two_values_of_a_session_on_each_side():
    assert welch_interval([1.0, 2.0], ["a", "b"], [1.0, 2.0], ["a", "a"]) is None
    assert welch_interval([1.0, 2.0], ["a", "a"], [1.0], ["a"]) is None
    assert welch_interval([1.0, 1.0], ["a", "a"], [0.5, 0.5], ["a", "a"]) == (0.5, 0.5)


def test_a_p_of_random_flips_is_never_zero(random):
    # Forty pairs that agree: of 100,000 flips none reaches their sum, the found pattern does.
    assert sign_flip_p(np.ones(40), random) == 1 / 100_001


def test_sixteen_pairs_are_flipped_in_every_way_and_seventeen_are_not(random):
    assert sign_flip_p(np.ones(16), random) == 2 / 2**16
    assert sign_flip_p(np.ones(17), random) != 2 / 2**17


def test_equal_differences_of_either_sign_are_counted_as_reached(random):
    # Sums of 0.1, 0.2 and 0.3 in another order differ in their last digit.
    differences = np.array([0.1, 0.2, 0.3, -0.1, -0.2, 0.3])
    flipped = [
        abs(sum(s * d for s, d in zip(signs, [1, 2, 3, -1, -2, 3], strict=True)))
        for signs in product([1, -1], repeat=6)
    ]
    assert sign_flip_p(differences, random) == np.mean(np.array(flipped) >= 6)


@pytest.mark.parametrize(("num_seeds", "num_sessions"), [(3, 1), (8, 1), (8, 3), (1, 8)])
def test_the_interval_covers_the_truth_in_93_to_97_percent_of_1000_studies(num_seeds, num_sessions):
    draw = np.random.default_rng(num_seeds)
    # Differences of correlations are bounded; sessions differ by as much as seeds do.
    arm, to = draw.beta(16, 4, (2, 1000, num_sessions, num_seeds))
    offsets = 0.1 * (np.arange(num_sessions) - (num_sessions - 1) / 2) * (num_seeds > 1)
    studies = (arm - to + offsets[:, None]).reshape(1000, -1)
    strata = np.repeat([f"s{n}" for n in range(num_sessions)], num_seeds)
    intervals = [t_interval(differences, strata) for differences in studies]
    assert 0.93 <= np.mean([low <= 0 <= high for low, high in intervals]) <= 0.97


def test_the_percentile_bootstrap_is_too_narrow_with_8_pairs(random):
    covers = []
    for _ in range(200):
        low, high = bootstrap_intervals(random.standard_normal(8), ["s"] * 8, random)[0]
        covers.append(low <= 0 <= high)
    assert np.mean(covers) < 0.94


def test_the_bootstrap_resamples_within_sessions(random):
    # Two sessions far apart, no spread inside either: the mean cannot move.
    differences, strata = np.repeat([0.0, 1.0], 5), ["a"] * 5 + ["b"] * 5
    mean, iqm = bootstrap_intervals(differences, strata, random)
    assert mean == pytest.approx((0.5, 0.5))
    assert iqm == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("num", [1, 2, 3, 4, 7, 8, 13])
def test_the_interquartile_mean_is_scipys_trimmed_mean(random, num):
    values = random.standard_normal(num)
    assert interquartile_mean(values) == pytest.approx(trim_mean(values, 0.25))


@pytest.mark.parametrize("num", [1, 3, 6, 9])
def test_sign_flips_equal_brute_force(random, num):
    differences = random.standard_normal(num) + 0.5
    flipped = [abs(np.dot(signs, differences)) for signs in product([1, -1], repeat=num)]
    expected = np.mean(np.array(flipped) >= abs(differences.sum()) - 1e-12)
    assert sign_flip_p(differences, random) == expected


def test_the_least_p_of_n_agreeing_pairs_is_2_over_2_to_the_n(random):
    assert sign_flip_p(np.full(6, 0.1), random) == 2 / 2**6
    assert sign_flip_p(np.zeros(6), random) == 1.0


def test_many_pairs_are_flipped_at_random_near_the_exact_p(random):
    sixteen = random.standard_normal(16) + 0.4
    # A seventeenth pair of no difference leaves the exact p where it was.
    more = np.append(sixteen, 0.0)
    assert sign_flip_p(more, random) == pytest.approx(sign_flip_p(sixteen, random), abs=0.005)


def test_sign_flips_reject_a_true_null_no_oftener_than_they_say(random):
    p = [sign_flip_p(random.standard_normal(8), random) for _ in range(1000)]
    assert np.mean(np.array(p) <= 0.05) < 0.07


def test_holm_is_as_worked_by_hand():
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_probability_of_improvement_counts_wins_within_sessions_and_ties_half():
    to, strata = np.array([1.0, 2.0, 10.0, 20.0]), ["a", "a", "b", "b"]
    assert probability_of_improvement(to, to, strata) == 0.5
    arm = np.array([3.0, 3.0, 15.0, 15.0])
    assert probability_of_improvement(arm, to, strata) == pytest.approx((1.0 + 0.5) / 2)


def test_an_arm_is_paired_by_seed_and_session_whatever_their_order(records):
    base, arm = records[0], records[1]
    turned = arm.result.model_copy(update={"replicates": arm.result.replicates[::-1]})
    swapped = [base, arm.model_copy(update={"result": turned})]
    found = compare(SPEC, records, "no-dale")
    assert compare(SPEC, swapped, "no-dale").ci95 == pytest.approx(found.ci95)
    assert found.num_pairs == 8
    assert found.mean_difference == pytest.approx(0.1, abs=0.02)
    low, high = found.ci95
    assert 0 < low < 0.1 < high
    assert found.p_sign_flip == found.least_p == 2 / 2**8
    assert found.probability_of_improvement > 0.8
    assert compare(SPEC, records, "baseline", "no-dale").mean_difference == pytest.approx(
        -found.mean_difference
    )


def test_arms_are_compared_in_order_with_holm_over_them(records):
    found = compare_arms(SPEC, records)
    assert [one.arm for one in found] == ["no-dale", "no-rate"]
    assert [one.p_holm for one in found] == holm([one.p_sign_flip for one in found])
    assert found[0].p_holm == 2 * found[0].p_sign_flip
    assert found[1].p_sign_flip > 0.05
    assert compare(SPEC, records, "no-dale") == found[0]
    assert compare_arms(SPEC, records[1:]) == []


def test_three_pairs_are_called_underpowered(trial_of, replicate_of):
    records = [
        trial_of(
            number, [replicate_of(seed, 0.5 + cost) for seed in range(3)], stage="report", arm=arm
        )
        for number, (arm, cost) in enumerate([("baseline", 0.0), ("no-dale", 0.1)])
    ]
    assert compare(SPEC, records, "no-dale").notes == (
        "underpowered: 6 pairs are needed for p <= 0.05; this has 3: its least possible p is 0.25",
    )


def test_results_of_the_search_are_never_compared(records):
    searched = [r.request.model_copy(update={"stage": "select"}) for r in records]
    changed = [
        record.model_copy(update={"request": request})
        for record, request in zip(records, searched, strict=True)
    ]
    assert compare_arms(SPEC, changed) == []


@pytest.mark.parametrize(
    ("arm", "to", "said"),
    [
        ("no-dal", "baseline", "Did you mean 'no-dale'?"),
        ("no-dale", "base", "Did you mean 'baseline'?"),
        ("no-rate", "baseline", "must have a complete trial on the report seeds"),
        ("no-dale", "no-dale", "two arms must differ"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(records, arm, to, said):
    with pytest.raises(StudyError) as caught:
        compare(SPEC, records[:2], arm, to)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_controls_take_no_part_in_holm(records):
    spec = SPEC.model_copy(
        update={"ablation": SPEC.ablation.model_copy(update={"baselines": ("gru",)})}
    )
    gru = records[1].model_copy(
        update={"request": records[1].request.model_copy(update={"arm": "gru", "trial_id": "g"})}
    )
    with_control = {one.arm: one for one in compare_arms(spec, [*records, gru])}
    assert with_control["gru"].p_holm is None
    assert with_control["gru"].p_sign_flip == with_control["no-dale"].p_sign_flip
    assert with_control["no-dale"].p_holm == compare_arms(SPEC, records)[0].p_holm
    assert compare(spec, [*records, gru], "no-dale", "gru").p_holm is None
