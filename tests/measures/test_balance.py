import numpy as np
import pytest

from rheobase.measures.balance import (
    balanced_share,
    band_violations,
    ei_balance,
    held_violation,
    recurrent_share,
    synaptic_currents,
)


@pytest.fixture(scope="module")
def network():
    """Weights, spikes and counts of three neurons and two units over 400 bins of 10 ms."""
    draw = np.random.default_rng(0)
    recurrent, given = draw.standard_normal((3, 3)), draw.standard_normal((3, 2))
    shared = draw.random((400, 1)) < 0.3  # what is correlated changes no mean magnitude
    return recurrent, (draw.random((400, 3)) < 0.2) | shared, given, draw.poisson(0.2, (400, 2))


def currents_of(network):
    recurrent, spikes, given, counts = network
    return synaptic_currents(recurrent, spikes.mean(0) * 100, given, counts.mean(0) * 100)


def test_currents_are_the_mean_over_time_of_what_each_synapse_brings(network):
    recurrent, spikes, given, counts = network
    found = currents_of(network)
    for neuron in range(3):
        excitation = inhibition = own = 0.0
        for s, c in zip(spikes, counts, strict=True):
            for weights, sent, is_own in ((recurrent, s, True), (given, c, False)):
                for weight, often in zip(weights[neuron], sent, strict=True):
                    excitation += max(weight * often, 0.0)
                    inhibition += max(-weight * often, 0.0)
                    own += abs(weight * often) * is_own
        per_s = 1 / 4.0
        assert found.excitation[neuron] == pytest.approx(excitation * per_s)
        assert found.inhibition[neuron] == pytest.approx(inhibition * per_s)
        assert found.recurrent[neuron] == pytest.approx(own * per_s)


def test_the_balance_is_a_ratio_that_no_common_scale_changes(network):
    recurrent, spikes, given, counts = network
    found, doubled = currents_of(network), currents_of((2 * recurrent, spikes, 2 * given, counts))
    assert ei_balance(found) == pytest.approx(found.inhibition.sum() / found.excitation.sum())
    assert ei_balance(doubled) == pytest.approx(ei_balance(found))
    turned = currents_of((-recurrent, spikes, -given, counts))
    assert ei_balance(turned) == pytest.approx(1 / ei_balance(found))


def test_the_recurrent_share_is_nil_without_recurrence_and_one_without_input(network):
    recurrent, spikes, given, counts = network
    assert recurrent_share(currents_of((0 * recurrent, spikes, given, counts))) == 0.0
    assert recurrent_share(currents_of((recurrent, spikes, 0 * given, counts))) == 1.0
    nothing = currents_of((0 * recurrent, spikes, 0 * given, counts))
    assert recurrent_share(nothing) is ei_balance(nothing) is None


def test_a_network_in_balance_may_have_no_neuron_in_balance():
    weights = np.array([[1.0, 0.0], [0.0, -1.0]])
    found = synaptic_currents(np.zeros((2, 2)), np.zeros(2), weights, np.ones(2))
    assert ei_balance(found) == 1.0
    assert balanced_share(found, 1.0, 0.5) == 0.0
    fair = synaptic_currents(
        np.zeros((2, 2)), np.zeros(2), np.array([[1.0, -1.05]] * 2), np.ones(2)
    )
    assert balanced_share(fair, 1.0, 0.1) == 1.0
    assert balanced_share(fair, 1.0, 0.01) == 0.0


def test_a_band_is_broken_on_either_side_and_by_what_cannot_be_measured():
    found = band_violations({"active": 0.8, "passive": 1.2, "sleep": None}, (0.9, 1.1))
    broken = {line for line, value in found.items() if value > 0}
    assert broken == {"active:ei_low", "passive:ei_high", "sleep:ei_low", "sleep:ei_high"}
    assert found["active:ei_low"] == pytest.approx(0.5)
    assert held_violation(1.05, 1.0, 0.1) == pytest.approx(-0.05)
    assert held_violation(3.0, 4.0, 0.1) == pytest.approx(0.15)
    assert held_violation(None, 1.0, 0.1) > 0
