import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.nulls import NullTeachers, clock_rows, null_cca, shift_rows
from rheobase.shards.shard import NONE
from rheobase.shards.timeline import Timeline


def line_of(lengths, before=0):
    """Segments of presentations that last so many bins each, after bins before the first onset."""
    segment, presentation, phase = [], [], []
    number = 0
    for where, each in enumerate(lengths):
        segment += [where] * (before + sum(each))
        presentation += [NONE] * before
        phase += [NONE] * before
        for length in each:
            presentation += [number] * length
            phase += range(length)
            number += 1
    num = len(segment)
    return Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=np.arange(num) / 100,
        segment=np.array(segment, np.int32),
        split=(np.arange(num) % 40 >= 30).astype(np.int8),
        group=(np.arange(num) // 40).astype(np.int32),
        state=np.full(num, ""),
        presentation=np.array(presentation, np.int32),
        phase=np.array(phase, np.int32),
    )


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_what_is_valid_are_the_bins_that_presentations_of_uneven_length_share(random):
    line = line_of([[30, 29, 31, 30, 30]])
    null = clock_rows(line, random, 5)
    np.testing.assert_array_equal(null.valid, line.phase < 29)
    for rows in null.rows:
        np.testing.assert_array_equal(line.phase[rows][null.valid], line.phase[null.valid])
        others = np.unique(line.presentation[rows][null.valid])
        np.testing.assert_array_equal(others, np.arange(5))


def test_bins_before_the_first_onset_take_no_part(random):
    line = line_of([[30, 30, 30]] * 2, before=7)
    null = clock_rows(line, random, 5)
    assert not null.valid[line.presentation == NONE].any()
    assert null.valid.sum() == 6 * 29


def test_draws_differ(random):
    rows = clock_rows(line_of([[30] * 8]), random, 10).rows
    assert len({row.tobytes() for row in rows}) > 5


@pytest.mark.parametrize("lengths", [[[]], [[30]]])
def test_a_single_presentation_cannot_be_permuted(random, lengths):
    with pytest.raises(DataError, match="at least 2 presentations"):
        clock_rows(line_of(lengths, before=40), random, 5)


def test_a_teacher_needs_three_bins_of_test(random):
    line = line_of([[30] * 6])
    y = random.standard_normal((len(line), 2))
    null = clock_rows(line, random, 5)
    test = np.flatnonzero(line.scored & null.valid)
    line.split[test[2:]] = -1
    with pytest.raises(DataError, match=r"at least 3 bins of train and of test .* got 2"):
        NullTeachers(y, line, null)
    line.split[test[2]] = 1
    assert len(null_cca(y, y, line, null, 0.1)) == 5


def test_shifts_reach_from_ten_seconds_to_a_fifth_of_the_segment(random):
    line = line_of([[]], before=5015)
    null = shift_rows(line, random, 200)
    middle = np.flatnonzero(null.valid)
    assert (middle[0], middle[-1]) == (1003, 5014 - 1003)
    moved = {int(rows[2000]) - 2000 for rows in null.rows}
    assert moved == {-1003, -1002, -1001, -1000, 1000, 1001, 1002, 1003}
    with pytest.raises(DataError, match="at least 50 s must hold"):
        shift_rows(line_of([[]], before=4999), random, 5)
    assert abs(int(shift_rows(line_of([[]], before=5000), random, 1).rows[0][2000]) - 2000) == 1000
