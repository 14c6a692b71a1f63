import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_1samp

from rheobase.core.errors import StudyError
from rheobase.study.file.spec import parse_study
from rheobase.study.planning.plan import Spread
from rheobase.study.planning.power import power, smallest_dz, units_for
from rheobase.study.planning.spread import pilot_spread, spread_of
from rheobase.study.planning.work import work_of
from rheobase.study.ranking.resampling import sign_flip_p

ARMS = {
    "a": {"student.dale": False},
    "b": {"student.rate_weight": 0.0},
    "c": {"student.refractory_ms": 20.0},
    "d": {"student.surrogate_slope": 20.0},
    "e": {"student.tau_mem_ms": 10.0},
}


def study(num_seeds=10, **ablation):
    return parse_study(
        {
            "name": "s",
            "data": {"sessions": ["x.npz"]},
            "ablation": {"design": "fractional", "arms": ARMS, **ablation},
            "seeds": {"report": list(range(10, 10 + num_seeds))},
        }
    )


def test_power_is_that_of_the_sign_flip_test_itself():
    draw = np.random.default_rng(5)
    found = [
        permutation_test(
            (draw.standard_normal(7) + 1.3,),
            np.mean,
            permutation_type="samples",
            n_resamples=np.inf,
        ).pvalue
        for _ in range(400)
    ]
    assert power(1.3, 7, 0.05) == pytest.approx(np.mean(np.array(found) <= 0.05), abs=0.06)


def test_power_of_many_units_is_that_of_the_t_test():
    draw = np.random.default_rng(6)
    p = ttest_1samp(draw.standard_normal((4000, 60)) + 0.4, 0, axis=1).pvalue
    assert power(0.4, 60, 0.01) == pytest.approx((p <= 0.01).mean(), abs=0.03)


def test_power_of_flips_that_are_drawn_is_that_of_the_exact_test():
    draw = np.random.default_rng(9)
    level = 0.05 / 15
    found = [sign_flip_p(draw.standard_normal(13) + 1.2, draw) <= level for _ in range(1000)]
    assert power(1.2, 13, level) == pytest.approx(np.mean(found), abs=0.05)


def test_simulation_and_t_agree_where_they_meet():
    for level in (0.05, 0.05 / 15):
        assert power(0.5, 40, level) == pytest.approx(power(0.5, 41, level), abs=0.05)


def test_without_effect_power_is_the_level_and_it_rises():
    assert power(0.0, 10, 0.05) == pytest.approx(0.05, abs=0.015)
    assert power(3.0, 5, 0.05) == 0.0  # five units never reach it
    rising = [power(d_z, 10, 0.01) for d_z in (0.2, 0.8, 1.4, 2.0)]
    assert rising == sorted(rising)


def test_the_smallest_effect_and_the_units_it_takes_are_each_other_s_inverse():
    for num in (10, 60):
        smallest = smallest_dz(num, 0.01)
        assert power(smallest, num, 0.01) >= 0.8 > power(smallest - 0.03, num, 0.01)
        assert units_for(smallest, 0.01) == num
    assert smallest_dz(5, 0.05) is None
    assert units_for(0.01, 0.05) is None


def test_a_plan_tells_family_power_and_units():
    work = work_of(study(), 1)
    assert (work.num_tested, len(work.hypotheses)) == (15, 15)
    assert work.least_p_after_holm == pytest.approx(15 * 2 / 2**10)
    assert work.design.generators == {"e": ("a", "b", "c", "d")}
    assert work.power.num_units_for_alpha == 10
    assert power(work.power.smallest_dz, 10, 0.05 / 15) >= 0.8
    assert work.power.smallest_effect is None
    spread = Spread(of_seeds=0.04, of_sessions=None, num_trials=1, source="a pilot")
    told = work_of(study(), 1, spread).power
    # Sixteen cells: the contrast's variance is 4 / 16 of one cell's, of which a difference has 2.
    assert told.unit_sd == pytest.approx(0.04 * np.sqrt(2 / 16))
    assert told.smallest_effect == pytest.approx(told.smallest_dz * told.unit_sd)
    assert told.num_units_for_least_effect == units_for(0.02 / told.unit_sd, 0.05 / 15)
    several = work_of(study(), 12, spread).power
    assert several.unit == "sessions"
    assert several.unit_sd == pytest.approx(0.04 * np.sqrt(2 / 16 / 10))
    assert any("one session" in note for note in several.notes)


def test_a_plan_without_ablation_has_no_power():
    spec = parse_study({"name": "s", "data": {"sessions": ["x.npz"]}})
    assert work_of(spec, 1).power is None


def test_what_noise_of_training_does_to_a_contrast_is_what_the_plan_says():
    draw = np.random.default_rng(7)
    cells = 0.04 / np.sqrt(2) * draw.standard_normal((20_000, 16))
    contrast = cells[:, :8].mean(axis=1) - cells[:, 8:].mean(axis=1)
    spread = Spread(of_seeds=0.04, of_sessions=None, num_trials=1, source="a pilot")
    assert work_of(study(), 1, spread).power.unit_sd == pytest.approx(contrast.std(), rel=0.03)


def test_the_spread_of_seeds_and_of_sessions_is_told_apart(recorded):
    draw = np.random.default_rng(8)
    num_seeds, num_sessions = 30, 60
    of_session = 0.03 * draw.standard_normal(num_sessions)
    noise = 0.05 * draw.standard_normal((num_sessions, num_seeds))
    flat = np.zeros((num_sessions, num_seeds))
    records = [recorded("baseline", flat), recorded("a", 0.1 + of_session[:, None] + noise)]
    found = spread_of(records, "r")
    assert found.of_seeds == pytest.approx(0.05, rel=0.05)
    assert found.of_sessions == pytest.approx(0.03, rel=0.25)
    assert found.source == "1 arms of run r"
    one = spread_of([recorded("baseline", flat[:1]), recorded("a", noise[:1])])
    assert one.of_sessions is None
    assert spread_of(records[:1]) is None
    assert spread_of([records[0], recorded("gru", noise)]) is None  # a control is no pilot


def test_a_pilot_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(StudyError, match="the folder of a run must be named, but has no ledger"):
        pilot_spread(study(), tmp_path)
