from dataclasses import replace

import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.shards.shard import GAP, NONE, TEST, TRAIN, VALIDATION
from rheobase.shards.timeline import Timeline
from rheobase.shards.windows import presentation_starts, window_means, window_starts


def line_of(split, segment, presentation=None, phase=None):
    num = len(split)
    none = [-1] * num
    return Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=np.arange(num) / 100,
        segment=np.array(segment, np.int32),
        split=np.array(split, np.int8),
        group=np.arange(num, dtype=np.int32) // 2,
        state=np.array(["ab"[number % 2] for number in segment]),
        presentation=np.array(presentation or none, np.int32),
        phase=np.array(phase or none, np.int32),
    )


@pytest.fixture
def line():
    #       0      1      2      3     4    5     6     7     8      9
    split = [TRAIN, TRAIN, TRAIN, TEST, GAP, TEST, TEST, TEST, TRAIN, TRAIN]
    return line_of(split, [0, 0, 1, 1, 1, 1, 1, 2, 2, 2])


def test_a_run_ends_where_its_split_or_its_segment_does(line):
    assert [run.tolist() for run in line.runs(TRAIN)] == [[0, 1], [2], [8, 9]]
    assert [run.tolist() for run in line.runs(TEST)] == [[3], [5, 6], [7]]
    assert [run.tolist() for run in line.runs(GAP)] == [[4]]


def test_without_a_bin_of_the_split_there_is_one_empty_run(line):
    no_test = replace(line, split=np.full(10, TRAIN, np.int8))
    assert [run.tolist() for run in no_test.runs(TEST)] == [[]]


def test_borders_are_the_first_bins_of_the_later_segments(line):
    assert line.borders.tolist() == [2, 7]


def test_labels_of_some_bins_are_theirs_and_the_kind_and_width_stay(line):
    some = line.at(np.array([7, 2, 3]))
    assert len(some) == 3
    assert (some.kind, some.bin_ms) == ("continuous", 10.0)
    assert some.segment.tolist() == [2, 1, 1]
    assert some.split.tolist() == [TEST, TRAIN, TEST]
    assert some.group.tolist() == [3, 1, 1]
    assert some.state.tolist() == ["a", "b", "b"]
    np.testing.assert_allclose(some.time_s, [0.07, 0.02, 0.03])


def test_a_split_of_the_same_label_on_both_sides_of_a_border_holds_no_window_across_it(line):
    assert window_starts(line, TRAIN, 2).tolist() == [0, 8]
    assert window_starts(line, TEST, 2).tolist() == [5]
    assert window_starts(line, TRAIN, 1).tolist() == [0, 1, 2, 8, 9]


def test_presentations_count_where_their_first_bins_are_whole():
    #               0  1  2  3  4  5  6  7  8  9 10 11
    presentation = [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    phase = [0, 1, 2, 0, 1, 0, 1, 2, 0, 1, 2, 0]
    split = [TRAIN] * 5 + [TRAIN, TEST, TEST] + [TEST, TEST, TEST, TEST]
    line = line_of(split, [0] * 12, presentation, phase)
    # The next onset cuts presentation 1, a split 2, and the end of the recording 4.
    assert presentation_starts(line, 3).tolist() == [0, 8]
    assert presentation_starts(line, 2).tolist() == [0, 3, 8]
    assert presentation_starts(line, 1).tolist() == [0, 3, 5, 8, 11]
    gaps = replace(line, split=np.array([GAP] * 3 + split[3:], np.int8))
    assert presentation_starts(gaps, 3).tolist() == [8]
    parted = replace(line, segment=np.array([0] * 9 + [1] * 3, np.int32))
    assert presentation_starts(parted, 3).tolist() == [0]


def test_means_of_windows_are_over_their_bins_alone():
    values = np.arange(12.0).reshape(6, 2) ** 2
    means = window_means(values, np.array([3, 0]), 3)
    np.testing.assert_allclose(means, [values[3:6].mean(axis=0), values[:3].mean(axis=0)])
    assert window_means(values[:, 0], np.zeros(0, np.int64), 3).shape == (0,)


def test_labels_of_arrays_are_those_that_are_given_and_none_beside_them():
    line = Timeline.of(np.arange(6) >= 4, state=np.repeat(["a", "b"], 3), bin_ms=20.0)
    assert line.split.tolist() == [TRAIN] * 4 + [TEST] * 2
    assert line.state.tolist() == ["a"] * 3 + ["b"] * 3
    assert line.time_s.tolist() == pytest.approx([0, 0.02, 0.04, 0.06, 0.08, 0.1])
    assert set(line.group) == set(line.segment) == {0}
    assert set(line.presentation) == set(line.phase) == {NONE}
    assert Timeline.of([TRAIN, VALIDATION, GAP]).split.tolist() == [TRAIN, VALIDATION, GAP]


def test_labels_of_another_length_are_told_in_one_line():
    with pytest.raises(DataError, match="group must be one label for each of the 6 bins of split"):
        Timeline.of(np.zeros(6, bool), group=np.zeros(5))
    with pytest.raises(DataError, match=r"split, .* of shape \(2, 3\)"):
        Timeline.of(np.zeros((2, 3), bool))
