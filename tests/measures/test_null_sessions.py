from dataclasses import replace

import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.null_sessions import session_draws
from rheobase.measures.nulls import NullTeachers, null_cca, shift_rows
from rheobase.shards.shard import NONE, TEST, TRAIN
from rheobase.shards.timeline import SEALED, Timeline


def line_of(lengths, states, bin_ms=100.0, kind="continuous"):
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
        state=np.repeat(states, lengths),
        presentation=none,
        phase=none,
    )


def others_of(*lines, width=3):
    """Return sessions whose latents name the session and the bin."""
    return [
        (np.stack([np.full(len(line), number), np.arange(len(line)), line.segment], 1), line)
        for number, line in enumerate(lines)
    ]


HERE = line_of([1000, 2000], ["active", "passive"])


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_sessions_come_in_turn_and_states_are_aligned(random):
    swapped = line_of([2500, 1500], ["passive", "active"])
    y, null = session_draws(HERE, others_of(HERE, swapped), random, 6)
    for draw, rows in enumerate(null.rows):
        taken = y[rows[null.valid]]
        assert (taken[:, 0] == draw % 2).all()
        line = (HERE, swapped)[draw % 2]
        state = line.state[taken[:, 1].astype(int)]
        np.testing.assert_array_equal(state, HERE.state[null.valid])


def test_a_state_that_the_other_has_not_gets_its_segment_of_the_same_number(random):
    y, null = session_draws(HERE, others_of(line_of([1000, 2000], ["", ""])), random, 3)
    for rows in null.rows:
        np.testing.assert_array_equal(y[rows[null.valid], 2], HERE.segment[null.valid])


def test_time_in_the_segment_stays_but_for_a_fifth(random):
    _, null = session_draws(HERE, others_of(HERE), random, 200)
    moved = (np.stack(null.rows) - np.arange(3000))[:, null.valid]
    first, second = moved[:, HERE.segment[null.valid] == 0], moved[:, HERE.segment[null.valid] == 1]
    assert (np.ptp(first, axis=1) == 0).all()
    assert first.min() < -190
    assert first.max() > 190
    assert np.abs(first).max() <= 200
    assert 380 < np.abs(second).max() <= 400


def test_the_same_bins_are_valid_as_of_shifts(random):
    _, null = session_draws(HERE, others_of(HERE), random, 2)
    np.testing.assert_array_equal(null.valid, shift_rows(HERE, random, 2).valid)


def test_a_shorter_session_is_wrapped_inside_its_segment(random):
    short = line_of([300, 400], ["active", "passive"])
    y, null = session_draws(HERE, others_of(short), random, 20)
    for rows in null.rows:
        np.testing.assert_array_equal(y[rows[null.valid], 2], HERE.segment[null.valid])


def test_sealed_bins_of_the_others_are_never_used(random):
    split = np.where(HERE.group % 4 == 1, SEALED, HERE.split).astype(np.int8)
    sealed = replace(HERE, split=split)
    others = [
        (np.where(sealed.sealed[:, None], np.nan, latents), sealed)
        for latents, _ in others_of(HERE, HERE)
    ]
    y, null = session_draws(sealed, others, random, 50)
    used = null.valid & ~sealed.sealed
    for rows in null.rows:
        assert np.isfinite(y[rows[used]]).all()


def test_a_session_that_shares_a_course_with_the_others_shows_in_the_null(random):
    course = HERE.time_s[:, None] / 100 * [1.0, 2.0]
    y = [course + 0.1 * random.standard_normal((3000, 2)) for _ in range(3)]
    x = course[:, :1] * [1.0, 1.0, 1.0] + 0.1 * random.standard_normal((3000, 3))
    teachers, null = session_draws(HERE, [(one, HERE) for one in y], random, 12)
    assert null_cca(x, teachers, HERE, null, 1e-3).min() > 0.4
    alone = [(random.standard_normal((3000, 2)), HERE) for _ in range(3)]
    teachers, null = session_draws(HERE, alone, random, 12)
    assert abs(null_cca(x, teachers, HERE, null, 1e-3).mean()) < 0.1


def test_a_draw_is_the_same_as_that_teacher_alone(random):
    others = [(random.standard_normal((3000, 2)), HERE) for _ in range(2)]
    x = others[1][0] @ random.standard_normal((2, 4)) + random.standard_normal((3000, 4))
    y, null = session_draws(HERE, others, random, 4)
    together = null_cca(x, y, HERE, null, 1e-3)
    for draw, rows in enumerate(null.rows):
        one = replace(null, rows=(np.arange(3000),))
        alone = null_cca(x, y[rows], HERE, one, 1e-3)
        assert together[draw] == pytest.approx(alone[0], abs=1e-12)


def test_trials_get_those_of_the_other_in_order(random):
    here = line_of([10] * 60, [""] * 60, kind="trials")
    other = line_of([10] * 55, [""] * 55, kind="trials")
    split = np.where(other.segment == 4, SEALED, TRAIN).astype(np.int8)
    y, null = session_draws(here, others_of(replace(other, split=split)), random, 60)
    np.testing.assert_array_equal(null.valid, (here.segment >= 12) & (here.segment < 48))
    firsts = set()
    for rows in null.rows:
        taken = y[rows[null.valid], 2].reshape(36, 10)
        assert (np.ptp(taken, axis=1) == 0).all()
        assert 4 not in taken
        np.testing.assert_array_equal(rows[null.valid] % 10, np.arange(360) % 10)
        steps = np.diff(taken[:, 0])
        assert set(steps.tolist()) <= {1.0, 2.0, -54.0}
        firsts.add(int(taken[0, 0]))
    assert {0, 25} <= firsts
    assert len(firsts) > 15


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], "another session must hold"),
        ([(np.zeros((3000, 2)), HERE), (np.zeros((3000, 3)), HERE)], "as many latents"),
        ([(np.zeros((2999, 2)), HERE)], "latents of each bin"),
        ([(np.zeros((3000, 2)), replace(HERE, bin_ms=50.0))], "same kind and bins"),
    ],
)
def test_sessions_that_do_not_fit_are_refused(random, others, said):
    with pytest.raises(DataError, match=said):
        session_draws(HERE, others, random, 2)


def test_a_session_too_short_to_be_laid_over_is_refused(random):
    with pytest.raises(DataError, match="at least 50 s must hold"):
        session_draws(line_of([499], [""]), others_of(HERE), random, 2)


def test_a_teacher_of_another_session_that_stands_still_is_refused(random):
    y, null = session_draws(HERE, [(np.zeros((3000, 2)), HERE)], random, 2)
    with pytest.raises(DataError, match="must vary"):
        NullTeachers(y, HERE, null)
