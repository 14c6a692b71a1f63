import numpy as np
import pytest

from rheobase.measures.firing import (
    cv_isi,
    ei_weight_balance,
    firing_rates,
    mean_correlation,
    rate_summary,
    total_violation,
    violations,
    worst_violations,
)

BAND = (5.0, 20.0)


def broken(rates):
    found = violations({"active": np.array(rates, float)}, BAND, 0, 9, True)
    return {name for name, value in found.items() if value > 0}


def test_a_spike_in_every_tenth_bin_of_10_ms_is_10_hz():
    spikes = np.zeros((1000, 2), np.uint8)
    spikes[::10, 1] = 1
    np.testing.assert_allclose(firing_rates(spikes, 10.0), [0.0, 10.0])


def test_a_network_inside_the_band_is_feasible():
    assert broken([5.0, 10.0, 20.0, 12.0]) == set()


def test_half_silent_and_half_at_40_hz_is_infeasible_though_its_mean_is_20():
    rates = np.repeat([0.0, 40.0], 64)
    assert rate_summary(rates, BAND).mean == 20.0
    assert broken(rates) == {"active:in_band", "active:silent"}


@pytest.mark.parametrize(
    ("rates", "line"),
    [
        ([4.0] * 20, "active:rate_low"),
        ([21.0] * 20, "active:rate_high"),
        ([10.0] * 18 + [60.0] * 2, "active:saturated"),
        ([10.0] * 18 + [0.4] * 2, "active:silent"),
        ([10.0] * 15 + [21.0] * 5, "active:in_band"),
    ],
)
def test_each_line_is_broken_by_its_own_fault(rates, line):
    assert line in broken(rates)


def test_one_wrong_sign_or_one_nan_is_infeasible():
    rates = {"active": np.full(10, 10.0)}
    assert violations(rates, BAND, 1, 4000, True)["dale"] == 1 / 4000
    assert violations(rates, BAND, 0, 0, True)["dale"] == 0
    assert violations(rates, BAND, 0, 9, False)["finite"] > 0


def test_poisson_firing_at_fine_bins_has_a_cv_of_one():
    spikes = np.random.default_rng(0).random((400_000, 6)) < 0.01
    assert cv_isi(spikes, np.zeros(400_000, int)) == pytest.approx(1, abs=0.02)


def test_gamma_intervals_of_shape_four_have_a_cv_of_one_half():
    at = np.cumsum(np.random.default_rng(0).gamma(4, 50, 5000)).astype(int)
    spikes = np.zeros((at[-1] + 1, 1), np.uint8)
    spikes[at] = 1
    assert cv_isi(spikes, np.zeros(len(spikes), int)) == pytest.approx(0.5, abs=0.02)


def test_no_interval_crosses_from_one_stretch_into_the_next():
    run = np.repeat(np.arange(20), 100)
    clock = np.zeros((2000, 1), np.uint8)
    for number in range(20):  # each stretch starts at another phase
        clock[100 * number + number % 10 : 100 * (number + 1) : 10] = 1
    assert cv_isi(clock, run) == 0.0
    assert cv_isi(clock, np.zeros(2000, int)) > 0.05


def test_neurons_of_few_intervals_take_no_part_and_none_are_no_number():
    spikes = np.zeros((1000, 3), np.uint8)
    spikes[:1000:10, 0] = 1
    spikes[[3, 4, 90], 1] = 1
    assert cv_isi(spikes, np.zeros(1000, int)) == 0.0
    assert cv_isi(spikes[:, 1:], np.zeros(1000, int)) is None


def test_spikes_of_one_bin_are_no_time_apart():
    spikes = np.zeros((1000, 1), np.uint8)
    spikes[::10] = 2  # intervals 0, 10, 0, 10, ...
    assert cv_isi(spikes, np.zeros(1000, int)) == pytest.approx(1, abs=0.02)


def test_total_violation_sums_the_worst_seed_of_each_line_and_is_not_the_largest():
    worst = worst_violations([{"a": 0.25, "b": -1.0}, {"a": -0.125, "b": 0.5, "c": 0.125}])
    assert worst == {"a": 0.25, "b": 0.5, "c": 0.125}
    assert total_violation(worst) == 0.875
    assert total_violation(worst_violations([{"a": -0.25, "b": 0.0}])) == 0


def test_balance_is_of_what_presynaptic_neurons_send_not_of_what_postsynaptic_ones_get():
    # [post, pre]; what neurons send sums to 3, 7 and 6, what they get to 5, 6 and 5.
    recurrent = np.array([[0.0, 4.0, -1.0], [1.0, 0.0, -5.0], [2.0, 3.0, 0.0]])
    signs = np.array([1, 1, -1])
    assert ei_weight_balance(recurrent, signs) == pytest.approx(6 / 10)


def test_without_excitation_there_is_no_balance_and_without_inhibition_it_is_zero():
    recurrent = np.array([[0.0, 2.0], [3.0, 0.0]])
    assert ei_weight_balance(-recurrent, np.array([-1, -1])) is None
    assert ei_weight_balance(recurrent, np.array([1, 1])) == 0.0


def test_rates_on_the_limits_of_silence_and_saturation_are_neither():
    on_limits = rate_summary(np.array([0.5, 50.0]), BAND)
    beyond = rate_summary(np.array([0.499, 50.001]), BAND)
    assert (on_limits.silent, on_limits.saturated) == (0.0, 0.0)
    assert (beyond.silent, beyond.saturated) == (0.5, 0.5)


def test_each_violation_is_a_signed_distance_from_its_limit():
    # Mean 20 Hz, a band 15 Hz wide; one in four outside it and saturated.
    found = violations({"passive": np.array([6.0, 7.0, 60.0, 7.0])}, BAND, 3, 12, True)
    assert found == pytest.approx(
        {
            "dale": 0.25,
            "finite": 0.0,
            "passive:rate_low": (5 - 20) / 15,
            "passive:rate_high": 0.0,
            "passive:in_band": 0.80 - 0.75,
            "passive:silent": -0.05,
            "passive:saturated": 0.25 - 0.05,
        }
    )


def test_a_network_without_rates_breaks_one_line_by_one():
    assert violations({}, BAND, 0, 9, True) == {"dale": 0.0, "finite": 0.0, "spiking": 1.0}
    assert violations({}, BAND, 0, 9, False)["finite"] == 1.0


def test_ten_intervals_are_enough_and_nine_are_not():
    spikes = np.zeros((200, 1), np.uint8)
    spikes[: 11 * 7 : 7] = 1
    run = np.zeros(200, int)
    assert cv_isi(spikes, run) == 0.0
    spikes[70] = 0
    assert cv_isi(spikes, run) is None


def test_two_runs_are_as_alike_as_their_neurons_are_on_average_and_still_ones_take_no_part():
    draw = np.random.default_rng(0)
    x = draw.standard_normal((5000, 3))
    noise = draw.standard_normal((5000, 3))
    assert mean_correlation(x, 3 * x + 1) == pytest.approx(1.0)
    assert mean_correlation(x, x + noise) == pytest.approx(np.sqrt(0.5), abs=0.02)
    assert mean_correlation(x, noise) == pytest.approx(0.0, abs=0.03)
    half = np.column_stack([x[:, 0], -x[:, 1], np.zeros(5000)])
    assert mean_correlation(x, half) == pytest.approx(0.0, abs=1e-9)
    assert mean_correlation(x, np.ones_like(x)) is None
