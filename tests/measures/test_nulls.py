from dataclasses import replace

import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.cca import heldout_cca
from rheobase.measures.moments import moments_of
from rheobase.measures.nulls import (
    Measured,
    NullTeachers,
    clock_rows,
    null_cca,
    own_cca,
    shift_rows,
)
from rheobase.shards.shard import TRAIN, VALIDATION
from rheobase.shards.timeline import SEALED, Timeline


def flashes(num_bins=12000, kind="continuous", length=75):
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


def moves(line, null):
    """Return how far each draw takes each valid bin, later or earlier, in bins."""
    return (np.stack(null.rows) - np.arange(len(line)))[:, null.valid]


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_a_shift_is_10_s_at_least_and_never_near_a_multiple_of_the_flash_period(random):
    line = flashes(20000)
    null = shift_rows(line, random, 50)
    for rows in null.rows:
        np.testing.assert_array_equal(line.segment[rows], line.segment)
    moved = moves(line, null)
    assert np.abs(moved).min() >= 1000
    phase = moved % 75
    assert np.minimum(phase, 75 - phase).min() >= 10


def test_a_shift_moves_each_segment_as_a_whole_and_wraps_around_no_end(random):
    line = segments_of(9000, 12000)
    null = shift_rows(line, random, 40)
    np.testing.assert_array_equal(
        np.flatnonzero(null.valid), [*range(1800, 7200), *range(9000 + 2400, 9000 + 9600)]
    )
    moved = moves(line, null)
    first, second = moved[:, :5400], moved[:, 5400:]
    assert (np.ptp(first, axis=1) == 0).all()
    assert (np.ptp(second, axis=1) == 0).all()
    assert (np.abs(first) <= 1800).all()
    assert (np.abs(second) <= 2400).all()
    assert (moved > 0).any()
    assert (moved < 0).any()
    assert (first[:, 0] != second[:, 0]).any()


@pytest.mark.parametrize("length", [75, 100, 40])
def test_no_shift_is_near_a_multiple_of_the_stride(random, length):
    line = segments_of(9010, 9037, length=length)
    phase = moves(line, shift_rows(line, random, 300)) % length
    assert np.minimum(phase, length - phase).min() >= min(10, length / 5)


def test_without_a_period_any_shift_is_drawn(random):
    line = replace(flashes(20000), period_s=None)
    phase = moves(line, shift_rows(line, random, 300))[:, 0] % 75
    in_phase = np.minimum(phase, 75 - phase) < 10
    assert in_phase.mean() == pytest.approx(19 / 75, abs=0.08)


def test_segments_that_are_too_short_take_no_part(random):
    line = segments_of(4000, 9000)
    null = shift_rows(line, random, 5)
    assert not null.valid[:4000].any()
    assert null.valid[4000:].sum() == 5400


def test_a_slow_signal_is_as_smooth_shifted_as_it_is(random):
    line = flashes(20000)
    y = np.cumsum(random.standard_normal((20000, 1)), axis=0)
    null = shift_rows(line, random, 20)
    inner = null.valid[1:] & null.valid[:-1] & (np.diff(line.segment) == 0)
    for rows in null.rows:
        assert np.abs(np.diff(y[rows, 0])[inner]).max() < 6


def sealed(line, random, share=0.2):
    """Return the labels with whole blocks of 5 s sealed, and validation to score on."""
    block = np.arange(len(line)) // 500
    label = random.permutation(np.resize([SEALED, VALIDATION, *[TRAIN] * 3], block.max() + 1))
    return replace(line, split=label[block].astype(np.int8), scored_split=VALIDATION)


def test_no_sealed_bin_is_ever_a_stand_in(random):
    line = sealed(flashes(24000), random)
    for draw in (shift_rows, clock_rows):
        null = draw(line, random, 60)
        used = null.valid & ~line.sealed
        assert (line.train & null.valid).any()
        for rows in null.rows:
            assert not line.sealed[rows[used]].any()


def test_stand_ins_of_sealed_bins_stay_off_phase_far_and_inside_the_segment(random):
    line = sealed(flashes(24000), random)
    null = shift_rows(line, random, 60)
    used = null.valid & ~line.sealed
    moved = (np.stack(null.rows) - np.arange(len(line)))[:, used]
    phase = moved % 75
    assert np.minimum(phase, 75 - phase).min() >= 10
    assert np.abs(moved).min() >= 1000
    assert (np.ptp(moved, axis=1) > 0).any()
    for rows in null.rows:
        np.testing.assert_array_equal(line.segment[rows[used]], line.segment[used])


def test_only_what_would_be_sealed_is_moved_further(random):
    line = flashes(24000)
    hidden = sealed(line, random)
    plain = shift_rows(line, np.random.default_rng(1), 30)
    spared = shift_rows(hidden, np.random.default_rng(1), 30)
    for rows, other in zip(plain.rows, spared.rows, strict=True):
        used = plain.valid & ~hidden.sealed
        kept = used & ~hidden.sealed[rows]
        np.testing.assert_array_equal(other[kept], rows[kept])
        assert (other[used & ~kept] != rows[used & ~kept]).all()


def test_what_sealed_bins_hold_changes_no_null(random):
    line = sealed(flashes(24000), random)
    y = random.standard_normal((24000, 3))
    x = y + random.standard_normal((24000, 3))
    hidden = np.where(line.sealed[:, None], np.nan, y)
    for draw in (shift_rows, clock_rows):
        null = draw(line, random, 10)
        numbers = null_cca(x, hidden, line, null, 1e-3)
        assert np.isfinite(numbers).all()
        np.testing.assert_array_equal(numbers, null_cca(x, y, line, null, 1e-3))


def test_a_segment_of_which_too_little_is_open_is_refused(random):
    line = replace(flashes(24000), scored_split=VALIDATION)
    place = np.arange(24000) % 12000
    split = np.where((place >= 5000) & (place < 5900), TRAIN, SEALED).astype(np.int8)
    with pytest.raises(DataError, match="not held back for the report"):
        shift_rows(replace(line, split=split), random, 5)


def test_own_cca_is_the_students_on_the_bins_of_the_null(random):
    line = flashes()
    y = random.standard_normal((12000, 3))
    x = np.hstack([y, y]) + random.standard_normal((12000, 6))
    null = shift_rows(line, random, 5)
    train, test = line.train & null.valid, line.scored & null.valid
    plain = heldout_cca(x, y, line, shrinkage=1e-3, train=train, test=test).mean
    assert own_cca(measured(x, y, line, null, 1e-3)) == pytest.approx(plain, abs=1e-12)


def test_moments_of_other_bins_than_the_nulls_are_refused(random):
    line = flashes()
    y = random.standard_normal((12000, 3))
    null = shift_rows(line, random, 5)
    every = replace(null, valid=np.ones(12000, bool))
    with pytest.raises(DataError, match="moments must be those of the null's valid bins"):
        NullTeachers(y, line, null).cca([measured(y, y, line, every, 1e-3)])


def test_permuted_presentations_keep_phase_and_segment_and_all_move(random):
    line = flashes()
    null = clock_rows(line, random, 20)
    for rows in null.rows:
        chosen = null.valid
        np.testing.assert_array_equal(line.phase[rows][chosen], line.phase[chosen])
        np.testing.assert_array_equal(line.segment[rows], line.segment)
        assert (line.presentation[rows][chosen] != line.presentation[chosen]).all()


@pytest.mark.parametrize("draw", [shift_rows, clock_rows])
def test_trials_are_shifted_as_a_whole_by_at_most_a_fifth(random, draw):
    line = flashes(4000, "trials", 40)
    null = draw(line, random, 400)
    np.testing.assert_array_equal(null.valid, (line.segment >= 20) & (line.segment < 80))
    shifts = set()
    for rows in null.rows:
        np.testing.assert_array_equal(line.phase[rows], line.phase)
        moved = (line.segment[rows] - line.segment)[null.valid]
        assert np.ptp(moved) == 0
        shifts.add(int(moved[0]))
    assert shifts == set(range(-20, 21)) - {0}


def test_the_nearest_open_trial_stands_in_for_a_sealed_one(random):
    line = flashes(4000, "trials", 40)
    trial = line.segment
    hidden = replace(line, split=np.where(trial % 3 == 1, SEALED, TRAIN).astype(np.int8))
    plain = shift_rows(line, np.random.default_rng(1), 30)
    for rows, other in zip(
        shift_rows(hidden, np.random.default_rng(1), 30).rows, plain.rows, strict=True
    ):
        used = plain.valid & ~hidden.sealed
        assert not hidden.sealed[rows[used]].any()
        assert (trial[rows[used]] != trial[used]).all()
        assert np.abs(trial[rows[used]] - trial[other[used]]).max() <= 2
        np.testing.assert_array_equal(line.phase[rows[used]], line.phase[used])


@pytest.mark.parametrize("draw", [shift_rows, clock_rows])
def test_drift_across_trials_passes_no_null(random, draw):
    line = flashes(9600, "trials", 40)
    passed = 0
    for _ in range(30):
        x, y = (np.cumsum(random.standard_normal((240, 3)), axis=0)[line.segment] for _ in "xy")
        x, y = (one + random.standard_normal(one.shape) for one in (x, y))
        null = draw(line, random, 40)
        own = own_cca(measured(x, y, line, null, 1e-3))
        passed += own > np.quantile(null_cca(x, y, line, null, 1e-3), 0.95)
    assert passed < 6


def test_too_few_trials_cannot_be_shifted(random):
    with pytest.raises(DataError, match="at least 50 trials must hold to shift"):
        shift_rows(flashes(49 * 40, "trials", 40), random, 5)
    assert len(shift_rows(flashes(50 * 40, "trials", 40), random, 5).rows) == 5


def test_a_teacher_that_is_only_the_clock_is_unmasked_by_the_clock_null(random):
    line = flashes()
    angle = 2 * np.pi * line.phase / 75
    y = np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle)], 1)
    y += 0.1 * random.standard_normal(y.shape)
    x = np.concatenate([y + 0.3 * random.standard_normal(y.shape), random.random((12000, 5))], 1)
    score = heldout_cca(x, y, line, shrinkage=1e-3).mean
    clock = null_cca(x, y, line, clock_rows(line, random, 5), 1e-3)
    assert score > 0.85
    assert clock.min() > score - 0.05


def test_a_teacher_without_a_clock_is_at_zero_under_both_nulls(random):
    line = flashes()
    y = random.standard_normal((12000, 3))
    x = y + 0.1 * random.standard_normal(y.shape)
    for rows in (shift_rows(line, random, 5), clock_rows(line, random, 5)):
        assert np.abs(null_cca(x, y, line, rows, 1e-3)).max() < 0.1


@pytest.mark.parametrize("shrinkage", [1e-5, 0.1])
@pytest.mark.parametrize("num_features", [2, 12])
def test_whitening_once_gives_what_fitting_every_draw_gives(random, shrinkage, num_features):
    line = flashes()
    y = np.cumsum(random.standard_normal((12000, 3)), axis=0).astype(np.float32)
    x = y @ random.standard_normal((3, num_features)) + 20 * random.random((12000, num_features))
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
    y = np.cumsum(random.standard_normal((12000, 3)), axis=0).astype(np.float32)
    features = random.standard_normal((7, 12000, 12)).astype(np.float32) + 3
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
    y = random.standard_normal((12000, 3))
    x = y @ random.standard_normal((3, 12)) + random.standard_normal((12000, 12))
    null = clock_rows(line, random, 5)
    whole = null_cca(x, y, line, null, 1e-3)
    monkeypatch.setattr("rheobase.measures.nulls.MOST_VALUES", 5 * 3 * 17)
    np.testing.assert_allclose(null_cca(x, y, line, null, 1e-3), whole, atol=1e-13)


def test_a_segment_too_short_to_shift_is_refused(random):
    with pytest.raises(DataError, match="to shift the teacher"):
        shift_rows(flashes(2000), random, 5)
