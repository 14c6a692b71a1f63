import numpy as np
import pytest

from rheobase.measures.firing import firing_rates, rate_summary, violations

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
