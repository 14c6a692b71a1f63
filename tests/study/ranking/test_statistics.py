from itertools import product

import numpy as np
import pytest
from scipy.stats import trim_mean

from rheobase.core.errors import StudyError
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.resampling import (
    FEWEST_UNITS,
    bootstrap_intervals,
    holm,
    interquartile_mean,
    least_p,
    probability_of_improvement,
    sign_flip_p,
)
from rheobase.study.ranking.statistics import Comparison, compare, compare_arms

ARMS = {"no-dale": {"student.dale": False}, "no-rate": {"student.rate_weight": 0.0}}
SPEC = parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}, "ablation": {"arms": ARMS}})


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def records_of(trial_of, replicate_of):
    """Build the baseline and two arms; `no-rate` costs nothing on average."""

    def build(sessions, num_seeds):
        draw = np.random.default_rng(1)
        costs = {"baseline": 0.0, "no-dale": 0.1, "no-rate": 0.0}
        runs = [(seed, session) for session in sessions for seed in range(num_seeds)]
        base = draw.normal(0.8, 0.05, len(runs))
        return [
            trial_of(
                number,
                [
                    replicate_of(seed, base[i] + cost + draw.normal(0, 0.01), session)
                    for i, (seed, session) in enumerate(runs)
                ],
                stage="report",
                arm=arm,
            )
            for number, (arm, cost) in enumerate(costs.items())
        ]

    return build


@pytest.fixture
def records(records_of):
    """Eight seeds on one session."""
    return records_of("s", 8)


def without(record, *seeds):
    """Return a trial that was asked for the same seeds, of which some gave nothing."""
    kept = tuple(one for one in record.result.replicates if one.seed not in seeds)
    return record.model_copy(
        update={"result": record.result.model_copy(update={"replicates": kept})}
    )


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


def test_six_is_the_fewest_that_can_reach_5_percent():
    assert least_p(FEWEST_UNITS) <= 0.05 < least_p(FEWEST_UNITS - 1)
    assert least_p(0) == 1.0


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
    assert (found.unit, found.num_units, found.speaks_of) == ("seed", 8, "this recording")
    assert found.degrees_of_freedom == 7
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


def test_three_seeds_are_called_underpowered_and_told_of_what_they_speak(records_of):
    assert compare(SPEC, records_of("s", 3), "no-dale").notes == (
        "one recording: the interval speaks of it alone, not of others",
        "no held-out blocks are known: the interval holds the spread of seeds alone",
        "underpowered: 6 seeds are needed for p <= 0.05; this has 3: its least possible p is 0.25",
        "p is of flipped seeds: it speaks of other seeds on these blocks alone",
    )


def test_signs_are_flipped_of_whole_sessions_where_there_are_several(records_of):
    found = compare(SPEC, records_of("abcdef", 4), "no-dale")
    assert (found.num_pairs, found.unit, found.num_units) == (24, "session", 6)
    assert found.p_sign_flip == found.least_p == 2 / 2**6
    assert found.speaks_of == "recordings like these"
    assert found.degrees_of_freedom == 5
    assert found.notes == ()
    few = compare(SPEC, records_of("ab", 4), "no-dale")
    assert few.p_sign_flip == few.least_p == 0.5
    assert few.notes[1] == (
        "underpowered: 6 sessions are needed for p <= 0.05; this has 2: its least possible p is 0.5"
    )


def test_sessions_that_differ_are_no_evidence_however_many_seeds_agree(trial_of, replicate_of):
    # In half of the sessions every seed loses, in half every seed gains.
    sides = ("baseline", np.zeros(6)), ("no-dale", 0.1 * np.array([1, -1, 1, -1, 1, -1]))
    records = [
        trial_of(
            number,
            [
                replicate_of(seed, 0.5 + cost + seed / 1e4 * number, session)
                for session, cost in zip("abcdef", costs, strict=True)
                for seed in range(8)
            ],
            stage="report",
            arm=arm,
        )
        for number, (arm, costs) in enumerate(sides)
    ]
    found = compare(SPEC, records, "no-dale")
    assert found.p_sign_flip > 0.5
    assert found.ci95[0] < 0 < found.ci95[1]


def test_a_seed_that_failed_does_not_void_the_others(records):
    base, arm, _ = records
    found = compare(SPEC, [base, without(arm, 3)], "no-dale")
    whole = compare(SPEC, [without(base, 3), without(arm, 3)], "no-dale")
    assert found.num_pairs == found.num_units == 7
    assert found.ci95 == whole.ci95
    assert 3 not in found.seeds
    for one in (found, whole):
        assert "7 of 8 runs have a partner; the others are left out" in one.notes
    assert not [note for note in compare(SPEC, records, "no-dale").notes if "partner" in note]


def test_a_session_without_some_of_its_seeds_weighs_as_much_as_the_others(records_of):
    base, arm, _ = records_of("abcdef", 4)
    kept = [one for one in arm.result.replicates if one.session != "a" or one.seed == 2]
    fewer = arm.model_copy(
        update={"result": arm.result.model_copy(update={"replicates": tuple(kept)})}
    )
    found = compare(SPEC, [base, fewer], "no-dale")
    values = {(r.seed, r.session): r.cca_heldout for r in base.result.replicates}
    means = [
        np.mean([r.cca_heldout - values[r.seed, name] for r in kept if r.session == name])
        for name in "abcdef"
    ]
    assert found.mean_difference == pytest.approx(np.mean(means))
    assert found.mean_arm - found.mean_to == pytest.approx(found.mean_difference)
    assert (found.num_pairs, found.num_units) == (21, 6)


def test_seeds_that_all_differ_by_the_same_give_no_interval_of_width_zero(trial_of, replicate_of):
    records = [
        trial_of(
            number,
            [replicate_of(seed, 0.5 + seed / 100 + cost) for seed in range(8)],
            stage="report",
            arm=arm,
        )
        for number, (arm, cost) in enumerate([("baseline", 0.0), ("no-dale", 0.1)])
    ]
    found = compare(SPEC, records, "no-dale")
    assert found.ci95 is found.degrees_of_freedom is None
    assert any("every seed gives the same value" in note for note in found.notes)


def failed(record):
    return record.model_copy(update={"status": "failed", "result": None, "error": "no spikes"})


def test_an_arm_without_a_result_is_named_and_counted_in_holms_family(records):
    base, arm, other = records
    for kept, said in (
        ([base, arm, failed(other)], "no result on the report seeds: failed: no spikes; it counts"),
        ([base, arm], "no result on the report seeds: waiting; it counts"),
    ):
        found = compare_arms(SPEC, kept)
        assert [one.arm for one in found] == ["no-dale", "no-rate"]
        assert found[0].p_holm == 2 * found[0].p_sign_flip
        assert compare(SPEC, kept, "no-dale") == found[0]
        missing = found[1]
        assert missing.mean_difference is missing.ci95 is missing.p_sign_flip is None
        assert missing.p_holm is missing.speaks_of is missing.unit is None
        assert missing.num_pairs == missing.num_units == 0
        assert missing.notes[0].startswith(said)
        assert Comparison.model_validate_json(missing.model_dump_json()) == missing
    assert compare_arms(SPEC, [failed(base), arm, other]) == []


def test_a_control_without_a_result_costs_the_others_nothing(records):
    spec = SPEC.model_copy(
        update={"ablation": SPEC.ablation.model_copy(update={"baselines": ("gru",)})}
    )
    found = {one.arm: one for one in compare_arms(spec, records)}
    assert found["gru"].notes == ("no result on the report seeds: waiting",)
    assert found["no-dale"].p_holm == compare_arms(SPEC, records)[0].p_holm


def test_an_arm_that_is_the_baseline_is_no_hypothesis(records):
    arms = {**ARMS, "as-it-is": {"student.dale": True}}
    spec = SPEC.model_copy(update={"ablation": SPEC.ablation.model_copy(update={"arms": arms})})
    assert compare_arms(spec, records) == compare_arms(SPEC, records)


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
