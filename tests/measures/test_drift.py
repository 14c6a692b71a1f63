from dataclasses import replace

import numpy as np
import pytest

from rheobase.measures.drift import null_drift, time_features
from rheobase.shards.shard import NONE, TEST, TRAIN
from rheobase.shards.timeline import SEALED, Timeline


def line_of(lengths, bin_ms=100.0, kind="continuous"):
    segment = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
    num = len(segment)
    group = np.arange(num) // 50 if kind == "continuous" else segment
    none = np.full(num, NONE, np.int32)
    return Timeline(
        kind=kind,
        bin_ms=bin_ms,
        time_s=np.arange(num) * bin_ms / 1000,
        segment=segment,
        split=np.where(group % 4 == 3, TEST, TRAIN).astype(np.int8),
        group=group.astype(np.int32),
        state=np.array(["active", "passive", ""])[np.minimum(segment, 1)]
        if kind == "continuous"
        else np.full(num, ""),
        presentation=none,
        phase=none,
    )


def noise(random, line, width, size=0.1):
    return size * random.standard_normal((len(line), width))


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_noise_has_no_drift(random):
    line = line_of([6000, 6000])
    found = null_drift(noise(random, line, 4), line)
    assert abs(found.cca) < 0.05
    assert found.note is None


@pytest.mark.parametrize(
    "course",
    [
        lambda line: line.time_s,
        lambda line: np.exp(-(line.time_s % 600) / 60),
        lambda line: 1.0 * (line.state == "passive"),
        lambda line: np.cos(2 * np.pi * line.time_s / 300),
    ],
)
def test_what_time_or_state_brings_is_all_found(random, course):
    line = line_of([6000, 6000])
    shape = course(line)[:, None] / course(line).std()
    assert null_drift(shape + noise(random, line, 1), line).cca > 0.98
    # One of four dimensions: the mean is over all.
    four = np.hstack([shape, noise(random, line, 3)]) + noise(random, line, 4)
    assert null_drift(four, line).cca == pytest.approx(0.25, abs=0.05)


def test_slow_latents_are_told_by_time_where_blocks_are_short(random):
    line = line_of([6000, 6000])
    walk = np.cumsum(random.standard_normal((12_000, 4)), axis=0)
    found = null_drift(walk, line)
    assert found.cca > 0.9
    assert found.num_curves == 128


def test_as_many_curves_are_chosen_as_train_asks_for(random):
    line = line_of([6000, 6000])
    y = np.cos(np.pi * 2 * line.time_s / 1200)[:, None] + noise(random, line, 1, 1.0)
    assert null_drift(y, line).num_curves == 2


def test_the_scored_bins_do_not_choose_or_fit(random):
    line = line_of([6000, 6000])
    y = line.time_s[:, None] + noise(random, line, 1)
    reversed_in_test = np.where(line.scored[:, None], -y, y)
    assert null_drift(reversed_in_test, line).cca == pytest.approx(-null_drift(y, line).cca)


def test_it_does_not_change_under_a_linear_map_of_the_latents(random):
    line = line_of([6000, 6000])
    y = np.cumsum(random.standard_normal((12_000, 3)), axis=0)
    turned = y @ random.standard_normal((3, 3)) + 7
    assert null_drift(turned, line).cca == pytest.approx(null_drift(y, line).cca, abs=1e-6)


def test_sealed_bins_are_never_read(random):
    line = line_of([6000, 6000])
    sealed = line.group % 4 == 2
    hidden = replace(line, split=np.where(sealed, SEALED, line.split).astype(np.int8))
    y = line.time_s[:, None] + noise(random, line, 2)
    y = np.where(hidden.sealed[:, None], np.nan, y)
    found = null_drift(y, hidden)
    assert found.note is None
    assert np.isfinite(found.cca)


def test_of_trials_time_is_that_of_the_trials_start(random):
    line = line_of([50] * 240, kind="trials")
    features = time_features(line, np.arange(len(line)))
    assert np.ptp(features.reshape(240, 50, -1), axis=1).max() == 0
    trial = line.segment[:, None] / 240
    assert null_drift(trial + noise(random, line, 1), line).cca > 0.9
    within = (np.arange(len(line)) % 50)[:, None] / 50
    assert abs(null_drift(within + noise(random, line, 1), line).cca) < 0.1


def test_bins_that_are_not_valid_are_neither_fitted_nor_scored(random):
    line = line_of([6000, 6000])
    y = line.time_s[:, None] + noise(random, line, 1)
    valid = np.arange(12_000) % 6000 > 3000
    y[~valid] = np.nan
    assert null_drift(y, line, valid).cca > 0.98


def test_why_it_cannot_be_had_is_said(random):
    line = line_of([6000, 6000])
    still = np.hstack([noise(random, line, 1), np.ones((12_000, 1))])
    found = null_drift(still, line)
    assert found.cca is None
    assert "null_drift: every teacher dimension must vary" in found.note
    unscored = replace(line, split=np.full(12_000, TRAIN, np.int8))
    assert "at least 1 bin must be scored" in null_drift(noise(random, line, 1), unscored).note


def test_a_long_session_is_looked_at_in_evenly_spaced_bins(random):
    line = line_of([60_000, 60_000], bin_ms=10.0)
    y = line.time_s[:, None] + noise(random, line, 1, 100.0)
    assert null_drift(y, line).cca == pytest.approx(
        np.corrcoef(y[:, 0], line.time_s)[0, 1], abs=0.02
    )


def test_the_functions_of_time_are_states_adaptations_and_cosines_that_rise_in_number(random):
    line = line_of([6000, 6000])
    features = time_features(line, np.arange(0, 12_000, 7))
    time_s, second = line.time_s[::7], line.segment[::7] == 1
    assert features.shape == (len(time_s), 1 + 3 + 128)
    np.testing.assert_array_equal(features[:, 0], second)
    for column, tau_s in ((1, 10), (2, 60), (3, 300)):
        since_s = time_s - 600 * second
        np.testing.assert_allclose(features[:, column], np.exp(-since_s / tau_s))
    for number in (1, 2, 128):
        curve = np.cos(np.pi * number * time_s / 1200)
        np.testing.assert_allclose(features[:, 3 + number], curve, atol=1e-9)


def test_no_curve_is_faster_than_a_block(random):
    line = line_of([600])
    assert time_features(line, np.arange(600)).shape[1] == 3 + 8
