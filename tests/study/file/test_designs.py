from itertools import combinations

import numpy as np
import pytest

from rheobase.core.errors import StudyError
from rheobase.study.file.ablation import arms_of, factors_of, hypotheses_of, repeated_arms
from rheobase.study.file.designs import fraction
from rheobase.study.file.spec import dump_study, override_student, parse_study

FIVE = {
    "a": {"student.dale": False},
    "b": {"student.input_signs": "excitatory"},
    "c": {"student.rate_weight": 0.0, "student.rate_band_hz": [1.0, 50.0]},
    "d": {"student.refractory_ms": 20.0},
    "e": {"student.surrogate_slope": 50.0},
}


def study(student=None, space=None, **ablation):
    table = {"name": "x", "data": {"sessions": ["a.nwb"]}, "student": student or {}}
    return parse_study({**table, "search": {"space": space or {}}, "ablation": ablation})


def signs(part):
    """Return the design as -1 (kept) and +1 (lifted), the baseline first."""
    runs = [(), *part.runs()]
    return np.array([[1 if name in run else -1 for name in part.factors] for run in runs])


def least_confounded(table):
    """Return the fewest columns whose product is constant: the resolution, by brute force."""
    num = table.shape[1]
    for size in range(1, num + 1):
        for chosen in combinations(range(num), size):
            if abs(table[:, list(chosen)].prod(axis=1).sum()) == len(table):
                return size
    return num + 1


@pytest.mark.parametrize(
    ("num", "resolution", "num_runs"),
    # Box, Hunter and Hunter 2005, table 6.22: the smallest fractions of two-level factorials.
    [(3, 3, 4), (4, 4, 8), (5, 3, 8), (5, 5, 16), (6, 4, 16), (6, 5, 32), (7, 4, 16), (8, 5, 64)],
)
def test_a_fraction_is_the_smallest_of_its_resolution(num, resolution, num_runs):
    part = fraction("abcdefgh"[:num], resolution)
    table = signs(part)
    assert table.shape == (num_runs, num)
    assert len({*map(tuple, table)}) == num_runs
    assert (table[0] == -1).all()
    assert least_confounded(table) == part.resolution >= resolution
    effects = table.T @ table
    assert (effects == num_runs * np.eye(num)).all()


def test_fractions_of_a_maintained_library_are_no_smaller():
    pydoe = pytest.importorskip("pydoe")
    for num, resolution in ((5, 5), (6, 4), (7, 4)):
        assert len(signs(fraction("abcdefg"[:num], resolution))) <= len(
            pydoe.fracfact_by_res(num, resolution)
        )


def test_a_fractional_ablation_is_fifteen_arms_and_fifteen_questions():
    spec = study(design="fractional", arms=FIVE)
    arms, levels = arms_of(spec), factors_of(spec)
    assert len(arms) == 15
    assert list(levels) == ["baseline", *arms]
    for name, level in levels.items():
        assert {one for one, at in level.items() if at} == {*name.split("+")} - {"baseline"}
    asked = hypotheses_of(spec)
    assert list(asked)[:6] == ["a", "b", "c", "d", "e", "a x b"]
    assert len(asked) == 15
    assert asked["d x e"] == ("d", "e")
    assert list(hypotheses_of(study(design="fractional", resolution=3, arms=FIVE))) == [*"abcde"]
    assert parse_study(dump_study(spec)) == spec


def test_each_dose_is_an_arm_and_its_curve_one_question():
    dose = {"student.ei_balance": [0.5, 1, 2], "student.num_neurons": [32, 64]}
    spec = study({"ei_balance": 1.0}, dose=dose, arms={"a": FIVE["a"]}, baselines=["gru"])
    arms = ["a", "ei_balance=0.5", "ei_balance=1", "ei_balance=2", "num_neurons=32"]
    assert list(arms_of(spec)) == [*arms, "num_neurons=64", "gru"]
    levels = factors_of(spec)
    assert levels["baseline"] == {"a": 0.0, "ei_balance": 1.0, "num_neurons": 128.0}
    assert levels["ei_balance=2"] == {"a": 0.0, "ei_balance": 2.0, "num_neurons": 128.0}
    assert levels["gru"] == {}
    assert [*hypotheses_of(spec)] == ["a", "ei_balance", "num_neurons"]
    assert repeated_arms(spec) == {"ei_balance=1": "baseline"}
    assert arms_of(spec)["num_neurons=32"] == {"student.num_neurons": 32}


def test_an_arm_may_set_tuples_and_several_settings_at_once():
    spec = study(arms=FIVE)
    student = override_student(spec.student, arms_of(spec)["c"])
    assert student.rate_band_hz == (1.0, 50.0)
    assert student.rate_weight == 0.0


def test_arms_that_are_another_are_told_and_asked_nothing_of():
    arms = {"a": FIVE["a"], "same": FIVE["a"], "weight": {"student.rate_weight": 0.3}}
    space = {"student.rate_weight": {"low": 0.1, "high": 1.0}}
    spec = study(space=space, arms=arms)
    assert repeated_arms(spec) == {"same": "a"}
    assert [*hypotheses_of(spec)] == ["a", "weight"]
    chosen = override_student(spec.student, {"student.rate_weight": 0.3})
    assert repeated_arms(spec, chosen) == {"same": "a", "weight": "baseline"}
    assert [*hypotheses_of(spec, chosen)] == ["a"]
    whole = study(space=space, arms={"a": FIVE["a"], "w": arms["weight"]}, design="factorial")
    assert [*hypotheses_of(whole)] == ["a", "w", "a x w"]
    assert [*hypotheses_of(whole, chosen)] == ["a"]
    assert repeated_arms(whole, chosen) == {"w": "baseline", "a+w": "a"}


BALANCE = {"student.ei_balance": [0.5, 1]}


@pytest.mark.parametrize(
    ("ablation", "student", "said"),
    [
        ({"design": "fractional", "arms": {**dict([*FIVE.items()][:4])}}, {}, "whole; use design"),
        ({"design": "path", "resolution": 4, "arms": FIVE}, {}, "is of design = 'fractional'"),
        ({"order": "effect", "arms": FIVE}, {}, "order = 'effect' is of design = 'path' alone"),
        (
            {"design": "path", "order": "effect", "mode": "retuned", "arms": FIVE},
            {},
            "but mode is 'retuned'",
        ),
        ({"dose": {"student.ei_balance": [1]}}, {}, "must have two levels at least, all different"),
        ({"dose": {"student.ei_balance": [1, 1]}}, {}, "all different, but has [1.0, 1.0]"),
        ({"dose": {"student.ei_balance": [-1, 1]}}, {}, "[ablation.dose.student.ei_balance]: "),
        ({"dose": {"student.num_neurons": [32.5, 64]}}, {}, "must be whole numbers"),
        ({"dose": {"student.dale": [0, 1]}}, {}, "must be a number, but is True; use arms"),
        ({"dose": {"student.balance": [0, 1]}}, {}, "unknown key 'student.balance'"),
        ({"dose": BALANCE, "arms": {"ei_balance": FIVE["a"]}}, {}, "'ei_balance' is there twice"),
        (
            {
                "design": "factorial",
                "arms": {
                    "off": {"student.recurrence": "none"},
                    "excitatory": {"student.input_signs": "excitatory"},
                },
            },
            {"ei_balance": 1.0},
            "design = 'factorial' asks for off+excitatory]: ei_balance = 1 of currents must be",
        ),
    ],
)
def test_a_design_that_cannot_be_run_is_told_in_one_line(ablation, student, said):
    with pytest.raises(StudyError) as caught:
        study(student, **ablation)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_factors_than_can_be_combined_are_refused():
    arms = {f"a{at}": {"student.surrogate_slope": 6.0 + at} for at in range(40)}
    with pytest.raises(StudyError, match="combines 10 arms at most, but got 40"):
        study(arms=arms, design="factorial")


def test_a_dosed_setting_is_not_searched():
    space = {"student.ei_balance": {"low": 0.5, "high": 1.0}}
    with pytest.raises(StudyError, match="but it is searched; leave one of the two out"):
        study({"ei_balance": 1.0}, space, dose=BALANCE)
