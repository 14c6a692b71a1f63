import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.moments import Parts
from rheobase.measures.transfer import pairs_of_states, within_and_cross_state
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
    within, across, notes = within_and_cross_state(parts, parts.moments(x), 0.1)
    assert (within, across) == ({}, None)
    assert notes == [
        "cca_within, cca_cross_state: two states must be recorded, but there are fewer"
    ]
