from dataclasses import replace

import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.cca import heldout_cca
from rheobase.measures.moments import moments_of
from rheobase.measures.nulls import Measured, NullTeachers, clock_rows, null_cca, shift_rows
from rheobase.shards.timeline import Timeline

SHIFTS = [6940, 5441, 4586, 2906, 3181, 1294, 1533, 1105]
"""In bins of 10 ms: what generator 0 draws for two segments of 90 and 90.75 s."""


def flashes(num_bins=9000, kind="continuous", length=75):
    index = np.arange(num_bins)
    segment = (index >= num_bins // 2) if kind == "continuous" else index // length
    shown = (index // length).astype(np.int32)
    split = np.where((index // 500) % 3 < 2, 0, 1)
    if kind == "trials":
        split = np.where(shown % 3 < 2, 0, 1)
    state = np.full(num_bins, "")
    return Timeline(
        kind=kind,
        bin_ms=10.0,
        time_s=index / 100,
        segment=segment.astype(np.int32),
        split=split.astype(np.int8),
        group=shown,
        state=state,
        presentation=shown,
        phase=(index % length).astype(np.int32),
        period_s=length / 100 if kind == "continuous" else None,
    )


def segments_of(*num_bins, length=75):
    """Return segments of these lengths, a presentation each `length` bins from each one's start."""
    index = np.concatenate([np.arange(num) for num in num_bins])
    segment = np.repeat(np.arange(len(num_bins)), num_bins)
    last = np.cumsum([0, *(-(-num // length) for num in num_bins)])
    shown = (last[segment] + index // length).astype(np.int32)
    return Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=np.arange(len(index)) / 100,
        segment=segment.astype(np.int32),
        split=(index // 500 % 3 == 2).astype(np.int8),
        group=shown,
        state=np.full(len(index), ""),
        presentation=shown,
        phase=(index % length).astype(np.int32),
        period_s=length / 100,
    )


def moves(line, rows):
    """Return how far each draw takes each bin, forward or around the end, in bins."""
    return np.abs(np.stack(rows) - np.arange(len(line)))


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_a_shift_is_10_s_at_least_and_never_near_a_multiple_of_the_flash_period(random):
    line = flashes()
    for rows in shift_rows(line, random, 50).rows:
        np.testing.assert_array_equal(line.segment[rows], line.segment)
        np.testing.assert_array_equal(np.sort(rows), np.arange(len(line)))
        moved = np.abs(rows - np.arange(len(line)))
        assert moved.min() >= 1000
        phase = moved % 75
        assert np.minimum(phase, 75 - phase).min() >= 10


@pytest.mark.parametrize("length", [75, 100, 40])
def test_no_shift_nor_what_it_becomes_around_the_end_is_near_a_multiple_of_the_stride(
    random, length
):
    # Neither segment is a whole number of strides.
    line = segments_of(4510, 4537, length=length)
    phase = moves(line, shift_rows(line, random, 300).rows) % length
    assert np.minimum(phase, length - phase).min() >= min(10, length / 5)


def test_shifts_at_the_stride_of_visual_behavior_are_those_of_earlier_versions(random):
    line = segments_of(9000, 9075)
    drawn = [rows[0] for rows in shift_rows(line, random, 8).rows]
    assert drawn == SHIFTS


def test_without_a_period_any_shift_is_drawn(random):
    line = replace(flashes(), period_s=None)
    phase = moves(line, shift_rows(line, random, 300).rows)[:, 0] % 75
    in_phase = np.minimum(phase, 75 - phase) < 10
    assert in_phase.mean() == pytest.approx(19 / 75, abs=0.08)


def test_segments_that_leave_no_shift_out_of_phase_are_refused(random):
    # Around their ends, each keeps another fifth of the stride from being drawn.
    line = segments_of(*(4500 + 15 * number for number in range(5)))
    with pytest.raises(DataError, match=r"off the stimulus's period of 0\.75 s in every segment"):
        shift_rows(line, random, 5)


def test_permuted_presentations_keep_phase_and_segment_and_all_move(random):
    line = flashes()
    null = clock_rows(line, random, 20)
    for rows in null.rows:
        chosen = null.valid
        np.testing.assert_array_equal(line.phase[rows][chosen], line.phase[chosen])
        np.testing.assert_array_equal(line.segment[rows], line.segment)
        assert (line.presentation[rows][chosen] != line.presentation[chosen]).all()


def test_permuted_trials_all_move(random):
    line = flashes(4000, "trials", 40)
    for rows in shift_rows(line, random, 20).rows:
        assert (line.segment[rows] != line.segment).all()
        np.testing.assert_array_equal(line.phase[rows], line.phase)


def test_a_teacher_that_is_only_the_clock_is_unmasked_by_the_clock_null(random):
    line = flashes()
    angle = 2 * np.pi * line.phase / 75
    y = np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle)], 1)
    y += 0.1 * random.standard_normal(y.shape)
    x = np.concatenate([y + 0.3 * random.standard_normal(y.shape), random.random((9000, 5))], 1)
    score = heldout_cca(x, y, line, shrinkage=1e-3).mean
    clock = null_cca(x, y, line, clock_rows(line, random, 5), 1e-3)
    assert score > 0.85
    assert clock.min() > score - 0.05


def test_a_teacher_without_a_clock_is_at_zero_under_both_nulls(random):
    line = flashes()
    y = random.standard_normal((9000, 3))
    x = y + 0.1 * random.standard_normal(y.shape)
    for rows in (shift_rows(line, random, 5), clock_rows(line, random, 5)):
        assert np.abs(null_cca(x, y, line, rows, 1e-3)).max() < 0.1


@pytest.mark.parametrize("shrinkage", [1e-5, 0.1])
@pytest.mark.parametrize("num_features", [2, 12])
def test_whitening_once_gives_what_fitting_every_draw_gives(random, shrinkage, num_features):
    line = flashes()
    y = np.cumsum(random.standard_normal((9000, 3)), axis=0).astype(np.float32)
    x = y @ random.standard_normal((3, num_features)) + 20 * random.random((9000, num_features))
    x[:, -1] = 0.0
    for rows in (shift_rows(line, random, 11), clock_rows(line, random, 3)):
        train, test = line.train & rows.valid, line.scored & rows.valid
        plain = [
            heldout_cca(x, y[r], line, shrinkage=shrinkage, train=train, test=test).mean
            for r in rows.rows
        ]
        np.testing.assert_allclose(null_cca(x, y, line, rows, shrinkage), plain, atol=1e-12)


def measured(x, y, line, null, shrinkage):
    parts = [line.train & null.valid, line.scored & null.valid]
    return Measured(x, *(moments_of(x[part], y[part]) for part in parts), shrinkage)


@pytest.mark.parametrize("draw", [shift_rows, clock_rows])
def test_a_student_has_the_same_nulls_bit_for_bit_whichever_are_measured_with_it(random, draw):
    line = flashes()
    y = np.cumsum(random.standard_normal((9000, 3)), axis=0).astype(np.float32)
    features = random.standard_normal((7, 9000, 12)).astype(np.float32) + 3
    null = draw(line, random, 20)
    teachers = NullTeachers(y, line, null)
    students = [measured(x, y, line, null, 1e-3 * (1 + i)) for i, x in enumerate(features)]
    alone = [teachers.cca([one])[0] for one in students]
    for size in (2, 3, 5, 7):
        for begin in range(0, len(students), size):
            packed = teachers.cca(students[begin : begin + size])
            np.testing.assert_array_equal(packed, alone[begin : begin + size])


def test_teachers_in_many_small_stretches_give_the_same_nulls(random, monkeypatch):
    line = flashes()
    y = random.standard_normal((9000, 3))
    x = y @ random.standard_normal((3, 12)) + random.standard_normal((9000, 12))
    null = clock_rows(line, random, 5)
    whole = null_cca(x, y, line, null, 1e-3)
    monkeypatch.setattr("rheobase.measures.nulls.MOST_VALUES", 5 * 3 * 17)
    np.testing.assert_allclose(null_cca(x, y, line, null, 1e-3), whole, atol=1e-13)


def test_a_segment_too_short_to_shift_is_refused(random):
    with pytest.raises(DataError, match="to shift the teacher"):
        shift_rows(flashes(2000), random, 5)
