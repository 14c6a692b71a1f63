"""Good files made bad in one way each: every kind is found by name, and none by another's."""

import numpy as np
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.readers.nwb import read_nwb


def spikes(file):
    return file["units/spike_times"], file["units/spike_times_index"][:].astype(int)


def flashes(file):
    return next(g for n, g in file["intervals"].items() if n.endswith("_presentations"))


def replaced(group, name, values):
    del group[name]
    group[name] = values


def change(name, where, index, value):
    def corrupt(file):
        column = where(file)[name]
        values = column[:]
        values[index] = value
        replaced(where(file), name, values)

    return corrupt


def spike(index, value):
    return lambda file: spikes(file)[0].__setitem__(index, value)


def duplicated(file):
    times, _ = spikes(file)
    times[1] = times[0] + 1e-4


def swapped_spikes(file):
    times, _ = spikes(file)
    times[0], times[1] = times[1], times[0]


def silent_probe(file):
    times, _ = spikes(file)
    values = times[:]
    values[(values > 20) & (values < 28)] = 28.0
    times[:] = values


def lost_units(file):
    times, ends = spikes(file)
    values = times[:]
    for unit in range(5):
        train = slice(ends[unit - 1] if unit else 0, ends[unit])
        values[train] = np.sort(np.minimum(values[train], 60.0 + np.arange(len(values[train]))))
        values[train] = np.linspace(5.0, 60.0, len(values[train]))
    times[:] = values


def no_spikes_of_a_unit(file):
    ends = file["units/spike_times_index"][:]
    ends[3] = ends[2]
    replaced(file["units"], "spike_times_index", ends)


def empty(file):
    for name, column in list(file["units"].items()):
        replaced(file["units"], name, column[:0])


def no_spikes(file):
    replaced(file["units"], "spike_times", np.zeros(0))
    replaced(file["units"], "spike_times_index", file["units/spike_times_index"][:] * 0)


def units(file):
    return file["units"]


def shifted_replay(file):
    table = flashes(file)
    passive = table["active"][:] == 0
    for name in ("start_time", "stop_time"):
        replaced(table, name, table[name][:] - 20.0 * passive)


def swapped_onsets(file):
    table = flashes(file)
    for name in ("start_time", "stop_time"):
        values = table[name][:]
        values[[4, 5]] = values[[5, 4]]
        replaced(table, name, values)


def stretched(file):
    table = flashes(file)
    late = 0.3 * (np.arange(len(table["start_time"])) >= 30)
    for name in ("start_time", "stop_time"):
        replaced(table, name, table[name][:] + late)


def one_state(file):
    table = flashes(file)
    replaced(table, "active", np.ones(len(table["active"]), np.uint8))


def other_images(file):
    table = flashes(file)
    image = table["image_name"].asstr()[:]
    image[-8:] = "im999_r"
    replaced(table, "image_name", image)


def flag(name):
    def corrupt(file):
        table = flashes(file)
        values = table[name][:]
        shown = np.flatnonzero(table["omitted"][:] == 0)[10]
        values[shown] = 1 - values[shown]
        replaced(table, name, values)

    return corrupt


def left_in_the_replay(file):
    """Unit 1 fires as before in the first block, and stops half-way through the second."""
    times, ends = spikes(file)
    values = times[:]
    train = values[: ends[0]]
    train[train > 100] = np.linspace(100.0, 100.5, int((train > 100).sum()))
    times[: ends[0]] = train


def half_silent(file):
    """One of two probes is silent for 8 s."""
    electrodes = file["general/extracellular_ephys/electrodes"]
    group = electrodes["group_name"].asstr()[:].astype(object)
    group[20:] = "probeB"
    replaced(electrodes, "group_name", group)
    times, ends = spikes(file)
    values = times[:]
    late = np.arange(len(values)) >= ends[19]
    values[late & (values > 20) & (values < 28)] = 28.0
    times[:] = values


def in_samples(file):
    times, ends = spikes(file)
    times[: ends[0]] = times[: ends[0]] * 30_000


def signal(where, name, index, value):
    def corrupt(file):
        series = file[where]
        values = series[name][:]
        values[index] = value
        series[name][:] = values

    return corrupt


RUNNING, EYE = "processing/running/speed", "acquisition/EyeTracking"


def dropped_samples(file):
    series = file[RUNNING]
    kept = ~((series["timestamps"][:] > 30) & (series["timestamps"][:] < 32))
    for name in ("data", "timestamps"):
        replaced(series, name, series[name][:][kept])


def closed_eye(file):
    blink = file[f"{EYE}/likely_blink/data"]
    blink[900:1200] = True  # 10 s at 30 Hz


def short_recording_of_the_wheel(file):
    series = file[RUNNING]
    for name in ("data", "timestamps"):
        replaced(series, name, series[name][:3000])


FOUND = {
    "spike-not-finite": (spike(5, np.nan), "spikes-not-finite", "fatal"),
    "spike-infinite": (spike(5, np.inf), "spikes-not-finite", "fatal"),
    "spike-negative": (spike(0, -0.5), "spikes-negative", "fatal"),
    "spikes-swapped": (swapped_spikes, "spikes-unsorted", "warning"),
    "spike-twice": (duplicated, "duplicate-spikes", "warning"),
    "probe-silent": (silent_probe, "probe-silent", "warning"),
    "units-lost-in-replay": (lost_units, "units-lost", "warning"),
    "unit-without-spikes": (no_spikes_of_a_unit, "units-without-spikes", "warning"),
    "no-units": (empty, "no-units", "fatal"),
    "no-spikes": (no_spikes, "no-spikes", "fatal"),
    "ids-repeated": (change("id", units, 1, 1), "unit-ids-repeated", "fatal"),
    "rate-wrong": (change("firing_rate", units, 2, 99.0), "firing-rate-disagrees", "warning"),
    "presence-above-1": (change("presence_ratio", units, 2, 1.5), "metric-out-of-range", "warning"),
    "isi-negative": (change("isi_violations", units, 2, -0.1), "metric-out-of-range", "warning"),
    "cutoff-above-1": (change("amplitude_cutoff", units, 2, 3.0), "metric-out-of-range", "warning"),
    "onset-missing": (
        change("start_time", flashes, 7, np.nan), "presentations-not-finite", "fatal",
    ),
    "onsets-swapped": (swapped_onsets, "presentations-unordered", "fatal"),
    "flash-too-long": (change("stop_time", flashes, 7, 11.2), "presentations-overlap", "fatal"),
    "flash-backward": (change("stop_time", flashes, 7, 1.0), "presentations-backward", "fatal"),
    "stride-broken": (stretched, "flash-stride", "warning"),
    "replay-too-early": (shifted_replay, "blocks-overlap", "fatal"),
    "block-mixed": (change("active", flashes, 3, 0), "block-of-two-states", "fatal"),
    "one-state-only": (one_state, "active-passive-missing", "warning"),
    "other-images": (other_images, "replay-differs", "warning"),
    "change-flag-wrong": (flag("is_change"), "change-disagrees", "warning"),
    "omission-flag-wrong": (flag("omitted"), "omission-disagrees", "warning"),
    "presence-half-of-a-block": (left_in_the_replay, "presence-disagrees", "warning"),
    "one-probe-silent": (half_silent, "probe-silent", "warning"),
    "spikes-in-samples": (in_samples, "spikes-outside-session", "warning"),
    "wheel-samples-dropped": (dropped_samples, "signal-gap", "warning"),
    "wheel-lost": (signal(RUNNING, "data", slice(600, 720), np.nan), "signal-gap", "warning"),
    "wheel-ends-early": (short_recording_of_the_wheel, "signal-gap", "warning"),
    "wheel-clock-back": (signal(RUNNING, "timestamps", 99, 0.0), "signal-unsorted", "warning"),
    "eye-closed": (closed_eye, "signal-gap", "warning"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOUND)
def test_each_kind_of_corruption_is_found_by_name(edited, kind):
    corrupt, check, severity = FOUND[kind]
    found = {finding.check: finding for finding in check_session(read_nwb(edited(corrupt)))}
    assert check in found, found
    assert found[check].severity == severity
    assert "\n" not in found[check].detail
    if severity == "warning":
        # A recording that can be used must not be called unusable.
        assert all(finding.severity == "warning" for finding in found.values()), found


def test_the_silent_probe_is_named(edited):
    found = {f.check: f for f in check_session(read_nwb(edited(half_silent)))}
    assert "no spike of any unit of probeB for 8 s at 20 s" in found["probe-silent"].detail


def test_a_blink_is_no_gap_and_no_sample(edited):
    def blink(file):
        file[f"{EYE}/likely_blink/data"][900:930] = True

    session = read_nwb(edited(blink))
    assert np.isnan(session.signals["pupil"].value[900:930]).all()
    assert check_session(session) == []


def test_a_good_file_has_no_finding(edited):
    assert check_session(read_nwb(edited(lambda file: None))) == []


def index_too_far(file):
    file["units/spike_times_index"][-1] += 5


def no_index(file):
    del file["units/spike_times_index"]


def short_column(file):
    replaced(flashes(file), "is_change", np.zeros(3, np.uint8))


def text_for_times(file):
    replaced(file["units"], "spike_times", np.array([b"a", b"b"]))


def table_of_another_kind(file):
    del file["units"]
    file["units"] = np.zeros(3)


def column_of_another_kind(file):
    del file["units/id"]
    file["units/id"] = np.dtype("f8")


def group_for_a_column(file):
    del file["units/spike_times"]
    file.create_group("units/spike_times")


def no_times_of_the_wheel(file):
    del file[f"{RUNNING}/timestamps"]


def short_wheel(file):
    replaced(file[RUNNING], "data", np.zeros(3))


REFUSED = [
    index_too_far, no_index, short_column, text_for_times, table_of_another_kind,
    column_of_another_kind, group_for_a_column,
]  # fmt: skip


@pytest.mark.parametrize("corrupt", REFUSED)
def test_a_file_whose_tables_do_not_fit_is_refused_in_one_line(edited, corrupt):
    path = edited(corrupt)
    with pytest.raises(SessionError) as told:
        read_nwb(path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("corrupt", [no_times_of_the_wheel, short_wheel])
def test_a_signal_that_cannot_be_used_is_left_out_and_told(edited, corrupt):
    session = read_nwb(edited(corrupt))
    assert set(session.signals) == {"pupil"}
    (told,) = check_session(session)
    assert (told.check, told.severity) == ("signal-unusable", "warning")
    assert told.detail.startswith("running: 'processing/running/speed' cannot be used")
