"""What `plan` lists as hypotheses is what `compare` corrects for."""

import pytest

from rheobase.study.file.ablation import arms_of, controls_of, factors_of, hypotheses_of
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.contrasts import contrasts_of
from rheobase.study.ranking.effect_table import effects_of
from rheobase.study.ranking.statistics import compare, compare_arms

ARMS = {
    "a": {"student.excitatory_fraction": 0.5},
    "b": {"student.rate_weight": 0.0},
    "c": {"student.refractory_ms": 0.0},
}
STUDENT = {"refractory_ms": 5.0}


@pytest.mark.parametrize(
    "ablation",
    [
        {"arms": ARMS},
        {"arms": ARMS, "baselines": ["untrained", "no-dale"]},
        {"arms": ARMS, "design": "factorial", "baselines": ["gru"]},
        {"arms": ARMS, "design": "fractional", "resolution": 3},
        {"arms": ARMS, "design": "path"},
        {"arms": ARMS, "dose": {"student.num_neurons": [16, 32, 128]}},
        {"dose": {"student.num_neurons": [16, 32, 128]}},
    ],
)
def test_plan_and_compare_have_one_family(ablation):
    spec = parse_study(
        {"name": "x", "data": {"sessions": ["a.nwb"]}, "student": STUDENT, "ablation": ablation}
    )
    levels = factors_of(spec)
    dosed = [name for name in levels["baseline"] if name not in spec.ablation.arms]
    found = contrasts_of(
        spec.ablation.design, levels, dosed, spec.ablation.baselines, controls_of(spec)
    )
    assert {one.name for one in found if one.in_family} == set(hypotheses_of(spec))
    assert {arm for one in found for arm in one.weights} <= {"baseline", *arms_of(spec)}


@pytest.mark.parametrize(
    ("ablation", "tested"),
    [
        ({"arms": ARMS, "dose": {"student.num_neurons": [16, 32]}}, {"a", "b", "c"}),
        ({"arms": ARMS, "design": "factorial", "baselines": ["no-dale", "gru"]}, {"no-dale"}),
        ({"arms": ARMS, "design": "path"}, set()),
    ],
)
def test_arms_beside_the_baseline_are_corrected_over_the_plans_family(
    ablation, tested, trial_of, replicate_of
):
    spec = parse_study(
        {"name": "x", "data": {"sessions": ["a.nwb"]}, "student": STUDENT, "ablation": ablation}
    )
    records = [
        trial_of(
            number,
            [replicate_of(seed, 0.5 + number / 50 + seed**2 / 999 * number) for seed in range(9)],
            stage="report",
            arm=arm,
        )
        for number, arm in enumerate(["baseline", *arms_of(spec)])
    ]
    effects = effects_of(spec, records)
    assert effects.num_hypotheses == len(hypotheses_of(spec))
    found = {one.arm: one for one in compare_arms(spec, records)}
    assert {arm for arm, one in found.items() if one.p_holm is not None} == tested
    for one in effects.arms:
        assert found[one.name].p_holm == one.p_holm
        assert found[one.name].p_sign_flip == one.p_sign_flip
    for arm in tested:
        assert found[arm].p_holm == pytest.approx(len(hypotheses_of(spec)) * 2 / 2**9)
        assert compare(spec, records, arm) == found[arm]
