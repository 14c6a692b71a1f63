"""What real files hold, a small one of each kind: read right, or refused in one line."""

import gzip
import os
import shutil

import h5py
import numpy as np
import pytest

from lab_files import TRAINS, table, words
from rheobase.core.artifacts import read_json
from rheobase.core.errors import DataError, SessionError, StudyError
from rheobase.sessions.load import load_session, outline_session, resolve_sessions
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.quality.selection import select_units
from rheobase.sessions.readers import isolated
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.nwb import read_nwb
from rheobase.sessions.readers.path_settings import PathSettings, parse_paths
from rheobase.shards.binning import make_shard
from rheobase.shards.ingest import bin_session, cautions_of
from rheobase.shards.settings import DataSettings

STATES = EventSettings(state_table="epochs", state="kind")


def settings(**table):
    return DataSettings(sessions=("x",), window_ms=500, **table)


def electrodes(file, location, **columns):
    table(file, "general/extracellular_ephys/electrodes", location=location, **columns)


def found(session):
    return {one.check: one for one in check_session(session)}


def test_a_missing_dataset_is_named_with_what_it_is_for(lab):
    path = lab(lambda file: file["units"].pop("spike_times_index"))
    with pytest.raises(SessionError, match="'units/spike_times_index' must be there") as told:
        read_nwb(path)
    assert len(str(told.value)) < 300


def observed(stretches_of):
    def write(file):
        rows = [row for unit in range(8) for row in stretches_of(unit)]
        file["units/obs_intervals"] = np.array(rows, float)
        file["units/obs_intervals_index"] = np.cumsum([len(stretches_of(u)) for u in range(8)])

    return write


def test_a_hole_in_what_was_observed_is_a_gap_that_no_window_crosses(lab):
    session = read_nwb(lab(observed(lambda unit: [(0, 40), (80, 120)])))
    np.testing.assert_array_equal(session.intervals.start_s, [0, 80])
    np.testing.assert_allclose(session.intervals.stop_s, [40, 120], atol=1)
    assert "from 40 s to 80 s" in found(session)["time-not-observed"].detail
    shard = make_shard(session, settings())
    assert [segment.start_s for segment in shard.segments] == [0, 80]


def test_units_observed_apart_are_binned_where_all_of_them_were(lab):
    def stretches(unit):
        return {0: [(0, 100)], 1: [(20, 120)], 7: [(0, 30)]}.get(unit, [(0, 120)])

    session = read_nwb(lab(observed(stretches)))
    chosen = select_units(session, "none", ())
    assert chosen.dropped == {"recorded half as long as others": 1}
    (segment,) = make_shard(chosen.session, settings()).segments
    assert segment.start_s == 20
    assert len(segment) == 8000


def test_invalid_times_of_a_probe_are_its_units_own(lab):
    def invalid(file):
        words(file["units"], "probe", ["A"] * 4 + ["B"] * 4)
        rows = table(
            file, "intervals/invalid_times", start_time=[10.0, 50.0], stop_time=[20.0, 60.0]
        )
        words(rows, "tags", ["all_probes", "B"])
        rows["tags_index"] = [1, 2]

    session = read_nwb(lab(invalid))
    np.testing.assert_array_equal(session.intervals.start_s, [0, 20])
    of_a = session.take_units(np.arange(8) < 4).observed_by_all()
    of_b = session.take_units(np.arange(8) >= 4).observed_by_all()
    np.testing.assert_array_equal(of_a.start_s, [0, 20])
    np.testing.assert_array_equal(of_b.start_s, [0, 20, 60])


@pytest.mark.parametrize(("scale", "unit"), [(30_000, "samples at 30 kHz"), (1000, "milliseconds")])
@pytest.mark.parametrize("whole", [True, False])
def test_times_that_are_no_seconds_are_fatal_and_the_likely_unit_is_told(lab, scale, unit, whole):
    trains = [train * scale for train in TRAINS]
    if whole:
        trains = [np.round(train).astype(np.int64) for train in trains]
    told = found(read_nwb(lab(trains=trains)))["times-not-in-seconds"]
    assert told.severity == "fatal"
    assert f"likely {unit}" in told.detail
    assert f"divide them by {scale}" in told.detail


def test_events_of_another_clock_are_fatal(lab):
    def epochs(file):
        table(file, "intervals/epochs", start_time=[0.0], stop_time=[120e3], kind=["task"])

    told = found(read_nwb(lab(epochs), STATES))["events-not-in-seconds"]
    assert told.severity == "fatal"
    assert "likely milliseconds" in told.detail


@pytest.mark.parametrize("times", [1.0, 0.05])
def test_quiet_and_busy_recordings_in_seconds_raise_no_alarm(lab, times):
    kept = [train[:: round(1 / times)] for train in TRAINS]
    assert found(read_nwb(lab(trains=kept))) == {}


def test_a_clock_that_begins_again_is_fatal_and_spikes_out_of_order_are_not(lab):
    reset = [np.concatenate([train[train < 60], train[train < 60]]) for train in TRAINS]
    told = found(read_nwb(lab(trains=reset)))["clock-goes-back"]
    assert told.severity == "fatal"
    assert "8 of 8 units fall from 59.9" in told.detail
    swapped = [np.concatenate([train[:5][::-1], train[5:]]) for train in TRAINS]
    assert set(found(read_nwb(lab(trains=swapped)))) == {"spikes-unsorted"}


def test_a_late_clock_makes_no_empty_bins(lab):
    session = read_nwb(lab(trains=[train + 5000 for train in TRAINS]))
    assert session.intervals.start_s[0] == 5000
    assert set(found(session)) == {"clock-starts-late"}


@pytest.mark.parametrize("absurd_s", [9.9e6, 1e12, 400.0])
def test_one_absurd_spike_is_a_finding_and_left_out(lab, absurd_s):
    trains = [np.append(TRAINS[0], absurd_s), *TRAINS[1:]]
    path = lab(trains=trains)
    session = read_nwb(path)
    assert 119 < session.intervals.stop_s[0] < 121
    assert set(found(session)) == {"spikes-outside-session"}
    assert make_shard(session, settings()).num_bins < 12_001
    assert outline_session(str(path)).duration_s == session.duration_s


def test_a_recording_without_a_spike_left_is_fatal(lab, tmp_path):
    def later(file):
        table(file, "intervals/epochs", start_time=[300.0], stop_time=[400.0], kind=["task"])

    path = lab(later)
    told = found(read_nwb(path, STATES))
    assert told["no-spikes-inside"].severity == "fatal"
    with pytest.raises(SessionError, match="no-spikes-inside"):
        bin_session(str(path), settings(quality="none", events=STATES), tmp_path)


def test_bins_are_counted_before_they_are_made(lab):
    trains = [np.linspace(0, 1e9, 200), *TRAINS]
    with pytest.raises(DataError, match="check that times are in seconds"):
        make_shard(read_nwb(lab(trains=trains[:1])), settings())


def test_words_of_an_enumeration_and_of_tags_are_states(lab):
    def write(file):
        rows = table(file, "intervals/epochs", start_time=[0.0, 60.0], stop_time=[60.0, 120.0])
        rows["kind"] = np.array([1, 0], np.uint8)
        words(rows, "kind_elements", ["replay", "task"])
        rows["kind"].attrs["neurodata_type"] = "EnumData"
        rows["kind"].attrs["elements"] = rows["kind_elements"].ref
        words(rows, "tags", ["task", "rest", "dark"])
        rows["tags_index"] = [1, 3]

    path = lab(write)
    assert list(read_nwb(path, STATES).intervals.state) == ["task", "replay"]
    tags = STATES.model_copy(update={"state": "tags"})
    assert list(read_nwb(path, tags).intervals.state) == ["task", "rest, dark"]
    chosen = tags.model_copy(update={"states": {"dark": "passive"}})
    assert list(read_nwb(path, chosen).intervals.state) == ["task", "passive"]
    with pytest.raises(SessionError, match="must give a row one state"):
        read_nwb(path, tags.model_copy(update={"states": {"dark": "a", "rest": "b"}}))


def test_a_table_that_two_places_have_is_named_by_its_path(lab):
    def write(file):
        for where in ("intervals/epochs", "processing/video/epochs"):
            table(file, where, start_time=[0.0], stop_time=[120.0], kind=["task"])

    path = lab(write)
    with pytest.raises(SessionError, match="write its whole path"):
        read_nwb(path, STATES)
    one = STATES.model_copy(update={"state_table": "processing/video/epochs"})
    assert list(read_nwb(path, one).intervals.state) == ["task"]


@pytest.mark.parametrize(
    ("channels", "areas"),
    [
        ([np.nan, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 850262836.0], ["", "b", "c", "", "", "", "", "d"]),
        (["AP0", "AP1", "none", "", "AP2", "AP3", "", ""], ["a", "b", "", "", "c", "d", "", ""]),
        ([7] * 8, [""] * 8),
    ],
)
def test_a_peak_channel_that_names_no_electrode_is_of_no_area(lab, channels, areas):
    def write(file):
        electrodes(file, ["a", "b", "c", "d"], channel_name=["AP0", "AP1", "AP2", "AP3"])
        file["general/extracellular_ephys/electrodes/id"][:] = [0, 1, 2, 850262836]
        if isinstance(channels[0], str):
            words(file["units"], "peak_channel_id", channels)
        else:
            file["units/peak_channel_id"] = channels

    assert list(read_nwb(lab(write)).units.area) == areas


def test_an_empty_column_leaves_the_area_to_the_electrodes(lab):
    def write(file):
        electrodes(file, ["VISp", "VISl"])
        words(file["units"], "brain_area", ["CA1", "", "nan", "", "", "", "", ""])
        file["units/electrodes"] = np.arange(8) % 2
        file["units/electrodes_index"] = np.arange(8) + 1

    areas = list(read_nwb(lab(write)).units.area)
    assert areas == ["CA1", "VISl", "VISp", "VISl", "VISp", "VISl", "VISp", "VISl"]


def labelled(file):
    words(file["units"], "quality", ["good", "mua", "noise", "good"] * 2)
    file["units/is_good"] = np.arange(8) < 3


def test_a_preset_without_its_metrics_is_told_and_units_are_kept_by_label(lab, tmp_path):
    path = str(lab(labelled))
    session = load_session(path)
    chosen = select_units(session, "allen", ())
    assert (chosen.num_kept, chosen.preset_is_void) == (8, True)
    assert select_units(session, "allen", (), labels={"quality": ["good", "mua"]}).num_kept == 6
    assert select_units(session, "none", (), labels={"is_good": ["true"]}).num_kept == 3
    with pytest.raises(SessionError, match="Did you mean 'quality'"):
        select_units(session, "none", (), labels={"qualty": ["good"]})
    with pytest.raises(SessionError, match="it has good, mua, noise"):
        select_units(session, "none", (), labels={"quality": ["Good"]})
    manifest = read_json(bin_session(path, settings(), tmp_path).parent / "manifest.json")
    assert manifest["preset_is_void"]
    (caution,) = cautions_of(manifest)
    assert "has none of isi_violations, amplitude_cutoff, presence_ratio" in caution
    assert "cannot be applied" in outline_session(path, "allen").basis


def test_the_default_filter_of_the_sdk_leaves_noise_out(lab):
    def write(file):
        labelled(file)
        for name, value in (("isi_violations", 0.1), ("amplitude_cutoff", 0.01)):
            file[f"units/{name}"] = np.full(8, value)

    chosen = select_units(read_nwb(lab(write)), "allen", ())
    assert chosen.dropped == {"quality not good": 4}
    assert chosen.not_applied == ("presence_ratio",)


def test_the_digest_covers_what_links_lead_to(lab, tmp_path):
    target = lab(name="target.nwb")

    def link(file):
        del file["units"]
        file["units"] = h5py.ExternalLink("target.nwb", "/units")

    path = lab(link)
    before = read_nwb(path)
    assert before.num_spikes == sum(map(len, TRAINS))
    with h5py.File(target, "r+") as file:
        file["units/spike_times"][0] += 1e-3
    assert read_nwb(path).data_digest != before.data_digest
    target.unlink()
    with pytest.raises(SessionError, match="'units/spike_times'"):
        read_nwb(path)


def test_a_series_is_read_by_the_name_and_from_the_place_that_a_user_gives(lab):
    """Columns one by one; times alone, and times whose samples are all the same, are events."""

    def behave(file):
        for name, data in (
            ("maze", np.array([[0, 1], [2, 3], [4, 5], [1e200, 7]])),
            ("licks", np.ones(4)),
            ("on", None),
        ):
            series = file.create_group(f"processing/behavior/{name}")
            series["timestamps"] = [1.0, 2.0, 4.0, 8.0]
            if data is not None:
                series["data"] = data
                series["data"].attrs["conversion"] = 0.5
        file.create_group("processing/behavior/empty")

    path = lab(behave)
    places = {name: f"processing/behavior/{name}" for name in ("maze", "licks", "on", "empty")}
    session = read_nwb(path, None, PathSettings(series=places))
    assert sorted(session.signals) == ["licks", "maze_0", "maze_1", "on"]
    np.testing.assert_array_equal(session.signals["maze_1"].value, [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_array_equal(session.signals["maze_0"].value, [0.0, 1.0, 2.0, np.nan])
    for name in ("licks", "on"):
        assert session.signals[name].is_events
        np.testing.assert_array_equal(session.signals[name].time_s, [1, 2, 4, 8])
    told = [one.detail for one in session.remarks if one.check == "signal-unusable"]
    assert len(told) == 1
    assert "must have data or timestamps, but holds none" in told[0]


@pytest.mark.parametrize("name", ["running", "image", "a b", "true:x"])
def test_a_series_has_a_name_of_its_own(name):
    with pytest.raises(StudyError, match="series"):
        parse_paths([f"series.{name}=processing/x"])


def test_units_and_behaviour_are_found_where_a_user_says(lab):
    def move(file):
        file.move("units", "processing/sorted")
        speed = file.create_group("processing/wheel")
        speed["data"] = np.linspace(0, 1, 1200)
        speed["data"].attrs["unit"] = "m/s"
        speed["starting_time"] = 0.0
        speed["starting_time"].attrs["rate"] = 10.0

    path = lab(move)
    with pytest.raises(SessionError, match=r"name where they lie with data\.paths\.units"):
        read_nwb(path)
    session = read_nwb(
        path, None, PathSettings(units="processing/sorted", running="processing/wheel")
    )
    assert session.num_spikes == sum(map(len, TRAINS))
    assert session.signals["running"].value[-1] == pytest.approx(100.0)  # cm/s
    with pytest.raises(SessionError, match=r"data\.paths\.series\.wheel must name a time series"):
        read_nwb(path, None, PathSettings(units="processing/sorted", series={"wheel": "nowhere"}))
    with pytest.raises(SessionError, match=r"data\.paths\.pupil must name a time series"):
        read_nwb(path, None, PathSettings(units="processing/sorted", pupil="eye"))


def test_packed_files_and_capital_suffixes_are_read(lab, tmp_path):
    path = lab()
    packed, capital = tmp_path / "a.nwb.gz", tmp_path / "B.NWB"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    shutil.copy(path, capital)
    whole = load_session(str(path))
    for other in (packed, capital):
        np.testing.assert_array_equal(load_session(str(other)).spike_times_s, whole.spike_times_s)
    packed.write_bytes(packed.read_bytes()[:-2000])
    with pytest.raises(SessionError, match="unpacking it failed"):
        load_session(str(packed))


@pytest.mark.parametrize(
    ("name", "begins", "told"),
    [
        ("a.nwb", b"MATLAB 5.0 MAT-file", "a MATLAB file"),
        ("a.nwb", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ("a.nwb", b"<!DOCTYPE html>", "a web page"),
        ("a.nwb", b"PK\x03\x04", "a ZIP archive"),
        ("a.nwb", b"", "is empty"),
        ("a.mat", b"", "a MATLAB file"),
        ("a.bin", b"", "sort them first"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path, name, begins, told):
    (tmp_path / name).write_bytes(begins)
    with pytest.raises(SessionError, match=told) as refused:
        load_session(str(tmp_path / name))
    assert "\n" not in str(refused.value)


def test_nwb_1_and_zarr_and_remote_addresses_are_refused_by_name(lab, tmp_path):
    def first(file):
        del file.attrs["nwb_version"]
        file["nwb_version"] = "NWB-1.0.6"

    with pytest.raises(SessionError, match=r"this is NWB NWB-1\.0\.6"):
        read_nwb(lab(first))
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / ".zgroup").write_text("{}")
    with pytest.raises(SessionError, match="NWB-Zarr"):
        load_session(str(tmp_path / "z"))
    for address in ("s3://lab/a.nwb", "https://lab/a.nwb", "dandi:000021"):
        with pytest.raises(SessionError, match="remote address; download it"):
            resolve_sessions([address])


def test_a_dataset_that_claims_more_than_was_written_is_never_made(lab):
    def claim(file):
        del file["units/spike_times"]
        file["units"].create_dataset("spike_times", (10**13,), float, chunks=(1000,))
        del file["units/spike_times_index"]
        file["units/spike_times_index"] = np.full(8, 10**13)

    with pytest.raises(SessionError, match=r"that it claims, but 0 were written"):
        read_nwb(lab(claim))


def test_a_file_that_makes_hdf5_loop_or_crash_is_refused(lab, monkeypatch):
    path = lab()
    for what, told in (
        ("while True: pass", "was still reading it after 1 s of CPU time"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "HDF5 crashed on it"),
    ):
        source = isolated.CHILD.replace(
            "serve(read_nwb)", f"def read(*_, **__):\n    {what}\nserve(read)"
        )
        with monkeypatch.context() as patch:
            patch.setattr(isolated, "CHILD", source)
            patch.setattr(isolated, "LEAST_CPU_S", 1.0)
            patch.setattr(isolated, "_reader", isolated._Reader())
            with pytest.raises(SessionError, match=told) as refused:
                load_session(str(path))
            assert "\n" not in str(refused.value)
    assert load_session(str(path)).num_spikes == sum(map(len, TRAINS))


def test_a_long_identifier_names_files_that_can_be_made(lab):
    def long(file):
        del file["identifier"]
        file["identifier"] = "/data/müller 2020/" + "a" * 300

    name = read_nwb(lab(long)).session_id
    assert len(name) == 100
    assert name.startswith("data-m-ller-2020-aaa")


def test_names_are_expanded_and_a_recording_is_named_once(lab, tmp_path, monkeypatch):
    path = lab(name="mäuse 1 [a].nwb")
    (tmp_path / "link.nwb").symlink_to(path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAB", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("~/mäuse 1 [a].nwb", "$LAB/mäuse 1 [a].nwb"):
        assert resolve_sessions([name]) == [str(path)]
    assert len(resolve_sessions([path.name, f"./{path.name}", "link.nwb"])) == 1
    spelled = ["synthetic:planted?seed=1&units=9", "synthetic:planted?units=9&seed=1"]
    assert len(resolve_sessions(spelled)) == 1
    assert os.fspath(resolve_sessions(["*.nwb"])[0]) == "link.nwb"
