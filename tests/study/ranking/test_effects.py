from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_1samp

from rheobase.core.errors import StudyError
from rheobase.study.file.ablation import arms_of
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.contrasts import contrasts_of
from rheobase.study.ranking.effect_table import effects_of
from rheobase.study.ranking.effects import effect_of, hodges_lehmann
from rheobase.study.ranking.intervals import Runs
from rheobase.study.ranking.measured import measures_of, value_of
from rheobase.study.ranking.resampling import holm
from rheobase.study.records.result import Decoding, FailedReplicate

ARMS = {
    "T": {"student.dale": False},
    "C": {"student.rate_weight": 0.0},
    "K": {"student.surrogate_slope": 100.0},
}
# Box, Hunter & Hunter 1978, Statistics for Experimenters, table 10.1: yield of a pilot plant by
# temperature, concentration and catalyst, two runs of each.
YIELDS = {
    "baseline": (59, 61),
    "T": (74, 70),
    "C": (50, 58),
    "T+C": (69, 67),
    "K": (50, 54),
    "T+K": (81, 85),
    "C+K": (46, 44),
    "T+C+K": (79, 81),
}
THEIR_EFFECTS = {"T": 23.0, "C": -5.0, "K": 1.5, "T x C": 1.5, "T x K": 10.0, "C x K": 0.0}


def study(design, **more):
    ablation = {"arms": ARMS, "design": design, **more}
    return parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}, "ablation": ablation})


FACTORIAL = study("factorial")


@pytest.fixture
def records_of(trial_of, replicate_of):
    """Build the trial of each arm from its values by (session, seed)."""

    def build(values):
        return [
            trial_of(
                number,
                [replicate_of(seed, value, session) for (session, seed), value in found.items()],
                stage="report",
                arm=arm,
            )
            for number, (arm, found) in enumerate(values.items())
        ]

    return build


@pytest.fixture
def drawn():
    """Values of every arm of the factorial: T costs 0.05, C and K nothing."""
    draw = np.random.default_rng(0)
    runs = [(session, seed) for session in "abcdefg" for seed in range(3)]
    return {
        arm: {run: 0.8 + 0.05 * ("T" in arm) + draw.normal(0, 0.01) for run in runs}
        for arm in ("baseline", *arms_of(FACTORIAL))
    }


def test_effects_of_the_textbooks_pilot_plant(records_of):
    values = {arm: {("s", n): float(y) for n, y in enumerate(ys)} for arm, ys in YIELDS.items()}
    found = effects_of(FACTORIAL, records_of(values))
    assert [one.name for one in found.main_effects] == ["T", "C", "K"]
    assert {one.name: one.mean for one in found.rows} == pytest.approx(THEIR_EFFECTS)
    assert found.num_hypotheses == 6
    assert not any(one.aliases for one in found.rows)


def test_p_is_scipys_paired_permutation_test(records_of, drawn):
    found = effects_of(FACTORIAL, records_of(drawn))
    for one in found.rows:
        factors = one.factors
        units = []
        for session in "abcdefg":
            signed = [
                np.prod([1 if name in arm.split("+") else -1 for name in factors]) / 4 * value
                for arm, runs in drawn.items()
                for (of, _), value in runs.items()
                if of == session
            ]
            units.append(sum(signed) / 3)
        expected = permutation_test(
            (units, np.zeros(7)),
            lambda x, y: np.mean(x - y),
            permutation_type="samples",
            n_resamples=np.inf,
        )
        assert one.p_sign_flip == pytest.approx(expected.pvalue)
        assert one.mean == pytest.approx(np.mean(units))
        assert one.d_z == pytest.approx(np.mean(units) / np.std(units, ddof=1))
        assert one.hodges_lehmann == pytest.approx(
            np.median([(x + y) / 2 for i, x in enumerate(units) for y in units[i:]])
        )
        tests = [
            ttest_1samp(np.array(units) + 0.02, 0, alternative="greater").pvalue,
            ttest_1samp(np.array(units) - 0.02, 0, alternative="less").pvalue,
        ]
        assert one.equivalence.p == pytest.approx(max(tests))
    effect, nothing, _ = found.main_effects
    assert effect.p_holm == pytest.approx(6 * 2 / 2**7)
    assert effect.probability_of_improvement == 1.0
    assert not effect.equivalence.is_equivalent
    assert nothing.equivalence.is_equivalent


def test_holm_is_the_closed_test_of_bonferroni():
    p = np.random.default_rng(0).uniform(0, 0.3, 6)
    subsets = [one for size in range(1, 7) for one in combinations(range(6), size)]
    expected = [
        min(1.0, max(len(one) * min(p[list(one)]) for one in subsets if at in one))
        for at in range(6)
    ]
    assert holm(p.tolist()) == pytest.approx(expected)


def test_equivalence_is_where_the_90_percent_interval_lies_within_the_margin(records_of, drawn):
    inside = effects_of(FACTORIAL, records_of(drawn)).main_effects[1].equivalence
    reach = max(abs(end) for end in inside.ci90)
    for margin, p in ((reach * 1.001, True), (reach * 0.999, False)):
        found = effects_of(FACTORIAL, records_of(drawn), margin=margin).main_effects[1]
        assert (found.equivalence.p < 0.05) == p


def test_no_order_changes_a_number(records_of, drawn):
    found = effects_of(FACTORIAL, records_of(drawn))
    turned = {arm: dict(reversed(runs.items())) for arm, runs in reversed(drawn.items())}
    assert effects_of(FACTORIAL, records_of(turned)) == found


def test_a_pair_that_one_arm_lacks_is_left_out_and_told(records_of, drawn):
    del drawn["T+K"]["c", 2]
    found = effects_of(FACTORIAL, records_of(drawn))
    for one in found.rows:
        assert (one.num_pairs, one.num_asked) == (20, 21)
    assert any("20 of 21 seeds and sessions" in note for note in found.rows[0].notes)
    (missing,) = found.missing
    assert (missing.arm, missing.runs, missing.can_be_run) == ("T+K", ((2, "c"),), False)
    assert found.command is None


def test_an_arm_that_has_not_run_costs_its_effects_and_names_the_command(records_of, drawn):
    del drawn["T+K"]
    found = effects_of(FACTORIAL, records_of(drawn))
    assert all(one.mean is None and one.p_holm is None for one in found.rows)
    assert found.num_hypotheses == 6
    assert found.missing[0].arm == "T+K"
    assert len(found.missing[0].runs) == 21
    assert found.command == "rheobase run RUN/study.toml --out RUN --resume"


def test_an_arm_whose_every_seed_failed_stays_in_the_family(records_of, drawn, trial_of):
    alone = study("leave-one-out")
    kept = {arm: drawn[arm] for arm in ("baseline", "T", "C")}
    failed = trial_of(9, status="failed", stage="report", arm="K")
    found = effects_of(alone, [*records_of(kept), failed])
    assert [one.kind for one in found.arms] == ["arm"] * 3
    assert found.arms[0].p_holm == pytest.approx(3 * 2 / 2**7)
    assert found.arms[2].mean is None
    assert "counts as p = 1" in found.arms[2].notes[0]
    assert found.missing[0].why == "the loss must stay finite"
    assert not found.missing[0].can_be_run


def test_failed_seeds_say_why(records_of, drawn):
    records = records_of(drawn)
    lacks = records[1].result.model_copy(
        update={
            "replicates": records[1].result.replicates[:-1],
            "failed": (FailedReplicate(seed=2, session="g", reason="it was not finite"),),
        }
    )
    records[1] = records[1].model_copy(update={"result": lacks})
    assert effects_of(FACTORIAL, records).missing[0].why == "it was not finite"


def test_steps_of_a_path_are_differences_of_neighbours(records_of):
    values = {
        arm: {("s", seed): at + 0.01 * seed for seed in range(6)}
        for arm, at in (("baseline", 0.5), ("T", 0.6), ("T+C", 0.55), ("T+C+K", 0.8))
    }
    found = effects_of(study("path"), records_of(values))
    assert [one.name for one in found.steps] == ["T", "T+C", "T+C+K"]
    assert [one.mean for one in found.steps] == pytest.approx([0.1, -0.05, 0.25])


def test_controls_are_told_and_are_no_hypothesis(records_of, drawn):
    spec = study("leave-one-out", baselines=["untrained", "no-dale"])
    values = {arm: drawn[arm] for arm in ("baseline", "T", "C", "K")}
    values |= {"untrained": drawn["T+C"], "no-dale": drawn["T+K"]}
    found = effects_of(spec, records_of(values))
    in_family = {one.name: one.in_family for one in found.arms}
    assert in_family == {"T": True, "C": True, "K": True, "untrained": False,
                         "no-dale": True}  # fmt: skip
    assert found.num_hypotheses == 4
    assert found.arms[3].p_holm is None


def test_an_arm_that_is_the_baseline_is_no_hypothesis(records_of, drawn):
    # The search chose the slope that K sets: the baseline has it already.
    records = [
        one.model_copy(
            update={
                "request": one.request.model_copy(
                    update={
                        "student": {
                            "surrogate_slope": 100.0,
                            "dale": "T" not in one.request.arm,
                            **({"rate_weight": 0.0} if "C" in one.request.arm else {}),
                        }
                    }
                )
            }
        )
        for one in records_of({arm: drawn[arm] for arm in ("baseline", "T", "C", "T+C")})
    ]
    found = effects_of(FACTORIAL, records)
    assert [one.name for one in found.rows] == ["T", "C", "T x C"]
    assert found.num_hypotheses == 3
    assert "K: changes nothing of the baseline; it is no hypothesis" in found.notes
    assert not found.missing


def test_an_arm_that_is_another_is_told_with_it_and_is_no_hypothesis_of_its_own(records_of, drawn):
    spec = study("leave-one-out", baselines=["no-dale"])
    records = records_of({arm: drawn[arm] for arm in ("baseline", "T", "C", "K")})
    changed = records[1].request.model_copy(update={"student": {"dale": False}})
    records[1] = records[1].model_copy(update={"request": changed})
    found = effects_of(spec, records)
    own, again = found.arms[0], found.arms[3]
    assert (own.name, again.name) == ("T", "no-dale")
    assert again.mean == own.mean
    assert not again.in_family
    assert found.num_hypotheses == 3
    assert own.p_holm == pytest.approx(3 * own.p_sign_flip)


def test_no_difference_is_less_than_the_least_effect_that_was_planned_for(records_of, drawn):
    values = {arm: drawn[arm] for arm in ("baseline", "T", "C", "K")}
    found = effects_of(study("leave-one-out", least_effect=0.1), records_of(values))
    assert found.margin == 0.1
    assert found.arms[0].equivalence.is_equivalent  # 0.05, which 0.02 would not hold


def fraction(names, word):
    """Return the levels of a half fraction whose last factor is lifted with an odd many others."""
    rows = {}
    for bits in product((0, 1), repeat=len(names) - 1):
        row = dict(zip(names, (*bits, sum(bits) % 2), strict=True))
        rows["+".join(name for name in names if row[name]) or "baseline"] = row
    assert word == (len(rows), len(names))
    return rows


def test_a_half_fraction_of_five_factors_tells_fifteen_effects_apart():
    found = contrasts_of("fractional", fraction("abcde", (16, 5)))
    assert len(found) == 15
    assert all(one.in_family and not one.aliases for one in found)


def test_confounded_effects_are_told_and_their_interactions_are_no_hypothesis():
    found = {one.name: one for one in contrasts_of("fractional", fraction("abc", (4, 3)))}
    assert found["c"].aliases == ("-a x b",)
    assert found["a x b"].aliases == ("-c",)
    assert {name: one.in_family for name, one in found.items()} == {
        "a": True, "b": True, "c": True, "a x b": False, "a x c": False, "b x c": False,
    }  # fmt: skip


def test_a_fraction_finds_planted_effects():
    levels = fraction("abcde", (16, 5))
    planted = {"a": 0.1, "c": -0.04, "b x e": 0.02}
    seeds = range(6)
    arms = {}
    for arm, row in levels.items():
        signs = {name: 2 * row[name] - 1 for name in row}
        level = 0.7 + sum(
            value / 2 * np.prod([signs[factor] for factor in name.split(" x ")])
            for name, value in planted.items()
        )
        arms[arm] = Runs([level + 0.01 * seed for seed in seeds], ["s"] * 6)
    random = np.random.default_rng(0)
    for one in contrasts_of("fractional", levels):
        found = effect_of(one, arms, [*seeds], 6, 0.02, random)
        assert found.mean == pytest.approx(planted.get(one.name, 0.0), abs=1e-12)


def test_a_trend_is_the_slope_of_the_line_through_its_levels():
    levels = {
        "baseline": {"ei_balance": 1.0},
        "ei_balance=0.5": {"ei_balance": 0.5},
        "ei_balance=3": {"ei_balance": 3.0},
    }
    (trend,) = contrasts_of("leave-one-out", levels, dosed=["ei_balance"])
    draw = np.random.default_rng(0)
    values = {arm: draw.normal(0.1 * row["ei_balance"], 0.01, 6) for arm, row in levels.items()}
    arms = {arm: Runs(found.tolist(), ["s"] * 6) for arm, found in values.items()}
    found = effect_of(trend, arms, [*range(6)], 6, None, draw)
    slopes = [np.polyfit([1.0, 0.5, 3.0], [one[n] for one in values.values()], 1)[0]
              for n in range(6)]  # fmt: skip
    assert found.slope == pytest.approx(np.mean(slopes))
    assert found.mean == pytest.approx(np.mean(slopes) * 2.5)
    assert found.p_sign_flip == 2 / 2**6
    assert found.probability_of_improvement is None


def test_a_repeated_level_of_a_dose_is_no_arm_of_it():
    levels = {"baseline": {"x": 1.0}, "x=1": {"x": 1.0}, "x=2": {"x": 2.0}}
    (trend,) = contrasts_of("leave-one-out", levels, dosed=["x"])
    assert [*trend.weights] == ["baseline", "x=2"]


def test_blocks_of_every_arm_widen_the_interval(replicate_of, trial_of):
    draw = np.random.default_rng(0)
    moved = draw.normal(0, 0.1, 12)  # by block, where C is lifted

    def records(with_blocks):
        return [
            trial_of(
                number,
                [
                    replicate_of(
                        seed,
                        0.8 + 0.001 * seed * (number + 1),
                        blocks=tuple(0.8 + 0.001 * seed + moved * ("C" in arm)) * with_blocks,
                    )
                    for seed in range(8)
                ],
                stage="report",
                arm=arm,
            )
            for number, arm in enumerate(("baseline", "T", "C", "K"))
        ]  # fmt: skip

    spec = study("leave-one-out")
    wide, narrow = (effects_of(spec, records(whether)).arms for whether in (1, 0))
    width = [[one.ci95[1] - one.ci95[0] for one in arms] for arms in (wide, narrow)]
    assert width[0][1] > 5 * width[1][1]
    assert "no held-out blocks" in narrow[0].notes[1]


def test_any_measure_of_a_replicate_has_effects(replicate_of, trial_of, drawn):
    probes = {"image": (0.5, 0.5), "change": (0.3, 0.5), "running": (0.9, 0.01)}
    decoding = {
        name: Decoding(student=student, teacher=teacher, chance=None, num_scored=100)
        for name, (student, teacher) in probes.items()
    }
    one = replicate_of(0, 0.6, cv_isi=0.9, decoding=decoding, ei_current_balance=1.5)
    expected = {
        "gain": 0.4,
        "closed": 0.5,
        "above_linear": -0.3,
        "rate_hz": 10.0,
        "in_band": 1.0,
        "cv_isi": 0.9,
        "ei_current_balance": 1.5,
        "decoding": 0.5,  # of the two that the teacher tells
        "decoding:change": 0.3,
        "active:rate_hz": 10.0,
    }
    assert {name: value_of(one, name) for name in expected} == pytest.approx(expected)
    assert expected.keys() <= {*measures_of([one])}
    assert value_of(one, "reliability") is None
    assert value_of(one, "decoding:nobody") is None
    records = [
        trial_of(
            number,
            [replicate_of(seed, 0.5, cv_isi=0.8 + at + 0.01 * seed) for seed in range(6)],
            stage="report",
            arm=arm,
        )
        for number, (arm, at) in enumerate((("baseline", 0), ("T", 0.1), ("C", 0), ("K", 0)))
    ]
    found = effects_of(study("leave-one-out"), records, "cv_isi")
    assert found.arms[0].mean == pytest.approx(0.1)
    assert found.margin is None
    assert found.arms[0].equivalence is None


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"measure": "gian"}, "Did you mean 'gain'?"),
        ({"margin": 0.0}, "a margin must be above 0, but got 0"),
    ],
)
def test_what_cannot_be_asked_is_told(records_of, drawn, more, told):
    with pytest.raises(StudyError, match="x: ") as caught:
        effects_of(FACTORIAL, records_of(drawn), **more)
    assert told in str(caught.value)


def test_effects_need_an_ablation_and_its_baseline(records_of, drawn):
    none = parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}})
    with pytest.raises(StudyError, match="must be of an"):
        effects_of(none, records_of(drawn))
    with pytest.raises(StudyError, match="'baseline' must have a complete trial"):
        effects_of(FACTORIAL, records_of(drawn)[1:])


def test_hodges_lehmann_of_one_value_is_it():
    assert hodges_lehmann(np.array([2.0])) == 2.0


def test_of_one_recording_the_intervals_p_judges_where_blocks_differ(replicate_of, trial_of):
    """Every seed agrees on these blocks, which disagree: flips find what the recording has not."""
    alone = parse_study(
        {"name": "x", "data": {"sessions": ["a.nwb"]}, "ablation": {"arms": {"T": ARMS["T"]}}}
    )
    draw = np.random.default_rng(0)
    blocks = np.array([0.3, -0.2, 0.25, -0.15])
    found = []
    for number, lift in enumerate((0.0, 1.0)):
        rows = lift * blocks + 0.5 + 1e-3 * draw.standard_normal((8, 4))
        replicates = [
            replicate_of(seed, float(row.mean()), blocks=tuple(row.tolist()))
            for seed, row in enumerate(rows)
        ]
        found.append(trial_of(number, replicates, stage="report", arm=("baseline", "T")[number]))
    (one,) = effects_of(alone, found).arms
    assert one.p_holm == 2 / 2**8
    assert one.p_interval_holm == one.p_interval > 0.05
    low, high = one.ci95
    assert low < 0 < high
    assert "of other blocks of the recording p is" in one.notes[-1]


def test_the_intervals_p_is_scipys_t_test_of_sessions(records_of, drawn):
    found = effects_of(FACTORIAL, records_of(drawn))
    one = found.main_effects[0]
    units = []
    for session in "abcdefg":
        of = {arm: np.mean([runs[session, seed] for seed in range(3)])
              for arm, runs in drawn.items()}  # fmt: skip
        units.append(sum((1 if "T" in arm else -1) * mean for arm, mean in of.items()) / 4)
    assert one.p_interval == pytest.approx(ttest_1samp(units, 0).pvalue)
    family = [row.p_interval for row in found.rows]
    assert [row.p_interval_holm for row in found.rows] == pytest.approx(holm(family))
