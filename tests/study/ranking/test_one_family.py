"""What `plan` lists as hypotheses is what `compare` corrects for."""

import pytest

from rheobase.study.file.ablation import arms_of, controls_of, factors_of, hypotheses_of
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.contrasts import contrasts_of

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
