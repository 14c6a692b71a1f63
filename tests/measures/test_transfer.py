import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.moments import Parts
from rheobase.measures.probes import ridge_r2
from rheobase.measures.transfer import ONE_STATE, pairs_of_states, state_scores
from rheobase.shards.timeline import Timeline


def line_of(states, splits):
    """Forty bins of each state and split, in groups of ten."""
    num = 40 * len(states)
    zeros = np.zeros(num, np.int32)
    return Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=np.arange(num) / 100,
        segment=zeros,
        split=np.repeat(splits, 40).astype(np.int8),
        group=(np.arange(num) // 10).astype(np.int32),
        state=np.repeat(states, 40),
        presentation=zeros,
        phase=zeros,
    )


def test_a_state_without_train_or_test_samples_is_no_partner():
    line = line_of(list("aabbcd"), [0, 1, 0, 1, 0, 1])
    pairs = pairs_of_states(line)
    assert [(pair.fitted, pair.tested) for pair in pairs] == [
        ("a", "a"),
        ("a", "b"),
        ("b", "a"),
        ("b", "b"),
    ]
    for pair in pairs:
        assert pair.train.sum() == pair.test.sum() == 40
        np.testing.assert_array_equal(pair.train, line.train & (line.state == pair.fitted))
        np.testing.assert_array_equal(pair.test, line.scored & (line.state == pair.tested))


@pytest.mark.parametrize("states", ["aabc", "aa"])
def test_fewer_than_two_states_of_both_splits_are_refused(states):
    line = line_of(list(states), [0, 1, 0, 1][: len(states)])
    with pytest.raises(DataError, match=r"two states must each have .* but got a$"):
        pairs_of_states(line)


def test_one_state_has_no_cca_within_or_across_and_a_reason():
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((2, 80, 2))
    parts = Parts(y, line_of(["a", "a"], [0, 1]))
    assert state_scores(parts, parts.moments(x), 0.1) is None
    assert ONE_STATE == (
        "cca_within, cca_cross_state: two states must be recorded, but there are fewer"
    )


def with_a_tail(draw):
    """Labels, latents and features; the last of them speaks in a, and in b on scored bins alone."""
    line = line_of(["a", "b"] * 20, [0, 0] * 15 + [1, 1] * 5)
    y = draw.standard_normal((len(line), 2))
    x = y @ draw.standard_normal((2, 4)) + draw.standard_normal((len(line), 4))
    last = draw.standard_normal(len(line))
    train_b = np.flatnonzero(line.train & (line.state == "b"))
    last[train_b] = 0
    last[train_b[:5]] = 1e-6 * 0.8 ** np.arange(5)
    return line, y, x, np.column_stack([x, last])


def test_what_a_filter_holds_of_a_neuron_silent_in_a_state_spoils_nothing_there():
    line, y, without, x = with_a_tail(np.random.default_rng(0))
    parts = Parts(y, line)
    states = [state_scores(parts, parts.moments(features), 0.1).within for features in (without, x)]
    assert states[1]["b"] == pytest.approx(states[0]["b"], abs=1e-9)
    assert states[0]["b"] > 0.5


def test_nor_a_readout_that_is_fitted_there():
    line, y, without, x = with_a_tail(np.random.default_rng(1))
    train, test = (part & (line.state == "b") for part in (line.train, line.scored))
    r2 = [ridge_r2(features, y, line, train=train, test=test) for features in (without, x)]
    np.testing.assert_allclose(r2[1], r2[0], atol=1e-9)
    assert r2[0].min() > 0.3
