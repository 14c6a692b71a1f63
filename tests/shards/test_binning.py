from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheobase.core.errors import ArtifactError, DataError
from rheobase.sessions.records.session import Intervals, Presentations, Session, Units
from rheobase.shards.binning import bin_starts, bins_of, counts_of_units, make_shard, with_gaps
from rheobase.shards.settings import DataSettings
from rheobase.shards.shard import GAP, TEST, TRAIN
from rheobase.shards.store import read_shard, write_shard
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.shards.windows import window_starts


def recording(num_units=3, minutes=2.0, seed=0):
    draw = np.random.default_rng(seed)
    stop = minutes * 60
    spikes = [np.sort(draw.uniform(0, stop, 400)) for _ in range(num_units)]
    half = stop / 2
    return Session(
        "s",
        "s.nwb",
        "d",
        Units(np.arange(num_units), np.full(num_units, "VISp"), np.full(num_units, "probeA")),
        np.concatenate(spikes),
        np.arange(num_units + 1) * 400,
        Intervals(np.array([0.0, half]), np.array([half, stop]), np.array(["active", "passive"])),
        Presentations.none(),
    )


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
    counts = stacked_counts(make_shard(session, SETTINGS))
    assert len(counts) == 1499
    assert counts.sum() == (session.spike_times_s < 14.99).sum()


def test_every_spike_of_the_intervals_is_in_the_shard():
    session = recording()
    shard = make_shard(session, SETTINGS)
    assert stacked_counts(shard).sum() == session.num_spikes


def test_no_window_crosses_a_split_a_gap_or_a_state():
    line = timeline_of(make_shard(recording(), SETTINGS))
    for split in (TRAIN, TEST):
        for start in window_starts(line, split, 100)[::7]:
            window = slice(start, start + 100)
            assert set(line.split[window]) == {split}
            assert len(set(line.segment[window])) == len(set(line.state[window])) == 1


def test_train_and_test_stay_the_gap_apart():
    line = timeline_of(make_shard(recording(), SETTINGS))
    for segment in (0, 1):
        split = line.split[line.segment == segment]
        train, test = np.flatnonzero(split == TRAIN), np.flatnonzero(split == TEST)
        assert np.abs(train[:, None] - test).min() > 2 * 50


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
