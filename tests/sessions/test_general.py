"""General NWB files, written with pynwb as a lab would, and read back."""

from datetime import UTC, datetime

import h5py
import numpy as np
import pynwb
import pytest
from pynwb.epoch import TimeIntervals

from rheobase.core.errors import SessionError, StudyError
from rheobase.sessions.load import load_session
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.readers.event_settings import EventSettings, parse_events
from rheobase.sessions.readers.nwb import read_nwb
from rheobase.shards.ingest import bin_session
from rheobase.shards.settings import DataSettings
from rheobase.shards.store import read_shard

TRAINS = [np.arange(0.05, 100, 0.11), np.arange(0.02, 100, 0.5), np.zeros(0)]
PLANTED_EVENTS = EventSettings(
    table="Natural_Images_Lum_Matched_set_ophys_G_2019_presentations",
    image="image_name",
    change="is_change",
    omitted="omitted",
    block="stimulus_block",
    state="active",
    states={"1": "active", "0": "passive"},
)


@pytest.fixture
def lab_file(tmp_path):
    """Return a function that writes a small file; `electrodes` says how units name theirs."""

    def write(electrodes="region", change=lambda file: None):
        file = pynwb.NWBFile("a lab's", "lab/7 b", datetime(2024, 1, 1, tzinfo=UTC))
        device = file.create_device("rig")
        groups = [
            file.create_electrode_group(name, "shank", place, device)
            for name, place in (("left", "CA1"), ("right", "VISp"))
        ]
        for row, place in enumerate(["CA1", "CA1", "VISp", "VISl"]):
            file.add_electrode(group=groups[row // 2], location=place)
        file.add_unit_column("snr", "signal to noise")
        file.add_unit_column("label", "who sorted it")
        if electrodes == "own":
            file.add_unit_column("brain_area", "where")
        for unit, train in enumerate(TRAINS):
            named = {
                "region": {"electrodes": [[2, 3], [0], []][unit]},
                "group": {"electrode_group": groups[unit % 2]},
                "own": {"brain_area": ["MOs", "ACA", "MOs"][unit]},
                "none": {},
            }[electrodes]
            file.add_unit(spike_times=train, snr=float(unit), label="me", id=10 + unit, **named)
        file.add_trial_column("picture", "what was shown")
        file.add_trial_column("context", "what it meant")
        file.add_trial_column("cue_time", "when it was shown")
        for trial in range(40):
            start = 2.0 * trial + (5.0 if trial >= 20 else 1.0)
            file.add_trial(
                start_time=start,
                stop_time=start + 0.5,
                picture="" if trial == 7 else "ab"[trial // 2 % 2],
                context="go" if trial < 20 else "watch",
                cue_time=np.nan if trial == 3 else start + 0.1,
            )
        file.add_epoch(0.0, 20.0, ["x"])
        states = TimeIntervals(name="behavioral_state", description="by video")
        states.add_column("label", "which")
        for begin, end, name in ((0, 20, "run"), (20, 41, "run"), (50, 90, "rest"), (90, 95, "")):
            states.add_row(start_time=float(begin), stop_time=float(end), label=name)
        file.create_processing_module("behavior", "scored").add(states)
        change(file)
        path = tmp_path / "lab.nwb"
        with pynwb.NWBHDF5IO(path, "w") as io:
            io.write(file)
        return path

    return write


def test_units_spikes_and_metrics_of_any_nwb_are_read(lab_file):
    session = read_nwb(lab_file())
    assert session.session_id == "lab-7-b"
    assert list(session.units.unit_id) == [10, 11, 12]
    for unit, train in enumerate(TRAINS):
        np.testing.assert_array_equal(session.spikes_of(unit), train)
    assert set(session.units.metrics) == {"snr"}
    assert list(session.intervals.state) == [""]
    assert {f.check for f in check_session(session)} == {"units-without-spikes"}


@pytest.mark.parametrize(
    ("electrodes", "areas", "probes"),
    [
        ("region", ["VISp", "CA1", ""], ["right", "left", ""]),
        ("group", ["CA1", "VISp", "CA1"], ["left", "right", "left"]),
        ("own", ["MOs", "ACA", "MOs"], ["", "", ""]),
        ("none", ["", "", ""], ["", "", ""]),
    ],
)
def test_areas_and_probes_come_from_where_the_file_names_them(lab_file, electrodes, areas, probes):
    units = read_nwb(lab_file(electrodes)).units
    assert list(units.area) == areas
    assert list(units.probe) == probes


def test_both_readers_agree_where_both_can_read(planted_file):
    fast, general = read_nwb(planted_file), read_nwb(planted_file, PLANTED_EVENTS)
    assert fast.session_id == general.session_id
    np.testing.assert_array_equal(fast.units.unit_id, general.units.unit_id)
    np.testing.assert_array_equal(fast.units.area, general.units.area)
    np.testing.assert_array_equal(fast.units.probe, general.units.probe)
    np.testing.assert_array_equal(fast.spike_times_s, general.spike_times_s)
    np.testing.assert_array_equal(fast.spike_offsets, general.spike_offsets)
    assert set(fast.units.metrics) == set(general.units.metrics)
    for name, values in fast.units.metrics.items():
        np.testing.assert_array_equal(values, general.units.metrics[name])
    for name in ("start_s", "stop_s", "image", "is_change", "omitted", "block", "active"):
        np.testing.assert_array_equal(
            getattr(fast.presentations, name), getattr(general.presentations, name)
        )
    np.testing.assert_array_equal(fast.intervals.state, general.intervals.state)
    np.testing.assert_allclose(fast.intervals.start_s, general.intervals.start_s)
    np.testing.assert_allclose(fast.intervals.stop_s, general.intervals.stop_s)
    for name in ("running", "pupil"):
        np.testing.assert_array_equal(fast.signals[name].value, general.signals[name].value)
    assert check_session(general) == []


def test_changes_that_no_column_states_are_found_from_the_images(planted_file):
    stated = read_nwb(planted_file).presentations
    found = read_nwb(planted_file, PLANTED_EVENTS.model_copy(update={"change": ""})).presentations
    np.testing.assert_array_equal(found.is_change, stated.is_change)


def test_a_state_column_makes_a_stretch_of_each_run(lab_file):
    events = EventSettings(
        table="trials", image="picture", state="context", states={"go": "active"}
    )
    session = read_nwb(lab_file(), events)
    assert list(session.intervals.state) == ["active", "watch"]
    # From the first onset to a stride of 2 s after the last, which is where the next may begin.
    np.testing.assert_allclose(session.intervals.start_s, [1.0, 45.0])
    np.testing.assert_allclose(session.intervals.stop_s, [41.0, 85.0])
    assert len(session.presentations) == 39  # one names no picture
    assert session.presentations.active.sum() == 19
    assert list(session.presentations.block[[0, -1]]) == [0, 1]


def test_a_state_table_makes_stretches_and_trials_outside_them_have_no_state(lab_file):
    events = EventSettings(
        table="trials",
        start="cue_time",
        state_table="behavioral_state",
        state="label",
        states={"run": "active", "rest": "passive"},
    )
    session = read_nwb(lab_file(), events)
    assert list(session.intervals.state) == ["active", "passive"]  # two that touch are one
    np.testing.assert_array_equal(session.intervals.start_s, [0, 50])
    np.testing.assert_array_equal(session.intervals.stop_s, [41, 90])
    shown = session.presentations
    assert len(shown) == 39  # one has no cue
    np.testing.assert_array_equal(shown.active, shown.start_s < 41)
    outside = (shown.start_s >= 41) & (shown.start_s < 50)
    assert outside.any()
    assert set(shown.block[outside]) == {-1}
    assert not {f.severity for f in check_session(session)} & {"fatal"}


def test_without_states_a_presented_recording_is_one_stretch(lab_file):
    session = read_nwb(lab_file(), EventSettings(table="trials", image="picture"))
    assert list(session.intervals.state) == [""]
    assert session.intervals.stop_s[0] >= max(train.max(initial=0) for train in TRAINS)
    assert {f.check for f in check_session(session)} == {"units-without-spikes"}


def test_states_alone_are_enough(lab_file):
    session = read_nwb(lab_file(), EventSettings(state_table="behavioral_state", state="label"))
    assert list(session.intervals.state) == ["run", "rest"]
    assert len(session.presentations) == 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"table": "trails"}, "Did you mean 'trials'? It has"),
        ({"table": "trials", "image": "pictures"}, "Did you mean 'picture'? It has start_time"),
        ({"table": "trials", "start": "picture"}, "must name a column of numbers"),
        ({"table": "trials", "state_table": "epoch", "state": "tags"}, "Did you mean 'epochs'?"),
        (
            {"table": "trials", "state": "context", "states": {"gog": "active"}},
            "has no 'gog'. Did you mean 'go'? It has go, watch",
        ),
    ],
)
def test_a_name_the_file_does_not_have_is_refused_with_the_nearest(lab_file, settings, told):
    path = lab_file()
    with pytest.raises(SessionError) as refused:
        read_nwb(path, EventSettings(**settings))
    assert told in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_stretch_that_stops_before_it_starts_is_refused(lab_file):
    def backward(file):
        file.add_epoch(30.0, 25.0, ["y"])
        file.epochs.add_column("state", "which", data=["run", "rest"])

    with pytest.raises(SessionError, match="one goes from 30 s to 25 s"):
        read_nwb(lab_file(change=backward), EventSettings(state_table="epochs", state="state"))


def test_events_of_the_command_line_are_those_of_the_study_file():
    pairs = ["table=trials", "image=picture", "state=context", "states.go=active"]
    table = {"table": "trials", "image": "picture", "state": "context", "states": {"go": "active"}}
    assert parse_events(pairs) == EventSettings(**table)
    assert parse_events([]) is None
    assert DataSettings(sessions=("a",), events=table).events == parse_events(pairs)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (["tabel=trials"], "Did you mean 'table'?"),
        (["table"], "KEY=VALUE must be given"),
        (["states=active"], "KEY=VALUE must be given"),
        (["image=picture"], "table or state_table must be named"),
        (["table=trials", "state_table=epochs"], "state must name a column of state_table"),
        (["table=trials", "states.a=active"], "state must name the column"),
    ],
)
def test_events_that_do_not_fit_are_refused_in_one_line(pairs, told):
    with pytest.raises(StudyError) as refused:
        parse_events(pairs)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_npz_names_its_own_events(npz):
    with pytest.raises(
        SessionError, match=r"data\.events must be left out for a session of the Allen"
    ):
        load_session(str(npz("continuous")), EventSettings(table="trials"))


def test_events_reach_the_shard(lab_file, tmp_path):
    settings = DataSettings(
        sessions=("x",),
        quality="none",
        events={"state_table": "behavioral_state", "state": "label", "states": {"run": "active"}},
    )
    shard = read_shard(bin_session(str(lab_file()), settings, tmp_path / "shards"))
    assert [segment.state for segment in shard.segments] == ["active", "rest"]


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9, 0.99])
def test_a_truncated_general_file_is_refused_in_one_line(lab_file, share):
    path = lab_file()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SessionError, match=r"lab\.nwb") as told:
        read_nwb(path)
    assert "\n" not in str(told.value)


def drop_index(file):
    del file["units/spike_times_index"]


def drop_type(file):
    del file["units/snr"].attrs["neurodata_type"]


def drop_namespace(file):
    del file["specifications"]
    del file.attrs["nwb_version"]
    del file.attrs["namespace"]


def short_index(file):
    file["units/spike_times_index"][-1] = 2


def dangling(file):
    del file["general/extracellular_ephys/electrodes"]


@pytest.mark.parametrize("corrupt", [drop_type, drop_namespace, dangling])
def test_units_are_read_whatever_else_of_the_file_is_broken(lab_file, corrupt):
    path = lab_file()
    with h5py.File(path, "r+") as file:
        corrupt(file)
    session = read_nwb(path)
    assert list(session.units.unit_id) == [10, 11, 12]
    for unit, train in enumerate(TRAINS):
        np.testing.assert_array_equal(session.spikes_of(unit), train)


@pytest.mark.parametrize("corrupt", [drop_index, short_index])
def test_a_damaged_general_file_is_refused_in_one_line(lab_file, corrupt):
    path = lab_file()
    with h5py.File(path, "r+") as file:
        corrupt(file)
    with pytest.raises(SessionError, match=r"lab\.nwb") as told:
        read_nwb(path)
    assert "\n" not in str(told.value)


def test_a_file_without_sorted_units_is_refused(tmp_path):
    path = tmp_path / "empty.nwb"
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(pynwb.NWBFile("x", "y", datetime(2024, 1, 1, tzinfo=UTC)))
    with pytest.raises(SessionError, match="units/spike_times"):
        read_nwb(path)
