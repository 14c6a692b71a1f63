"""Which groups are validation and test, and that a seed goes on drawing the same ones."""

import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.shards.settings import SplitSettings
from rheobase.shards.shard import GAP, TEST, TRAIN, VALIDATION
from rheobase.shards.splits import draw_parts, session_labels, with_gaps


def drawn(num_groups, *names, **settings):
    """Return the groups of train, validation and test."""
    labels = draw_parts(range(num_groups), SplitSettings(**settings), "groups", "do", *names)
    assert list(labels) == list(range(num_groups))
    return tuple(
        {group for group, label in labels.items() if label == part}
        for part in (TRAIN, VALIDATION, TEST)
    )


@pytest.mark.parametrize(
    ("validation", "test", "num_groups", "nums"),
    [
        (0.15, 0.2, 20, (13, 3, 4)),
        (0.15, 0.2, 4, (2, 1, 1)),
        (0.001, 0.001, 30, (28, 1, 1)),
        (0.001, 0.998, 6, (2, 1, 3)),
        (0.6, 0.3, 5, (2, 1, 2)),
        (0.3, 0.3, 10, (4, 3, 3)),
    ],
)
def test_every_part_has_its_share_and_train_two_groups_at_least(validation, test, num_groups, nums):
    for seed in range(20):
        parts = drawn(num_groups, validation=validation, test=test, seed=seed)
        assert tuple(map(len, parts)) == nums
        assert len(set.union(*parts)) == num_groups


def test_fewer_than_four_groups_cannot_be_divided_in_three_parts():
    with pytest.raises(DataError, match=r"^four blocks must hold .* got 3; use more$"):
        draw_parts([3, 4, 5], SplitSettings(), "four blocks", "use more")


def test_shares_that_leave_no_train_are_refused():
    with pytest.raises(ValueError, match=r"validation \+ test < 1 must hold .* got 0.6 \+ 0.4"):
        SplitSettings(validation=0.6, test=0.4)


def test_every_group_is_drawn_by_some_seed_and_names_draw_apart():
    active = [drawn(8, "s", "active", seed=seed) for seed in range(100)]
    for part in zip(*active, strict=True):
        assert set.union(*part) == set(range(8))
    assert active != [drawn(8, "s", "passive", seed=seed) for seed in range(100)]


def test_a_seeds_draw_stays_what_it_was():
    # Splits belong to published numbers: the names of their generators are kept.
    _, validation, test = drawn(20, "s", "active", "0")
    assert test == {0, 6, 8, 12}
    assert validation == {2, 3, 14}
    by_session = SplitSettings(by="session", test=0.4, seed=3)
    labels = session_labels(["e", "d", "c", "b", "a"], by_session)
    assert {name for name, label in labels.items() if label == TEST} == {"b", "e"}


def test_test_is_drawn_alone_so_that_the_share_of_validation_does_not_move_it():
    one, other = (drawn(40, "s", validation=share) for share in (0.1, 0.3))
    assert one[2] == other[2]
    assert len(one[1]) < len(other[1])


def test_four_sessions_are_enough_and_their_order_is_of_no_matter():
    by_session = SplitSettings(by="session")
    labels = session_labels(["a", "b", "c", "d"], by_session)
    assert labels == session_labels(["d", "b", "c", "a"], by_session)
    assert sorted(labels.values()) == [TRAIN, TRAIN, TEST, VALIDATION]
    with pytest.raises(DataError, match=r"at least 4 sessions .* got 3; name more"):
        session_labels(["a", "b", "c"], by_session)
    assert session_labels(["a", "b"], SplitSettings(by="block")) == {}


def test_a_gap_lies_on_both_sides_of_every_border_and_is_cut_at_the_ends():
    split = np.array([TEST] * 2 + [TRAIN] * 8 + [VALIDATION] * 6, np.int8)
    gap, train, validation = GAP, TRAIN, VALIDATION
    expected = [gap] * 5 + [train] * 2 + [gap] * 6 + [validation] * 3
    assert with_gaps(split, 3).tolist() == expected
    assert with_gaps(split, 0).tolist() == split.tolist()
