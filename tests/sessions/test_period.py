from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheobase.sessions.readers.nwb import read_nwb
from rheobase.sessions.records.session import Presentations


def shown_at(start_s, block=None, stride_s=None):
    start_s = np.asarray(start_s, float)
    num, no = len(start_s), np.zeros(len(start_s), bool)
    return Presentations(
        start_s=start_s,
        stop_s=start_s,
        image=np.full(num, "a"),
        is_change=no,
        omitted=no,
        block=np.zeros(num, np.int64) if block is None else np.asarray(block),
        active=no,
        stride_s=stride_s,
    )


def test_a_planted_session_has_the_period_of_visual_behavior_to_the_last_bit(planted_file):
    assert read_nwb(planted_file).presentations.period_s == 0.75


@given(
    st.floats(0.1, 20),
    st.sets(st.integers(0, 79), max_size=20),
    st.floats(0, 50),
)
def test_the_period_is_found_whichever_of_a_quarter_of_the_rows_are_missing(
    period_s, missing, first_s
):
    start_s = first_s + period_s * np.delete(np.arange(80), list(missing))
    assert shown_at(start_s).period_s == pytest.approx(period_s, rel=1e-9)


def test_times_rounded_to_the_frames_of_a_screen_keep_the_phase_over_an_hour():
    period_s, num = 0.7507, 4800
    start_s = np.round(np.arange(num) * period_s * 59.97) / 59.97
    found_s = shown_at(start_s, stride_s=0.75).period_s
    assert abs(found_s - period_s) * num < 1 / 59.97
    assert abs(np.median(np.diff(start_s)) - period_s) * num > 0.1


def test_a_pause_between_blocks_is_no_step():
    start_s = np.concatenate([np.arange(10) * 2.0, 25.3 + np.arange(10) * 2.0])
    block = np.repeat([0, 1], 10)
    assert shown_at(start_s, block).period_s == 2.0
    assert shown_at(start_s).period_s == 2.0  # one step in nineteen


@pytest.mark.parametrize("spread", [0.3, 0.9])
def test_onsets_that_come_irregularly_have_no_period(spread):
    steps_s = np.random.default_rng(0).uniform(1 - spread, 1 + spread, 300)
    assert shown_at(np.cumsum(steps_s)).period_s is None
    assert shown_at(np.cumsum(steps_s), stride_s=1.0).period_s is None


def test_without_two_onsets_the_layouts_promise_holds_or_nothing():
    for start_s in ([], [3.0]):
        assert shown_at(start_s).period_s is None
        assert shown_at(start_s, stride_s=0.75).period_s == 0.75
    assert replace(shown_at([3.0, np.nan, 5.0]), stride_s=None).period_s == 2.0
