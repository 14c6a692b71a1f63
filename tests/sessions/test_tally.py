import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.quality.tally import DUPLICATE_S, MAX_BINS, tally_spikes
from rheobase.sessions.records.session import Intervals, Presentations, Session, Units

TIMES = st.lists(st.floats(0, 500, allow_nan=False), max_size=40)


def session_of(trains, stop_s=500.0, probes=None, **metrics):
    units = Units(
        np.arange(len(trains)),
        np.full(len(trains), "VISp"),
        np.array(probes or [""] * len(trains)),
        metrics,
    )
    return Session(
        session_id="s",
        source="s.npz",
        data_digest="0" * 16,
        units=units,
        spike_times_s=np.concatenate(
            [np.zeros(0), *(np.asarray(train, float) for train in trains)]
        ),
        spike_offsets=np.concatenate([[0], np.cumsum([len(train) for train in trains])]).astype(
            np.int64
        ),
        intervals=Intervals(np.zeros(1), np.array([stop_s]), np.array([""])),
        presentations=Presentations.none(),
    )


@given(trains=st.lists(TIMES, min_size=1, max_size=5))
def test_counts_are_those_of_numpys_histogram(trains):
    tally = tally_spikes(session_of(trains))
    for unit, train in enumerate(trains):
        expected = np.histogram(train, np.arange(501.0))[0]
        np.testing.assert_array_equal(tally.counts[unit], expected)
    np.testing.assert_array_equal(tally.of_probe[""], tally.counts.sum(axis=0))


@given(train=TIMES)
def test_spikes_out_of_order_and_twice_are_counted_as_a_slow_way_counts_them(train):
    tally = tally_spikes(session_of([train, [1.0]]))
    assert tally.num_unsorted[0] == sum(b < a for a, b in pairwise(train))
    ordered = sorted(train)
    pairs = pairwise(ordered)
    assert tally.num_duplicate[0] == sum(b - a < DUPLICATE_S for a, b in pairs)


def test_presence_is_the_share_of_stretches_with_a_spike():
    # 1,000 s make 100 bins of 10 s: one unit fires in half of them, one in all, one in none.
    half = np.arange(5.0, 500.0, 10.0)
    tally = tally_spikes(session_of([half, np.arange(5.0, 1000.0, 10.0), []], stop_s=1000.0))
    np.testing.assert_allclose(tally.presence(slice(0, 1000)), [0.5, 1.0, 0.0])
    np.testing.assert_allclose(tally.presence(tally.bins_within(0, 500)), [1.0, 1.0, 0.0])
    np.testing.assert_allclose(tally.presence(tally.bins_within(500, 1000)), [0.0, 1.0, 0.0])


def test_a_spike_with_an_absurd_time_costs_no_memory_and_is_found():
    train = np.arange(0.0, 1000.0, 0.01)
    late = session_of([np.append(train, 1e9)], stop_s=1e9 + 1)
    assert tally_spikes(late).counts.shape[1] <= MAX_BINS
    assert {finding.check for finding in check_session(late)} == {"probe-silent"}


def test_probes_are_judged_each_for_itself():
    steady = np.arange(0.0, 500.0, 0.02)
    gap = steady[(steady < 100) | (steady > 110)]
    (found,) = check_session(session_of([steady, gap], probes=["A", "B"]))
    assert found.check == "probe-silent"
    assert "of B for 10 s at 100 s" in found.detail
    # The same units on one probe: it never falls silent.
    assert check_session(session_of([steady, gap], probes=["A", "A"])) == []


def test_a_sparse_recording_is_not_called_silent():
    rare = np.arange(0.0, 500.0, 20.0)
    assert check_session(session_of([rare])) == []


@pytest.mark.parametrize(("stated", "told"), [(0.95, {"presence-disagrees"}), (0.5, set())])
def test_a_unit_that_leaves_is_found_where_its_stated_presence_hides_it(stated, told):
    leaving, staying = np.arange(0.0, 250.0, 0.1), np.arange(0.0, 500.0, 0.1)
    session = session_of([leaving, staying], presence_ratio=np.array([stated, 0.99]))
    assert {finding.check for finding in check_session(session)} == told


def test_a_unit_too_quiet_to_say_is_not_called_absent():
    rare = np.arange(0.0, 500.0, 30.0)
    assert check_session(session_of([rare], presence_ratio=np.array([0.99]))) == []


def test_order_of_units_does_not_change_the_findings():
    steady = np.arange(0.0, 500.0, 0.02)
    gap = steady[(steady < 100) | (steady > 110)]
    one = check_session(session_of([steady, gap, [5.0, 1.0]], probes=["A", "B", "A"]))
    other = check_session(session_of([[5.0, 1.0], gap, steady], probes=["A", "B", "A"]))
    assert {(f.check, f.count) for f in one} == {(f.check, f.count) for f in other}


def test_checks_take_less_memory_than_a_tenth_of_the_spikes():
    draw = np.random.default_rng(0)
    trains = [np.sort(draw.random(40_000)) * 1000.0 for _ in range(50)]
    session = session_of(trains, stop_s=1000.0)
    tracemalloc.start()
    check_session(session)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert session.spike_times_s.nbytes == 16_000_000
    assert peak < 3_000_000


def test_times_of_a_clock_that_does_not_start_at_0_are_tallied():
    # A recording in seconds since 1970, its one interval stating when it was.
    began = 1.6e9
    session = session_of([np.arange(began, began + 100, 0.01)])
    session = replace(
        session,
        intervals=Intervals(np.array([began]), np.array([began + 100]), np.array([""])),
    )
    tally = tally_spikes(session)
    assert tally.counts.shape == (1, 100)
    assert tally.counts.sum() == session.num_spikes


@pytest.mark.parametrize(
    ("scale", "told"),
    [(1.0, set()), (30_000.0, {"spikes-outside-session", "clocks-of-units-differ"})],
)
def test_stretches_of_a_state_need_not_cover_the_recording(scale, told):
    session = session_of([np.arange(0.0, 1000.0, 0.1), np.arange(0.0, 1000.0, 0.5) * scale])
    epochs = Intervals(np.array([100.0, 200.0]), np.array([200.0, 260.0]), np.array(["a", "b"]))
    found = check_session(replace(session, intervals=epochs))
    assert {finding.check for finding in found} == told
