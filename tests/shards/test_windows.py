from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheobase.core.errors import DataError
from rheobase.shards.counts import SparseCounts
from rheobase.shards.shard import GAP, TEST, TRAIN, Segment, Shard
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.shards.windows import presentation_starts, window_counts, window_starts


def shard_of(splits):
    """Return a shard with a segment for each list of split labels; bin t holds t in unit 0."""
    segments, first = [], 0
    for labels in splits:
        bins = np.arange(first, first + len(labels))
        none = np.full(len(bins), -1, np.int32)
        dense = np.stack([bins % 256, bins // 256], axis=1).astype(np.uint8)
        split = np.array(labels, np.int8)
        segments.append(
            Segment(
                counts=SparseCounts.of_dense(dense),
                start_s=10.0 * first,
                state="",
                split=split,
                group=none,
                presentation=none,
                phase=none,
            )
        )
        first += len(bins)
    no, unit = np.zeros(0, bool), np.arange(2)
    return Shard(
        session_id="s",
        data_digest="d",
        kind="continuous",
        bin_ms=10.0,
        unit_id=unit,
        area=unit.astype(str),
        segments=tuple(segments),
        image=np.zeros(0, "U1"),
        is_change=no,
        omitted=no,
    )


LABELS = st.lists(
    st.lists(st.sampled_from([TRAIN, TEST, GAP]), min_size=1, max_size=30), min_size=1, max_size=4
)


def by_hand(splits, split, num_bins, stride):
    """Walk every stretch of equal label inside every segment."""
    found, first = [], 0
    for labels in splits:
        stretch = 0
        for bin_ in range(len(labels)):
            stretch = stretch + 1 if labels[bin_] == split else 0
            begin = stretch - num_bins
            if begin >= 0 and begin % stride == 0:
                found.append(first + bin_ + 1 - num_bins)
        first += len(labels)
    return found


@given(LABELS, st.sampled_from([TRAIN, TEST]), st.integers(1, 8), st.integers(1, 10))
def test_windows_are_all_those_that_stay_in_a_segment_and_a_split(splits, split, num_bins, stride):
    expected = by_hand(splits, split, num_bins, stride)
    line = timeline_of(shard_of(splits), open_test=True)
    if expected:
        np.testing.assert_array_equal(window_starts(line, split, num_bins, stride), expected)
    else:
        with pytest.raises(DataError, match="must fit between the borders"):
            window_starts(line, split, num_bins, stride)


def test_windows_side_by_side_share_no_bin_and_overlapping_ones_do():
    line = timeline_of(shard_of([[TRAIN] * 20]))
    np.testing.assert_array_equal(window_starts(line, TRAIN, 5, 5), [0, 5, 10, 15])
    np.testing.assert_array_equal(window_starts(line, TRAIN, 5, 2), [0, 2, 4, 6, 8, 10, 12, 14])


@given(LABELS, st.integers(1, 6))
def test_counts_of_windows_are_the_bins_they_name(splits, num_bins):
    shard = shard_of(splits)
    starts = by_hand(splits, TRAIN, num_bins, 1)[::-1]
    dense = stacked_counts(shard)
    counts = window_counts(shard, np.array(starts, np.int64), num_bins, np.uint8)
    assert counts.shape == (len(starts), num_bins, 2)
    for start, window in zip(starts, counts, strict=True):
        np.testing.assert_array_equal(window, dense[start : start + num_bins])


def test_a_window_that_leaves_its_segment_is_refused():
    with pytest.raises(IndexError, match="must lie within 4"):
        window_counts(shard_of([[TRAIN] * 4, [TRAIN] * 4]), np.array([2]), 3, np.uint8)


def test_windows_of_presentations_are_whole_and_in_one_part_of_the_split():
    shard = shard_of([[TRAIN] * 12 + [GAP] * 3 + [TEST] * 9, [TRAIN] * 10])
    onset = [1, 8, 13, 16, 20, 24 + 7]
    presentation = np.full(34, -1, np.int32)
    phase = np.full(34, -1, np.int32)
    for number, (begin, end) in enumerate(zip(onset, [8, 13, 16, 20, 24, 34], strict=True)):
        presentation[begin:end] = number
        phase[begin:end] = np.arange(end - begin)
    line = replace(timeline_of(shard, open_test=True), presentation=presentation, phase=phase)
    # 8 runs into the gap, 13 begins in it; 20 and 31 have four and three bins left.
    np.testing.assert_array_equal(presentation_starts(line, 5), [1])
    np.testing.assert_array_equal(presentation_starts(line, 4), [1, 8, 16, 20])
    np.testing.assert_array_equal(presentation_starts(line, 3), [1, 8, 16, 20, 31])
