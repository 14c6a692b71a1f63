"""Spikes that users hold, in memory and in other libraries."""

import types

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.load import load_session
from rheobase.sessions.own.adapters import (
    from_dataframe,
    from_neo,
    from_pynapple,
    from_spikeinterface,
)
from rheobase.sessions.own.recording import recording
from rheobase.sessions.readers.npz import read_npz, write_npz
from stand_ins import Group, Quantity, Times, neo_train

TRAINS = {3: np.array([0.25, 0.5]), 8: np.array([]), 5: np.array([0.75])}


FORMS = {
    "mapping": lambda: TRAINS,
    "series": lambda: pd.Series({unit: list(times) for unit, times in TRAINS.items()}),
    "group": lambda: Group({unit: Times(times) for unit, times in TRAINS.items()}),
}


@pytest.mark.parametrize("form", FORMS)
def test_units_keep_their_ids_and_their_spikes_in_every_form(form, tmp_path):
    write_npz(tmp_path / "mine.npz", FORMS[form](), duration_s=1.0, area=np.array(["a", "b", "c"]))
    session = read_npz(tmp_path / "mine.npz")
    assert session.units.unit_id.tolist() == [3, 8, 5]
    assert [session.spikes_of(n).tolist() for n in range(3)] == [[0.25, 0.5], [], [0.75]]
    assert session.units.area.tolist() == ["a", "b", "c"]


def test_a_list_of_arrays_and_an_array_of_rows_are_units(tmp_path):
    for given in (list(TRAINS.values()), np.array([[0.1, 0.2], [0.3, 0.4]])):
        assert recording(given, duration_s=1).session.units.unit_id.tolist() == [*range(len(given))]


def test_units_with_words_for_names_keep_them_as_a_label():
    session = recording({"a1": [0.1], "b2": [0.2]}, duration_s=1).session
    assert session.units.labels["name"].tolist() == ["a1", "b2"]
    assert session.units.unit_id.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.array([0.1, 0.2]), "these are 2 single numbers; give"),
        ([[0.1], [[0.2]]], r"of unit 1 must be a 1-D array of seconds, but are float64 of shape"),
        ({4: ["x"]}, "of unit 4 must be a 1-D array of seconds, but are <U1"),
        (5.0, "but this is a float"),
        ("mine.npz", "but this is a str"),
        ([[0.1], [-0.2]], "spike_times_s must be at least 0 s, but 1 of 2 are negative"),
        ([[0.1], [np.nan]], "must be finite, but 1 of 2 are NaN"),
        ([[0.1, [0.2]]], "of unit 0 must be numbers"),
        (np.array([[0, 2, 1, 0]], np.uint8), r"in order, but those of shape \(1, 4\) fall; of co"),
    ],
)
def test_what_is_no_array_a_unit_is_told_in_one_line(given, told):
    with pytest.raises(SessionError, match=told) as refused:
        recording(given)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"area": ["VISp"]}, "brain_area must name an area for each of 3 units"),
        ({"unit_id": [1, 2]}, "unit_id must be a whole number for each of 3 units"),
        ({"unit_id": [1.5, 2, 3]}, "unit_id must be a whole number"),
        ({"units": {"snr": [1.0]}}, "unit_snr must have one entry for each of 3 units"),
        ({"epochs": [(0, 1)]}, "rows of start, stop and name, but one has 2 entries"),
        ({"epochs": [(0.5, 1, "a"), (0, 0.5, "b")]}, "epochs must follow each other"),
        ({"duration_s": 0.1}, "duration_s must reach the last spike at 0.75 s"),
        ({"signals": {"my wheel": ([0], [1])}}, "a time series must be named by a letter"),
        ({"signals": {"state": ([0], [1])}}, "must not be named as what labels tell"),
        ({"signals": {"location": ([0, 1, 2], [1, 2, 3])}}, "as what is known of units"),
        ({"events": {"unit_snr": [0.5]}}, "as what is known of units"),
        ({"signals": {"wheel": ([0, 1], [1])}}, "wheel must have a number, or a row of numbers"),
        ({"signals": {"wheel": ([0], np.zeros((1, 17)))}}, "wheel must have at most 16 columns"),
        ({"events": {"": [0.5]}}, "a time series must be named by a letter"),
    ],
)
def test_what_does_not_fit_the_units_is_told_in_one_line(known, told):
    with pytest.raises(SessionError, match=told) as refused:
        recording(TRAINS, **known)
    assert "\n" not in str(refused.value)


def test_columns_of_units_are_written_and_read_back(tmp_path):
    columns = {"snr": [1.0, 2.0, 3.0], "KSLabel": ["good", "mua", "good"]}
    path = recording(TRAINS, duration_s=1, units=columns).write(tmp_path / "mine.npz")
    units = load_session(str(path)).units
    assert units.metrics["snr"].tolist() == columns["snr"]
    assert units.labels["KSLabel"].tolist() == columns["KSLabel"]


def test_the_same_spikes_have_the_same_digest_and_others_another():
    one, same, other = recording(TRAINS), recording(dict(TRAINS)), recording({3: [0.25]})
    assert one.session.data_digest == same.session.data_digest != other.session.data_digest


def test_a_recording_is_written_under_a_name_that_can_be_read(tmp_path):
    with pytest.raises(SessionError, match=r"written as \.npz; name it mine\.npz"):
        recording(TRAINS).write(tmp_path / "mine.txt")
    assert not list(tmp_path.iterdir())


def test_a_recording_in_milliseconds_is_found_fatal():
    draw = np.random.default_rng(0)
    spikes_ms = [np.sort(draw.integers(0, 600_000, 2000)) for _ in range(5)]
    found = recording(spikes_ms).check()
    assert ("times-not-in-seconds", "fatal") in [(one.check, one.severity) for one in found]


def test_a_group_of_pynapple_brings_time_support_metadata_and_states():
    group = Group({unit: Times(times) for unit, times in TRAINS.items()})
    session = from_pynapple(group).session
    assert session.intervals.stop_s.tolist() == [2.0, 6.0]
    assert session.units.area.tolist() == ["VISp", "VISl", "LGd"]
    assert session.units.metrics.keys() == {"snr"}
    wake = types.SimpleNamespace(start=np.array([4.0]), end=np.array([6.0]))
    states = from_pynapple(group, states={"active": wake, "sleep": [(0, 2)]}).session.intervals
    assert states.state.tolist() == ["sleep", "active"]
    with pytest.raises(SessionError, match="a dict has no time_support; give spike times to"):
        from_pynapple(TRAINS)


def test_a_segment_of_neo_is_brought_to_seconds_from_zero():
    epoch = Quantity([-500.0, 500.0])
    epoch.durations, epoch.labels, epoch.name = Quantity([1000.0, 500.0]), ["a", "b"], "state"
    trains = [neo_train([-250, 250], -500, 1000, area="VISp"), neo_train([750], -500, 1000)]
    segment = types.SimpleNamespace(spiketrains=trains, epochs=[epoch])
    session = from_neo(types.SimpleNamespace(segments=[segment]), epochs="state").session
    assert session.spike_times_s.tolist() == [0.25, 0.75, 1.25]
    assert session.intervals.start_s.tolist() == [0.0, 1.0]
    assert session.intervals.state.tolist() == ["a", "b"]
    assert session.units.area.tolist() == ["VISp", ""]
    with pytest.raises(SessionError, match="named 'x', but 0 are; there is state"):
        from_neo(segment, epochs="x")
    with pytest.raises(SessionError, match="one segment, whose clock is one, but has 2"):
        from_neo(types.SimpleNamespace(segments=[segment, segment]))


def test_tables_of_spikes_and_of_units_give_the_same_recording():
    spikes = pd.DataFrame({"cluster": [5, 3, 3], "t": [0.75, 0.5, 0.25]})
    units = pd.DataFrame(
        {"cluster": [3, 5], "t": [[0.25, 0.5], [0.75]], "area": ["a", "b"], "snr": [1.0, 2.0]}
    )
    arrow = pa.table({"cluster": [5, 3, 3], "t": [0.75, 0.5, 0.25]})
    for frame in (spikes, units, arrow):
        session = from_dataframe(frame, unit="cluster", time="t", duration_s=1).session
        assert session.units.unit_id.tolist() == [3, 5]
        assert session.spike_times_s.tolist() == [0.25, 0.5, 0.75]
    assert from_dataframe(units, unit="cluster", time="t").session.units.metrics["snr"][1] == 2.0
    with pytest.raises(SessionError, match="a table of pandas, polars or Arrow must be given, but"):
        from_dataframe(3)
    with pytest.raises(SessionError, match="a column 'unit_id', but has cluster, t; name it"):
        from_dataframe(spikes)
    spikes["t"] = ["x", "y", "z"]
    with pytest.raises(SessionError, match="column 't' must hold seconds"):
        from_dataframe(spikes, unit="cluster", time="t")


def test_a_sorting_of_several_segments_is_refused_and_properties_come_along():
    sorting = types.SimpleNamespace(
        unit_ids=np.array([3, 5]),
        sampling_frequency=1000.0,
        get_num_segments=lambda: 1,
        get_unit_spike_train=lambda unit, segment_index: np.array([unit * 100]),
        get_property_keys=lambda: ["brain_area", "quality", "contact_vector"],
        get_property=lambda key: {
            "brain_area": np.array(["a", "b"]),
            "quality": np.array(["good", "mua"], object),
            "contact_vector": np.zeros((2, 3)),
        }[key],
    )
    session = from_spikeinterface(sorting).session
    assert session.spike_times_s.tolist() == [0.3, 0.5]
    assert session.units.area.tolist() == ["a", "b"]
    assert session.units.labels["quality"].tolist() == ["good", "mua"]
    sorting.get_num_segments = lambda: 2
    with pytest.raises(SessionError, match="one segment, whose clock is one, but has 2"):
        from_spikeinterface(sorting)


@pytest.mark.filterwarnings("ignore")
def test_pynapple_itself_is_read():
    nap = pytest.importorskip("pynapple")
    group = nap.TsGroup(
        {unit: nap.Ts(times) for unit, times in TRAINS.items()},
        time_support=nap.IntervalSet([0, 1.5], [1, 2]),
        metadata={"location": ["VISp", "LGd", "VISl"]},
    )
    mine = from_pynapple(group, states={"active": nap.IntervalSet(0, 1)})
    assert sorted(mine.session.units.unit_id) == [3, 5, 8]
    assert mine.session.num_spikes == 3
    assert set(mine.session.units.area) == {"VISp", "LGd", "VISl"}


def test_neo_itself_is_read():
    neo = pytest.importorskip("neo")
    segment = neo.Segment()
    segment.spiketrains.append(
        neo.SpikeTrain([-100.0, 400.0], units="ms", t_start=-500.0, t_stop=1000.0)
    )
    segment.epochs.append(
        neo.Epoch(times=[-500.0], durations=[1500.0], labels=["active"], units="ms", name="state")
    )
    session = from_neo(segment, epochs="state").session
    np.testing.assert_allclose(session.spike_times_s, [0.4, 0.9])
    np.testing.assert_allclose(session.intervals.stop_s, [1.5])
