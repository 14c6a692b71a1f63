from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheobase.core.errors import ArtifactError, DataError
from rheobase.sessions.records.session import (
    Intervals,
    Presentations,
    Session,
    TrialSession,
    Units,
)
from rheobase.shards.binning import (
    bin_starts,
    bins_of,
    counts_of_units,
    make_shard,
    phases,
)
from rheobase.shards.settings import DataSettings, SplitSettings
from rheobase.shards.shard import GAP, NONE, TEST, TRAIN, VALIDATION
from rheobase.shards.splits import with_gaps
from rheobase.shards.store import read_shard, write_shard
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.shards.windows import window_starts


def opened(shard):
    return timeline_of(shard, open_test=True)


def recording(num_units=3, minutes=2.0, seed=0):
    draw = np.random.default_rng(seed)
    stop = minutes * 60
    spikes = [np.sort(draw.uniform(0, stop, 400)) for _ in range(num_units)]
    half = stop / 2
    return Session(
        session_id="s",
        source="s.nwb",
        data_digest="d",
        units=Units(np.arange(num_units), np.full(num_units, "VISp"), np.full(num_units, "probeA")),
        spike_times_s=np.concatenate(spikes),
        spike_offsets=np.arange(num_units + 1) * 400,
        intervals=Intervals(
            np.array([0.0, half]), np.array([half, stop]), np.array(["active", "passive"])
        ),
        presentations=Presentations.none(),
    )


def shown_at(*start_s):
    """Return presentations of two images in turn, of 50 ms each."""
    num, start_s = len(start_s), np.array(start_s, float)
    return replace(
        Presentations.none(),
        start_s=start_s,
        stop_s=start_s + 0.05,
        image=np.array([f"im{n % 2}" for n in range(num)]),
        is_change=np.arange(num) > 0,
        omitted=np.zeros(num, bool),
        block=np.zeros(num, np.int64),
        active=np.ones(num, bool),
    )


def trials(counts, bin_ms=10.0):
    """Return a recording by trial of these counts (P, N, T)."""
    num_trials, num_units, _ = np.shape(counts)
    return TrialSession(
        session_id="t",
        source="t.npz",
        data_digest="d",
        units=Units(np.arange(num_units), np.full(num_units, "VISp"), np.full(num_units, "")),
        counts=np.asarray(counts, np.uint8),
        bin_ms=bin_ms,
        trial_start_s=np.arange(float(num_trials)),
        labels={},
    )


def interval(start_s, stop_s, session=None):
    """Return a recording that may be binned in one stretch only."""
    only = Intervals(np.array([start_s]), np.array([stop_s]), np.array([""]))
    return replace(session or recording(), intervals=only)


SETTINGS = DataSettings(sessions=("s.nwb",))


def count_spikes(spikes_s, edges_s):
    return np.bincount(bins_of(spikes_s, edges_s), minlength=len(edges_s) - 1)


@given(st.lists(st.floats(-1, 40, allow_nan=False), max_size=50), st.sampled_from([1, 7, 10, 25]))
def test_every_spike_inside_is_counted_once_in_the_bin_it_falls_in(spikes, bin_ms):
    edges = bin_starts(0.3, 1000, bin_ms)
    spikes = np.array(spikes, float)
    expected = np.histogram(spikes[spikes < edges[-1]], edges)[0]
    np.testing.assert_array_equal(count_spikes(spikes, edges), expected)


def test_a_spike_on_an_edge_belongs_to_the_bin_it_opens():
    edges = bin_starts(0.0, 1000, 10.0)
    np.testing.assert_array_equal(count_spikes(edges[:-1], edges), np.ones(1000))


def test_counts_of_all_units_are_those_of_each_alone_in_any_order_of_spikes():
    session = recording(num_units=4)
    shuffled = session.spike_times_s.copy()
    np.random.default_rng(1).shuffle(shuffled[400:800])
    session = replace(session, spike_times_s=shuffled)
    edges = bin_starts(10.0, 5000, 10.0)
    counts = counts_of_units(session, edges).dense()
    for unit in range(4):
        np.testing.assert_array_equal(counts[:, unit], count_spikes(session.spikes_of(unit), edges))


@pytest.mark.parametrize(("num_spikes", "fits"), [(255, True), (256, False)])
def test_a_bin_of_more_than_255_spikes_is_refused(num_spikes, fits):
    session = recording(num_units=2)
    spikes = session.spike_times_s.copy()
    spikes[400 : 400 + num_spikes] = 5.0
    session = replace(session, spike_times_s=spikes)
    edges = np.array([4.9999, 5.0001])
    if fits:
        assert counts_of_units(session, edges).dense()[0, 1] == num_spikes
    else:
        with pytest.raises(DataError, match="unit 1: at most 255 spikes a bin must hold"):
            counts_of_units(session, edges)


def test_a_last_bin_that_is_not_whole_is_left_out_with_its_spikes():
    session = recording(minutes=0.5)
    stop = np.array([14.9999])
    session = replace(session, intervals=Intervals(np.zeros(1), stop, np.array([""])))
    counts = stacked_counts(make_shard(session, SETTINGS, TRAIN))
    assert len(counts) == 1499
    assert counts.sum() == (session.spike_times_s < 14.99).sum()


@pytest.mark.parametrize(("start_s", "stop_s"), [(0.1, 16.4), (1.6, 45.3), (39.9, 54.8)])
def test_a_last_bin_that_only_rounding_makes_too_short_is_kept(start_s, stop_s):
    num_bins = round((stop_s - start_s) * 100)
    assert (stop_s - start_s) * 1000 / 10 < num_bins
    shard = make_shard(interval(start_s, stop_s), SETTINGS, TRAIN)
    assert shard.num_bins == num_bins


def test_a_remainder_shorter_than_a_block_is_part_of_the_last_block():
    line = timeline_of(make_shard(interval(0.0, 17.4), SETTINGS, TRAIN))
    np.testing.assert_array_equal(np.bincount(line.group), [500, 500, 740])


def test_blocks_of_all_intervals_are_numbered_on_and_an_interval_of_less_than_a_block_is_one():
    stretches = Intervals(
        np.array([0.0, 20.0, 40.0]), np.array([10.0, 30.0, 52.0]), np.array(["a", "b", "a"])
    )
    session = replace(recording(), intervals=stretches)
    line = timeline_of(make_shard(session, SETTINGS, TRAIN))
    np.testing.assert_array_equal(np.bincount(line.group), [500, 500, 500, 500, 500, 700])
    np.testing.assert_array_equal(line.segment, np.repeat([0, 1, 2], [1000, 1000, 1200]))


def test_an_onset_is_in_the_bin_it_falls_in_and_on_an_edge_in_the_one_it_opens():
    edges = bin_starts(1.0, 12, 10.0)
    # Before the first bin; on its edge; inside; on an edge; past the last one.
    presentation, phase = phases(edges, shown_at(0.95, 1.02, 1.056, edges[9], edges[12]))
    np.testing.assert_array_equal(presentation, [NONE] * 2 + [1] * 3 + [2] * 4 + [3] * 3)
    np.testing.assert_array_equal(phase, [NONE, NONE, 0, 1, 2, 0, 1, 2, 3, 0, 1, 2])


def test_of_onsets_in_one_bin_the_latest_is_what_the_bin_shows():
    presentation, phase = phases(bin_starts(0.0, 5, 10.0), shown_at(0.011, 0.019))
    np.testing.assert_array_equal(presentation, [NONE, 1, 1, 1, 1])
    np.testing.assert_array_equal(phase, [NONE, 0, 1, 2, 3])


def test_every_spike_of_the_intervals_is_in_the_shard():
    session = recording()
    shard = make_shard(session, SETTINGS)
    assert stacked_counts(shard).sum() == session.num_spikes


def test_no_window_crosses_a_split_a_gap_or_a_state():
    line = opened(make_shard(recording(), SETTINGS))
    for split in (TRAIN, VALIDATION, TEST):
        for start in window_starts(line, split, 100)[::7]:
            window = slice(start, start + 100)
            assert set(line.split[window]) == {split}
            assert len(set(line.segment[window])) == len(set(line.state[window])) == 1


def test_any_two_parts_stay_the_gap_apart():
    line = opened(make_shard(recording(), SETTINGS))
    for segment in (0, 1):
        split = line.split[line.segment == segment]
        parts = [np.flatnonzero(split == label) for label in (TRAIN, VALIDATION, TEST)]
        for left, right in combinations(parts, 2):
            assert np.abs(left[:, None] - right).min() > 2 * 50


def test_test_is_sealed_until_it_is_opened_and_nothing_else_changes():
    shard = make_shard(recording(), SETTINGS)
    closed, line = timeline_of(shard), opened(shard)
    np.testing.assert_array_equal(closed.sealed, line.split == TEST)
    np.testing.assert_array_equal(closed.scored, line.split == VALIDATION)
    np.testing.assert_array_equal(line.scored, line.split == TEST)
    assert closed.sealed.any()
    assert not line.sealed.any()
    np.testing.assert_array_equal(closed.split[~closed.sealed], line.split[~closed.sealed])


def test_gaps_lie_on_both_sides_of_a_border():
    split = np.array([TRAIN] * 5 + [TEST] * 5, np.int8)
    np.testing.assert_array_equal(np.flatnonzero(with_gaps(split, 2) == GAP), [3, 4, 5, 6])


def test_a_session_shorter_than_a_window_is_refused():
    with pytest.raises(DataError, match="at least one window"):
        make_shard(recording(minutes=0.02), SETTINGS)


def test_a_stored_shard_comes_back_and_a_truncated_one_is_refused(tmp_path):
    shard = make_shard(recording(), SETTINGS)
    path = tmp_path / "shard.arrow"
    write_shard(path, shard)
    back = read_shard(path)
    np.testing.assert_array_equal(stacked_counts(back), stacked_counts(shard))
    np.testing.assert_array_equal(timeline_of(back).split, timeline_of(shard).split)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="not a whole shard"):
        read_shard(path)


def test_wider_bins_of_trials_hold_the_sum_of_the_narrow_ones():
    counts = np.random.default_rng(0).poisson(2.0, (4, 3, 41))
    settings = DataSettings(sessions=("t.npz",), bin_ms=20.0, window_ms=100.0)
    shard = make_shard(trials(counts), settings)
    # The last bin of 10 ms has no partner and is left out.
    pairs = counts[:, :, 0:40:2] + counts[:, :, 1:40:2]
    np.testing.assert_array_equal(stacked_counts(shard), pairs.transpose(0, 2, 1).reshape(80, 3))


def test_wide_bins_of_more_than_255_spikes_are_refused():
    settings = DataSettings(sessions=("t.npz",), bin_ms=20.0, window_ms=100.0)
    with pytest.raises(DataError, match="at most 255 spikes a bin must hold, but got 256"):
        make_shard(trials(np.full((2, 1, 20), 128)), settings)


def test_a_recording_too_short_for_three_parts_is_refused_with_the_least_that_works():
    least = r"s\.nwb: at least 4 blocks of 5 s, 20 s in all, must hold .* but got 3; use a longer"
    with pytest.raises(DataError, match=least):
        make_shard(interval(0.0, 19.9), SETTINGS)
    make_shard(interval(0.0, 20.0), SETTINGS)
    with pytest.raises(DataError, match=r"t\.npz: at least 4 trials must hold .* but got 3"):
        make_shard(trials(np.ones((3, 2, 100))), SETTINGS)
    short = Intervals(np.array([0.0, 60]), np.array([60.0, 75]), np.array(["a", "b"]))
    with pytest.raises(DataError, match=r"s\.nwb: state 'b': at least 4 blocks .* but got 3"):
        make_shard(replace(recording(), intervals=short), SETTINGS)


def test_blocks_are_drawn_among_all_intervals_of_their_state():
    # Of two blocks each: neither alone could be divided.
    apart = Intervals(np.array([0.0, 50]), np.array([10.0, 60]), np.array(["a"] * 2))
    line = opened(make_shard(replace(recording(), intervals=apart), SETTINGS))
    assert {TRAIN, VALIDATION, TEST} == set(line.split.tolist()) - {GAP}


# What generators named by session, state and first group drew when they were first written down.
ACTIVE_TEST, PASSIVE_TEST, TRIAL_TEST = (
    [0, 7, 9, 14, 22],
    [29, 31, 34, 43, 45],
    [10, 13, 18, 22, 23],
)
ACTIVE_VALIDATION, PASSIVE_VALIDATION = [2, 3, 15, 23], [25, 26, 40, 42]
TRIAL_VALIDATION = [1, 7, 11, 16]


def groups_of(line, label, state):
    return sorted(set(line.group[(line.split == label) & (line.state == state)].tolist()))


def test_which_groups_are_held_out_follows_from_the_names_of_session_state_and_first_group():
    line = opened(make_shard(recording(minutes=4.0), SETTINGS))
    assert groups_of(line, TEST, "active") == ACTIVE_TEST
    assert groups_of(line, VALIDATION, "active") == ACTIVE_VALIDATION
    assert groups_of(line, TEST, "passive") == PASSIVE_TEST
    assert groups_of(line, VALIDATION, "passive") == PASSIVE_VALIDATION
    again = opened(make_shard(replace(recording(minutes=4.0), session_id="r"), SETTINGS))
    assert groups_of(again, TEST, "active") != ACTIVE_TEST
    by_trial = opened(make_shard(trials(np.ones((24, 1, 100))), SETTINGS))
    assert groups_of(by_trial, TEST, "") == TRIAL_TEST
    assert groups_of(by_trial, VALIDATION, "") == TRIAL_VALIDATION


@pytest.mark.parametrize("label", [TRAIN, VALIDATION, TEST])
@pytest.mark.parametrize("kind", ["continuous", "trials"])
def test_every_bin_of_a_session_that_is_divided_as_a_whole_has_its_label(kind, label):
    settings = DataSettings(sessions=("s",), split=SplitSettings(by="session"))
    session = recording() if kind == "continuous" else trials(np.ones((5, 2, 100)))
    shard = make_shard(session, settings, label)
    assert shard.kind == kind
    assert set(opened(shard).split) == {label}


def test_the_period_of_the_onsets_reaches_the_timeline_through_the_store(tmp_path):
    regular = replace(recording(), presentations=shown_at(*np.arange(1.0, 110.0, 1.25)))
    irregular = shown_at(*np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, 100)))
    for session, period_s in (
        (regular, 1.25),
        (replace(recording(), presentations=irregular), None),
        (recording(), None),
    ):
        shard = make_shard(session, SETTINGS)
        path = tmp_path / "shard.arrow"
        write_shard(path, shard)
        line = timeline_of(read_shard(path))
        assert shard.period_s == line.period_s == period_s
        assert line.at(np.arange(5)).period_s == period_s
