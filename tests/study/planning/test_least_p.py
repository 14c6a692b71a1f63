import pytest

from rheobase.core.errors import StudyError
from rheobase.study.file.spec import parse_study
from rheobase.study.planning.least_p import least_p_of, refuse_underpowered

THREE = {
    "a": {"student.dale": False},
    "b": {"student.rate_weight": 0.0},
    "c": {"student.surrogate_slope": 50.0},
}


FOUR = THREE | {"d": {"student.refractory_ms": 20.0}}


def study(num_seeds, design="factorial", arms=FOUR, **ablation):
    return parse_study(
        {
            "name": "s",
            "data": {"sessions": ["x.npz"]},
            "ablation": {"design": design, "arms": arms, **ablation},
            "seeds": {"report": list(range(10, 10 + num_seeds))},
        }
    )


def test_four_main_effects_and_six_interactions_take_nine_seeds():
    eight, nine = study(8), study(9)
    assert least_p_of(eight, 1).after_holm == pytest.approx(10 * 2 / 2**8)
    assert least_p_of(eight, 1).num_needed == 9
    with pytest.raises(
        StudyError, match="after Holm over 10 hypotheses, which takes 9 report seeds"
    ) as it:
        refuse_underpowered(eight, 1)
    assert "\n" not in str(it.value)
    refuse_underpowered(nine, 1)


def test_controls_are_no_part_of_the_family():
    assert least_p_of(study(8, baselines=["untrained", "gru"]), 1).num_tested == 10


@pytest.mark.parametrize("num", range(1, 40))
def test_what_is_needed_is_the_least_that_reaches_it(num):
    arms = {f"a{at}": {"student.surrogate_slope": 6.0 + at} for at in range(num)}
    least = least_p_of(study(8, "leave-one-out", arms), 1)
    assert num * 2 / 2**least.num_needed <= 0.05 < num * 2 / 2 ** (least.num_needed - 1)


def test_several_sessions_are_what_is_flipped():
    with pytest.raises(StudyError, match="takes 6 sessions, but has 3"):
        refuse_underpowered(study(8, "leave-one-out", {"a": THREE["a"]}), 3)
