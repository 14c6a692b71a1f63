"""Scores of forecasts of counts: known answers, invariances, and other formulas for the same."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from rheobase.core.errors import DataError
from rheobase.measures.forecast import forecast_blocks, forecast_scores


@pytest.fixture(scope="module")
def drawn():
    """Rates that wander with a common signal, and counts drawn from them."""
    draw = np.random.default_rng(0)
    slow = np.convolve(draw.standard_normal(4200), np.ones(40) / 40**0.5, "valid")[:4000]
    gains = draw.uniform(-1, 1, 12)
    rates = draw.uniform(0.2, 2.0, 12) * np.exp(0.5 * slow[:, None] * gains + 0.2 * slow[:, None])
    return rates, draw.poisson(rates)


def test_the_rates_that_counts_were_drawn_from_are_worth_what_they_tell(drawn):
    rates, counts = drawn
    found = forecast_scores(rates, counts)
    mean = counts.mean(axis=0)
    # What such rates tell on average: the divergence of each from the mean.
    told = (rates * np.log(rates / mean) - rates + mean).sum() / math.log(2) / rates.sum()
    assert told > 0.1
    assert found.bits_per_spike == pytest.approx(told, rel=0.1)
    for wrong in (rates**0.5, rates**1.5, rates[:, ::-1]):
        assert forecast_scores(wrong, counts).bits_per_spike < found.bits_per_spike


def test_bits_per_spike_and_deviance_are_those_of_scipys_likelihood(drawn):
    rates, counts = drawn
    model = poisson.logpmf(counts, rates).sum()
    null = poisson.logpmf(counts, np.tile(counts.mean(axis=0), (len(counts), 1))).sum()
    saturated = poisson.logpmf(counts, np.maximum(counts, 1e-300)).sum()
    found = forecast_scores(rates, counts)
    assert found.bits_per_spike == pytest.approx((model - null) / counts.sum() / math.log(2))
    assert found.deviance_explained == pytest.approx((model - null) / (saturated - null))


def test_correlations_are_those_of_a_plain_loop(drawn):
    rates, counts = (one[:300] for one in drawn)
    counts = counts.copy()
    counts[:20] = 0  # bins without a spike, which have neither pattern nor direction
    counts[20:25] = 1  # one spike of every unit: no pattern
    found = forecast_scores(rates, counts)
    corr = [np.corrcoef(r, y)[0, 1] for r, y in zip(rates.T, counts.T, strict=True)]
    across = [np.corrcoef(r, y)[0, 1] for r, y in zip(rates, counts, strict=True) if y.std() > 0]
    cosine = [
        r @ y / np.linalg.norm(r) / np.linalg.norm(y)
        for r, y in zip(rates, counts, strict=True)
        if y.any()
    ]
    assert found.unit_r == pytest.approx(np.mean(corr))
    assert found.temporal_fidelity == pytest.approx(
        np.corrcoef(rates.sum(axis=1), counts.sum(axis=1))[0, 1]
    )
    assert found.spatial_pattern == pytest.approx(np.mean(across))
    assert found.alignment == pytest.approx(np.mean(cosine))


def test_a_forecast_that_knows_every_count_has_one_everywhere(drawn):
    rates, counts = drawn
    found = forecast_scores(counts, counts)
    assert astuple(found)[1:] == pytest.approx((1.0,) * 5)
    assert found.bits_per_spike > 2 * forecast_scores(rates, counts).bits_per_spike


def test_the_means_of_the_bins_themselves_have_no_bits_and_no_time(drawn):
    _, counts = drawn
    found = forecast_scores(np.tile(counts.mean(axis=0), (len(counts), 1)), counts)
    assert found.bits_per_spike == pytest.approx(0, abs=1e-12)
    assert found.deviance_explained == pytest.approx(0, abs=1e-12)
    assert (found.unit_r, found.temporal_fidelity) == (0, 0)
    assert found.spatial_pattern > 0.3  # what units differ in at all times is no forecast
    assert found.alignment > 0.5


def test_shuffling_time_leaves_chance(drawn):
    rates, counts = drawn
    order = np.random.default_rng(1).permutation(len(rates))
    found = forecast_scores(rates[order], counts)
    assert found.bits_per_spike < 0
    assert abs(found.unit_r) < 0.03
    assert abs(found.temporal_fidelity) < 0.05
    assert found.spatial_pattern < forecast_scores(rates, counts).spatial_pattern


def test_scale_costs_bits_and_nothing_of_the_split(drawn):
    rates, counts = drawn
    true, scaled = forecast_scores(rates, counts), forecast_scores(3 * rates, counts)
    assert scaled.bits_per_spike < 0 < true.bits_per_spike
    assert astuple(scaled)[2:] == pytest.approx(astuple(true)[2:])


def test_the_parts_of_the_split_go_wrong_one_at_a_time(drawn):
    rates, counts = drawn
    true = forecast_scores(rates, counts)
    swapped = forecast_scores(rates[:, ::-1], counts)
    assert swapped.temporal_fidelity == pytest.approx(true.temporal_fidelity)
    assert swapped.spatial_pattern < 0.5 * true.spatial_pattern
    # Each bin's forecast by a factor of its own: which unit fires stays, when does not.
    factor = np.random.default_rng(2).uniform(0.1, 10, (len(rates), 1))
    jumbled = forecast_scores(rates * factor, counts)
    assert jumbled.temporal_fidelity < 0.5 * true.temporal_fidelity
    assert jumbled.alignment == pytest.approx(true.alignment)
    assert jumbled.spatial_pattern == pytest.approx(true.spatial_pattern)


def test_a_forecast_of_none_where_a_spike_comes_costs_much_and_not_everything():
    counts = np.array([[1, 0], [0, 1], [1, 1]])
    found = forecast_scores(np.where(counts > 0, 0.0, 1.0), counts)
    assert -40 < found.bits_per_spike < -20


def test_units_without_a_spike_change_no_likelihood(drawn):
    rates, counts = drawn
    silent = np.zeros((len(counts), 1))
    found = forecast_scores(np.hstack([rates, silent]), np.hstack([counts, silent]))
    assert astuple(found)[:2] == pytest.approx(astuple(forecast_scores(rates, counts))[:2])
    assert found.unit_r == pytest.approx(forecast_scores(rates, counts).unit_r * 12 / 13)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(2, 6))
def test_a_blocks_pseudo_value_is_that_of_scoring_without_it(seed, num_blocks):
    draw = np.random.default_rng(seed)
    rates = draw.gamma(2, 0.5, (40, 3))
    counts = draw.poisson(rates)
    counts[:, 0] += 1
    group = draw.permutation(np.arange(40) % num_blocks)
    whole, blocks = forecast_scores(rates, counts), forecast_blocks(rates, counts, group)
    for name, value in vars(whole).items():
        without = [
            getattr(forecast_scores(rates[group != b], counts[group != b]), name)
            for b in range(num_blocks)
        ]
        expected = num_blocks * value - (num_blocks - 1) * np.array(without)
        np.testing.assert_allclose(blocks[name], expected, atol=1e-8)


def test_one_block_has_no_pseudo_value(drawn):
    rates, counts = drawn
    found = forecast_blocks(rates, counts, np.zeros(len(rates)))
    assert {len(one) for one in found.values()} == {0}


@pytest.mark.parametrize(
    ("rates", "counts", "told"),
    [
        (np.ones((3, 2)), np.ones((2, 2)), r"both be \(bins, units\)"),
        (-np.ones((3, 2)), np.ones((3, 2)), "not negative"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), "finite"),
        (np.ones((3, 2)), np.zeros((3, 2)), "a spike must come"),
    ],
)
def test_what_cannot_be_scored_is_told(rates, counts, told):
    with pytest.raises(DataError, match=told):
        forecast_scores(rates, counts)


def test_a_block_that_holds_all_spikes_is_told():
    counts = np.array([[1.0], [1.0], [0.0], [0.0]])
    with pytest.raises(DataError, match="without each held-out block"):
        forecast_blocks(np.ones((4, 1)), counts, np.array([0, 0, 1, 1]))
