"""Which groups are held out, and that a seed goes on drawing the same ones."""

import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.shards.binning import held_out_sessions, split_labels, with_gaps
from rheobase.shards.settings import SplitSettings
from rheobase.shards.shard import GAP, TEST, TRAIN


@pytest.mark.parametrize(
    ("share", "num_groups", "num_test"),
    [(0.2, 10, 2), (0.2, 2, 1), (0.001, 30, 1), (0.999, 3, 2), (0.999, 2, 1), (0.5, 5, 2)],
)
def test_a_group_is_held_out_and_never_all_are(share, num_groups, num_test):
    groups = range(5, 5 + num_groups)
    for seed in range(20):
        held_out = split_labels(groups, share, seed, "here")
        assert len(held_out) == num_test
        assert held_out < set(groups)


def test_one_group_cannot_be_split():
    with pytest.raises(DataError, match=r"^here: at least 2 groups must hold .* got 1"):
        split_labels([3], 0.5, 0, "here")


def test_every_group_is_drawn_by_some_seed_and_names_draw_apart():
    drawn = [split_labels(range(8), 0.2, seed, "here", "s", "active") for seed in range(100)]
    assert set.union(*drawn) == set(range(8))
    other = [split_labels(range(8), 0.2, seed, "here", "s", "passive") for seed in range(100)]
    assert drawn != other


def test_a_seeds_draw_stays_what_it_was():
    # Splits belong to published numbers: the names of their generator are kept.
    assert split_labels(range(20), 0.2, 0, "here", "s", "active", "0") == {0, 6, 8, 12}
    by_session = SplitSettings(by="session", test=0.4, seed=3)
    assert held_out_sessions(["e", "d", "c", "b", "a"], by_session) == {"b", "e"}


def test_two_sessions_are_enough_and_their_order_is_of_no_matter():
    by_session = SplitSettings(by="session")
    held_out = held_out_sessions(["a", "b"], by_session)
    assert held_out == held_out_sessions(["b", "a"], by_session)
    assert len(held_out) == 1
    with pytest.raises(DataError, match=r"at least 2 sessions .* got 1: a;"):
        held_out_sessions(["a"], by_session)
    assert held_out_sessions(["a"], SplitSettings(by="block")) == set()


def test_a_gap_lies_on_both_sides_of_every_border_and_is_cut_at_the_ends():
    split = np.array([TEST] * 2 + [TRAIN] * 8 + [TEST] * 6, np.int8)
    gap, train, test = GAP, TRAIN, TEST
    expected = [gap] * 5 + [train] * 2 + [gap] * 6 + [test] * 3
    assert with_gaps(split, 3).tolist() == expected
    assert with_gaps(split, 0).tolist() == split.tolist()
