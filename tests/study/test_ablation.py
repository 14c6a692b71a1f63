import pytest

from rheobase.core.errors import StudyError
from rheobase.study.ablation import arms_of
from rheobase.study.spec import parse_study

ARMS = {
    "no-dale": {"student.dale": False},
    "no-rate": {"student.rate_weight": 0.0},
    "small": {"student.num_neurons": 32, "student.threshold": 2.0},
}


def study(**ablation):
    table = {"name": "x", "data": {"sessions": ["a.nwb"]}}
    return parse_study({**table, "ablation": ablation} if ablation else table)


def test_a_study_without_ablation_has_no_arms():
    assert arms_of(study()) == {}


def test_leave_one_out_is_the_arms_as_written():
    assert arms_of(study(arms=ARMS)) == ARMS


def test_a_factorial_is_every_combination_once():
    found = arms_of(study(arms=ARMS, design="factorial"))
    assert list(found) == [
        "no-dale",
        "no-rate",
        "small",
        "no-dale+no-rate",
        "no-dale+small",
        "no-rate+small",
        "no-dale+no-rate+small",
    ]
    assert found["no-rate+small"] == {**ARMS["no-rate"], **ARMS["small"]}
    assert found["no-dale+no-rate+small"] == {k: v for arm in ARMS.values() for k, v in arm.items()}


def test_a_path_adds_one_arm_after_another():
    found = arms_of(study(arms=ARMS, design="path"))
    assert list(found) == ["no-dale", "no-dale+no-rate", "no-dale+no-rate+small"]
    assert found["no-dale+no-rate"] == {**ARMS["no-dale"], **ARMS["no-rate"]}


@pytest.mark.parametrize("design", ["factorial", "path"])
def test_arms_that_disagree_on_a_setting_cannot_be_combined(design):
    arms = {"low": {"student.rate_weight": 0.0}, "high": {"student.rate_weight": 1.0}}
    assert arms_of(study(arms=arms)) == arms
    with pytest.raises(StudyError, match="must agree on a setting, but 'student"):
        arms_of(study(arms=arms, design=design))


def test_a_name_that_looks_like_a_combination_is_refused():
    arms = {"a": {"student.dale": False}, "a+b": {"student.steps": 2}}
    with pytest.raises(StudyError, match=r"must not hold '\+'"):
        arms_of(study(arms=arms, design="factorial"))
