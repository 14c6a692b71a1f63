import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheobase.core.errors import SessionError
from rheobase.sessions.own.recording import recording
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.readers.npz import read_npz, write_npz


def test_spikes_lie_unit_after_unit(npz):
    session = read_npz(npz("continuous"))
    np.testing.assert_array_equal(session.spikes_of(0), [0.1, 0.2, 5.0])
    np.testing.assert_array_equal(session.spikes_of(1), [0.5])
    assert list(session.units.area) == ["VISp", "CA1"]
    assert session.duration_s == 10.0


def test_epochs_become_intervals_with_a_state(npz):
    path = npz(
        "continuous",
        epoch_start_s=np.array([0.0, 5.0]),
        epoch_stop_s=np.array([5.0, 10.0]),
        epoch_tag=np.array(["sleep", "wake"]),
    )
    assert list(read_npz(path).intervals.state) == ["sleep", "wake"]


def test_presentations_take_their_state_from_the_epoch_they_start_in(npz):
    session = read_npz(
        npz(
            "continuous",
            epoch_start_s=np.array([0.0, 5.0]),
            epoch_stop_s=np.array([5.0, 10.0]),
            epoch_tag=np.array(["active", "passive"]),
            presentation_start_s=np.array([1.0, 2.0, 3.0, 4.0, 6.0, 20.0]),
            presentation_image=np.array(["a", "b", "omitted", "b", "c", "a"]),
        )
    )
    assert list(session.presentations.active) == [True] * 4 + [False] * 2
    assert list(session.presentations.block) == [0, 0, 0, 0, 1, -1]
    assert list(session.presentations.is_change) == [False, True] + [False] * 4
    assert check_session(session) == []


def test_counts_by_trial_keep_their_labels(npz):
    session = read_npz(npz("trials"))
    assert session.counts.shape == (3, 2, 4)
    assert session.bin_ms == 10.0
    assert set(session.labels) == {"contrast_left"}


@pytest.mark.parametrize(
    ("form", "changes", "told"),
    [
        ("continuous", {"spike_times_s": np.array([0.1, -0.2, 5.0, 0.5])}, "1 of 4 are negative"),
        ("continuous", {"spike_times_s": np.array([0.1, np.nan, 5.0, 0.5])}, "1 of 4 are NaN"),
        ("continuous", {"spike_times_s": np.array([0.1, np.inf, 5.0, 0.5])}, "1 of 4 are NaN"),
        ("continuous", {"unit_index": np.array([0, 3, 9])}, "unit_index must rise from 0"),
        ("continuous", {"unit_index": np.array([0, 4, 3, 4])}, "unit_index must rise from 0"),
        ("continuous", {"unit_index": None}, "but holds spike_times_s"),
        ("continuous", {"duration_s": np.array(1.0)}, "duration_s must reach the last spike"),
        ("continuous", {"brain_area": np.array(["VISp"])}, "brain_area must name an area"),
        ("continuous", {"epoch_start_s": np.array([0.0])}, "epochs need"),
        ("trials", {"counts": np.zeros((3, 2, 4))}, "counts must be whole numbers"),
        ("trials", {"counts": np.full((3, 2, 4), -1)}, "from -1 to -1"),
        ("trials", {"counts": np.full((3, 2, 4), 300)}, "from 300 to 300"),
        ("trials", {"counts": np.zeros((3, 0, 4), np.uint8)}, "none of them 0"),
        ("trials", {"trial_start_s": np.array([1.0])}, "one entry for each of 3 trials"),
        ("trials", {"trial_start_s": np.array([1.0, np.nan, 2.0])}, "trial_start_s must be finite"),
        ("trials", {"bin_s": np.array(0.0)}, "bin_s must be a positive width"),
    ],
)
def test_bad_arrays_are_refused_in_one_line_that_names_the_file(npz, form, changes, told):
    path = npz(form, **changes)
    with pytest.raises(SessionError) as refused:
        read_npz(path)
    assert told in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "pickled.npz"
    np.savez(path, spike_times_s=np.array([{}], object), unit_index=np.array([0, 1]))
    with pytest.raises(SessionError, match="objects, which only pickle can read"):
        read_npz(path)


def test_a_truncated_archive_is_refused(npz):
    path = npz("trials")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SessionError, match="reading it failed"):
        read_npz(path)


@settings(deadline=None)  # each example writes and reads a file
@given(
    trains=st.lists(
        st.lists(st.floats(0, 99, allow_nan=False, width=32), max_size=20), min_size=1, max_size=6
    )
)
def test_what_is_written_is_read_back(tmp_path_factory, trains):
    path = tmp_path_factory.mktemp("npz") / "mine.npz"
    write_npz(
        path,
        trains,
        duration_s=100.0,
        area=["VISp"] * len(trains),
        epochs=[(0.0, 50.0, "active"), (50.0, 100.0, "passive")],
        presentations=[(1.0, 1.25, "a"), (60.0, 60.25, "omitted")],
    )
    session = read_npz(path)
    assert session.session_id == "mine"
    for unit, train in enumerate(trains):
        np.testing.assert_array_equal(session.spikes_of(unit), np.array(train, np.float64))
    assert list(session.presentations.active) == [True, False]
    assert list(session.presentations.omitted) == [False, True]


def test_a_recording_that_could_not_be_read_back_is_not_written(tmp_path):
    with pytest.raises(SessionError, match=r"mine\.npz: duration_s must reach the last spike"):
        write_npz(tmp_path / "mine.npz", [[5.0]], duration_s=1.0)
    assert not list(tmp_path.iterdir())


def test_probes_and_signals_are_written_and_read_back(tmp_path):
    path = tmp_path / "mine.npz"
    write_npz(
        path,
        [[1.0], [2.0]],
        duration_s=10.0,
        probe=["A", "B"],
        signals={"running": ([0.0, 5.0, 10.0], [1.0, np.nan, 3.0])},
    )
    session = read_npz(path)
    assert list(session.units.probe) == ["A", "B"]
    np.testing.assert_array_equal(session.signals["running"].time_s, [0, 5, 10])
    np.testing.assert_array_equal(session.signals["running"].value, [1, np.nan, 3])
    # Samples 5 s apart are not a wheel read at 60 Hz.
    assert [f.check for f in check_session(session)] == ["signal-gap"]


def test_time_series_and_events_of_a_user_s_own_are_read_by_name(tmp_path):
    path = tmp_path / "mine.npz"
    write_npz(
        path,
        [[1.0], [2.0]],
        duration_s=10.0,
        signals={"position": ([0.0, 5.0], [[1.0, 2.0], [3.0, 4.0]])},
        events={"licks": [7.5, 2.5]},
    )
    signals = read_npz(path).signals
    assert sorted(signals) == ["licks", "position_0", "position_1"]
    np.testing.assert_array_equal(signals["position_1"].value, [2.0, 4.0])
    np.testing.assert_array_equal(signals["licks"].time_s, [2.5, 7.5])
    assert signals["licks"].is_events
    assert not signals["position_0"].is_events
    assert not check_session(read_npz(path))


def test_a_series_that_cannot_be_used_is_told_and_left_out(tmp_path):
    arrays = dict(np.load(recording([[1.0], [2.0]], duration_s=10.0).write(tmp_path / "a.npz")))
    wrong = {"wheel_time_s": [0.0, 1.0], "wheel": [1.0], "image_event_s": [0.5]}
    np.savez(tmp_path / "b.npz", **arrays, **wrong)
    session = read_npz(tmp_path / "b.npz")
    assert session.signals == {}
    assert [one.check for one in session.remarks] == ["signal-unusable"] * 2
    assert "each of 2 times" in session.remarks[0].detail


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"signals": {"pupil": ([0.0, 1.0], [1.0])}}, "pupil must have a number, .* each of 2"),
        ({"probe": ["A"]}, "probe must name a probe for each of 2 units"),
    ],
)
def test_signals_and_probes_that_do_not_fit_are_not_written(tmp_path, changes, told):
    with pytest.raises(SessionError, match=told):
        write_npz(tmp_path / "mine.npz", [[1.0], [2.0]], duration_s=10.0, **changes)
    assert not list(tmp_path.iterdir())
