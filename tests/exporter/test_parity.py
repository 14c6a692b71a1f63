"""The h5py path and the AllenSDK's are held to the same session, bit for bit."""

from dataclasses import fields

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from rheobase.sessions.load import load_session
from rheobase.sessions.readers.nwb import read_nwb
from rheobase.shards.ingest import bin_session
from rheobase.shards.settings import DataSettings

pytestmark = pytest.mark.exporter
IDS = (1043752325, 1044385384)


@pytest.fixture(params=IDS)
def pair(request, cache, nwb_of):
    """One session by both ways: the SDK's, the file's."""
    path = nwb_of(cache, request.param)
    return load_session(f"allen-vbn:{request.param}"), read_nwb(path)


@pytest.fixture(scope="module")
def exported(built, exporter, tmp_path_factory):
    """The folder of one export."""
    out = tmp_path_factory.mktemp("exported") / "session"
    code, told = exporter("export", built, IDS[0], out)
    assert (code, told["ok"]) == (0, True), told
    return out


def same(one, other, *, of):
    for field in fields(of):
        if field.name not in ("metrics", "labels"):
            a, b = (np.asarray(getattr(part, field.name)) for part in (one, other))
            assert a.dtype.kind == b.dtype.kind, field.name
            np.testing.assert_array_equal(a, b, err_msg=field.name)


def test_identity_is_the_same(pair):
    by_sdk, by_file = pair
    assert by_sdk.session_id == by_file.session_id
    assert by_sdk.data_digest == by_file.data_digest


def test_units_and_metrics_are_the_same(pair):
    by_sdk, by_file = pair
    same(by_sdk.units, by_file.units, of=type(by_file.units))
    assert len(by_file.units) == 14
    assert set(by_file.units.probe) == {"probeB", "probeE"}
    assert "" in by_file.units.area  # a channel that lies in no structure
    assert by_sdk.units.metrics.keys() == by_file.units.metrics.keys()
    assert len(by_file.units.metrics) == 22
    for name, values in by_file.units.metrics.items():
        np.testing.assert_array_equal(by_sdk.units.metrics[name], values, err_msg=name)
    assert by_sdk.units.labels.keys() == by_file.units.labels.keys() == {"quality"}
    np.testing.assert_array_equal(by_sdk.units.labels["quality"], by_file.units.labels["quality"])


def test_spikes_are_the_same_bit_for_bit_in_the_files_order(pair):
    by_sdk, by_file = pair
    np.testing.assert_array_equal(by_sdk.spike_offsets, by_file.spike_offsets)
    assert by_sdk.spike_times_s.tobytes() == by_file.spike_times_s.tobytes()
    assert by_file.spikes_of(0)[0] > by_file.spikes_of(0)[1]  # the writer left it unsorted


def test_presentations_and_intervals_are_the_same(pair):
    by_sdk, by_file = pair
    same(by_sdk.presentations, by_file.presentations, of=type(by_file.presentations))
    same(by_sdk.intervals, by_file.intervals, of=type(by_file.intervals))
    assert len(by_file.presentations) == 80
    assert by_file.presentations.omitted.sum() == 8
    assert by_file.presentations.is_change.sum() == 8
    assert list(by_file.intervals.state) == ["active", "passive"]


def test_what_the_file_calls_invalid_of_a_probe_is_left_out_by_both(pair):
    by_sdk, by_file = pair
    if by_file.session_id != str(IDS[1]):
        assert by_sdk.observed is by_file.observed is None
        return
    same(by_sdk.observed, by_file.observed, of=type(by_file.observed))
    lost = by_file.units.probe == "probeB"
    seconds = by_file.observed.seconds
    np.testing.assert_allclose(seconds[~lost].min() - seconds[lost], 2.0)


def test_units_with_nan_metrics_are_kept_where_the_sdk_drops_them(pair):
    units = pair[0].units
    for row, name in enumerate(("amplitude_cutoff", "presence_ratio", "isi_violations"), start=2):
        assert list(np.flatnonzero(np.isnan(units.metrics[name]))) == [row]


def test_both_ways_give_one_shard(cache, nwb_of, tmp_path):
    settings = DataSettings(sessions=("any",), areas=("VIS",))
    shards = [
        bin_session(address, settings, tmp_path)
        for address in (f"allen-vbn:{IDS[0]}", str(nwb_of(cache, IDS[0])))
    ]
    assert shards[0] == shards[1]


def test_behaviour_is_what_the_file_holds(cache, nwb_of):
    signals = load_session(f"allen-vbn:{IDS[0]}").signals
    with h5py.File(nwb_of(cache, IDS[0])) as file:
        running = file["processing/running/speed"]
        np.testing.assert_array_equal(signals["running"].value, running["data"][:])
        np.testing.assert_array_equal(signals["running"].time_s, running["timestamps"][:])
        eye = file["acquisition/EyeTracking"]
        area = eye["pupil_tracking/area_raw"][:]
        np.testing.assert_array_equal(signals["pupil"].time_s, eye["eye_tracking/timestamps"][:])
    seen = ~np.isnan(signals["pupil"].value)
    assert 0 < np.count_nonzero(~seen) < len(seen) / 2  # blinks
    np.testing.assert_array_equal(signals["pupil"].value[seen], area[seen])


def test_trials_licks_and_rewards_are_what_the_file_holds(exported, built, nwb_of):
    read = {
        name: pq.read_table(exported / f"{name}.parquet")
        for name in ("trials", "licks", "rewards", "eye")
    }
    with h5py.File(nwb_of(built, IDS[0])) as file:
        trials = file["intervals/trials"]
        for name in ("start_time", "stop_time", "reward_volume", "hit"):
            np.testing.assert_array_equal(read["trials"][name].to_numpy(), trials[name][:])
        licks = file["processing/licking/licks/timestamps"][:]
        np.testing.assert_array_equal(read["licks"]["timestamps"].to_numpy(), licks)
        rewards = file["processing/rewards/volume"]
        np.testing.assert_array_equal(read["rewards"]["volume"].to_numpy(), rewards["data"][:])
    assert read["trials"]["trials_id"].to_pylist() == [0, 1, 2, 3, 4]
    assert read["trials"]["lick_times"].to_pylist()[0] == []
    assert len(read["trials"]["lick_times"].to_pylist()[1]) == 2
    assert any(read["eye"]["likely_blink"].to_pylist())


def test_numbers_stay_numbers_and_what_does_not_apply_is_null(exported):
    table = pq.read_table(exported / "presentations.parquet")
    kinds = {field.name: str(field.type) for field in table.schema}
    for name in ("position_y", "contrast", "color"):
        assert kinds[name] == "double", name
        assert table[name].null_count > 80, name
    assert set(table["position_y"].drop_null().to_pylist()) == {0.0}
    assert set(table["color"].drop_null().to_pylist()) == {0.0, 1.0}
    assert kinds["omitted"] == kinds["is_change"] == "bool"
    assert table["omitted"].null_count == 10  # gabors and full-field flashes
