"""Clocks and lengths that cannot be, each beside one that can."""

import numpy as np
import pytest

from lab_files import TRAINS, table
from rheobase.core.errors import SessionError
from rheobase.sessions.load import load_session
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.nwb import read_nwb

STATES = EventSettings(state_table="epochs", state="kind")
RESET = [np.concatenate([train[train < 60], train[train >= 60] - 60]) for train in TRAINS]
IN_ORDER = np.argsort(np.concatenate(TRAINS), kind="stable")
TIMES = np.concatenate(TRAINS)[IN_ORDER]
UNIT = np.repeat(np.arange(8), [len(train) for train in TRAINS])[IN_ORDER]


def found(session):
    return {one.check: one for one in check_session(session)}


def test_a_clock_that_begins_again_in_every_trial_is_fatal(lab):
    by_trial = [
        np.concatenate([train[(train >= s) & (train < s + 10)] - s for s in range(0, 120, 10)])
        for train in TRAINS
    ]
    assert found(read_nwb(lab(trains=by_trial)))["clock-goes-back"].severity == "fatal"
    draw = np.random.default_rng(0)
    shuffled = [draw.permutation(train) for train in TRAINS]
    assert set(found(read_nwb(lab(trains=shuffled)))) == {"spikes-unsorted"}


def test_a_clock_of_one_probe_that_begins_again_is_fatal_and_of_some_units_told(lab):
    def probes(file):
        file["units"].create_dataset("probe", data=np.array([b"A"] * 3 + [b"B"] * 5))

    some = [*RESET[:3], *TRAINS[3:]]
    assert found(read_nwb(lab(probes, some)))["clock-goes-back"].severity == "fatal"
    told = found(read_nwb(lab(trains=some)))["clock-goes-back"]
    assert (told.severity, told.count) == ("warning", 3)
    assert "clock-goes-back" not in found(read_nwb(lab(trains=[RESET[0], *TRAINS[1:]])))


@pytest.mark.parametrize("form", ["alf", "kilosort", "spikeinterface"])
def test_a_clock_that_begins_again_is_found_in_what_sorters_write(tmp_path, form):
    times = np.concatenate([TIMES[TIMES < 60], TIMES[TIMES >= 60] - 60])
    samples = np.round(times * 30_000).astype(np.int64)
    path = tmp_path / form
    path.mkdir()
    if form == "alf":
        np.save(path / "spikes.times.npy", times)
        np.save(path / "spikes.clusters.npy", UNIT)
    elif form == "kilosort":
        np.save(path / "spike_times.npy", samples)
        np.save(path / "spike_clusters.npy", UNIT)
        (path / "params.py").write_text("sample_rate = 30000.0\n")
    else:
        path = tmp_path / "sorting.npz"
        np.savez(
            path,
            unit_ids=np.arange(8),
            num_segment=np.array([1]),
            sampling_frequency=np.array([30_000.0]),
            spike_indexes_seg0=samples,
            spike_labels_seg0=UNIT,
        )
    assert found(load_session(str(path)))["clock-goes-back"].severity == "fatal"


def test_units_of_another_clock_are_told_and_are_fatal_where_they_are_many(lab):
    def in_ms(num):
        return [train * 1000 if unit < num else train for unit, train in enumerate(TRAINS)]

    many = found(read_nwb(lab(trains=in_ms(4))))["clocks-of-units-differ"]
    assert (many.severity, many.count) == ("fatal", 4)
    assert "likely milliseconds" in many.detail
    session = read_nwb(lab(trains=in_ms(1)))
    assert 119 < session.duration_s < 121
    assert found(session)["clocks-of-units-differ"].severity == "warning"
    early = [TRAINS[0][TRAINS[0] < 1.1], *TRAINS[1:]]
    assert "clocks-of-units-differ" not in found(read_nwb(lab(trains=early)))


def test_a_slow_recording_in_milliseconds_is_not_taken_for_one_of_four_seconds(lab):
    slow = [train[::12] * 1000 for train in TRAINS]
    assert "likely milliseconds" in found(read_nwb(lab(trains=slow)))["times-not-in-seconds"].detail


@pytest.mark.parametrize(("stop_s", "likely"), [(1e4, ""), (120e3, "milliseconds"), (1e9, "")])
def test_a_state_that_lasts_long_after_the_last_spike_is_fatal(lab, stop_s, likely):
    def epochs(file):
        table(
            file, "intervals/epochs",
            start_time=[0.0, 60.0], stop_time=[60.0, stop_s], kind=["a", "b"],
        )  # fmt: skip

    told = found(read_nwb(lab(epochs), STATES))["length-without-spikes"]
    assert told.severity == "fatal"
    assert likely in told.detail


@pytest.mark.parametrize(("duration_s", "is_fatal"), [(120_000.0, True), (600.0, False)])
def test_a_stated_length_far_beyond_the_spikes_is_fatal(tmp_path, duration_s, is_fatal):
    path = tmp_path / "mine.npz"
    ends = np.cumsum([0, *map(len, TRAINS)])
    arrays = {"spike_times_s": np.concatenate(TRAINS), "unit_index": ends}
    np.savez(path, **arrays, duration_s=duration_s)
    assert ("length-without-spikes" in found(load_session(str(path)))) == is_fatal


@pytest.mark.parametrize("stop_s", [np.inf, np.nan])
def test_a_state_or_support_without_an_end_is_refused(lab, tmp_path, stop_s):
    def epochs(file):
        table(file, "intervals/epochs", start_time=[0.0], stop_time=[stop_s], kind=["a"])

    with pytest.raises(SessionError, match="each stretch of a state must stop"):
        read_nwb(lab(epochs), STATES)
    path = tmp_path / "group.npz"
    np.savez(
        path, type=np.array(["TsGroup"]), t=TIMES, index=UNIT, keys=np.arange(8),
        start=np.array([0.0]), end=np.array([stop_s]),
    )  # fmt: skip
    with pytest.raises(SessionError, match="time support"):
        load_session(str(path))


def test_a_few_absurd_spikes_of_every_unit_are_left_out(lab):
    session = read_nwb(lab(trains=[np.append(train, 9e6) for train in TRAINS]))
    assert 119 < session.duration_s < 121
    assert found(session)["spikes-outside-session"].count == 8


def test_a_spike_long_before_the_others_is_named(lab):
    trains = [np.append(0.5, TRAINS[0] + 5000), *(train + 5000 for train in TRAINS[1:])]
    assert "fires at 0.5 s" in found(read_nwb(lab(trains=trains)))["spikes-outside-session"].detail


def test_units_without_obs_intervals_are_taken_as_observed_when_others_were(lab):
    def observed(num):
        def change(file):
            file["units/obs_intervals"] = np.array([[0.0, 60.0]] * num).reshape(-1, 2)
            file["units/obs_intervals_index"] = np.minimum(np.arange(1, 9), num)

        return change

    session = read_nwb(lab(observed(5)))
    assert session.observed is None
    assert session.intervals.stop_s.tolist() == [60.0]
    assert found(session)["observed-unknown"].count == 3
    assert 119 < read_nwb(lab(observed(0))).duration_s < 121
