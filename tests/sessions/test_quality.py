from dataclasses import replace

import numpy as np
import pytest

from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.readers.npz import read_npz
from rheobase.sessions.readers.nwb import read_nwb


@pytest.fixture(scope="module")
def session(planted_file):
    return read_nwb(planted_file)


def with_spikes(session, change):
    times = session.spike_times_s.copy()
    change(times, session.spike_offsets)
    return replace(session, spike_times_s=times)


def with_flashes(session, **columns):
    return replace(session, presentations=replace(session.presentations, **columns))


def found_by(session) -> dict[str, str]:
    return {finding.check: finding.severity for finding in check_session(session)}


def test_a_planted_session_has_no_finding(session):
    assert check_session(session) == []


def test_a_session_by_trial_has_no_finding(npz):
    assert check_session(read_npz(npz("trials"))) == []


def negative(times, offsets):
    times[offsets[3]] = -0.5


def unsorted(times, offsets):
    times[offsets[2]], times[offsets[2] + 1] = times[offsets[2] + 1], times[offsets[2]]


def not_finite(times, offsets):
    times[offsets[1] + 4] = np.nan


def duplicate(times, offsets):
    times[offsets[5] + 1] = times[offsets[5]] + 0.0001


def silence(times, offsets):
    inside = (times > 20) & (times < 27)
    times[inside] = 20.0


@pytest.mark.parametrize(
    ("change", "check", "severity"),
    [
        (negative, "spikes-negative", "fatal"),
        (not_finite, "spikes-not-finite", "fatal"),
        (unsorted, "spikes-unsorted", "warning"),
        (duplicate, "duplicate-spikes", "warning"),
        (silence, "probe-silent", "warning"),
    ],
)
def test_bad_spikes_are_found_by_name(session, change, check, severity):
    assert found_by(with_spikes(session, change))[check] == severity


def test_findings_say_how_many_and_where(session):
    (finding,) = check_session(with_spikes(session, negative))
    assert finding.count == 1
    assert "unit 4 at -0.5 s" in finding.detail


def test_a_stated_rate_that_the_spikes_do_not_have_is_found(session):
    metrics = {**session.units.metrics, "firing_rate": session.units.metrics["firing_rate"] * 1.5}
    wrong = replace(session, units=replace(session.units, metrics=metrics))
    assert found_by(wrong) == {"firing-rate-disagrees": "warning"}


def test_spikes_after_the_end_of_a_recording_are_found(npz):
    session = read_npz(npz("continuous"))
    late = replace(session, spike_times_s=np.array([0.1, 0.2, 50.0, 0.5]))
    assert "spikes-outside-session" in found_by(late)


def test_bad_presentations_are_found_by_name(session):
    flashes = session.presentations
    start_s = flashes.start_s.copy()
    start_s[[4, 5]] = start_s[[5, 4]]
    swapped = with_flashes(session, start_s=start_s, stop_s=start_s + 0.25)
    assert found_by(swapped)["presentations-unordered"] == "fatal"
    stop_s = flashes.stop_s.copy()
    stop_s[7] = flashes.start_s[8] + 0.1
    assert found_by(with_flashes(session, stop_s=stop_s)) == {"presentations-overlap": "fatal"}
    later = flashes.start_s + 0.3 * (np.arange(len(flashes)) >= 30)
    assert "flash-stride" in found_by(with_flashes(session, start_s=later, stop_s=later + 0.25))
    image = flashes.image.copy()
    image[-1] = "another"
    assert found_by(with_flashes(session, image=image))["replay-differs"] == "warning"


def test_empty_recordings_are_fatal(session):
    none = session.take_units(np.zeros(len(session.units), bool))
    assert found_by(none) == {"no-units": "fatal"}
    silent = replace(
        session, spike_times_s=np.zeros(0), spike_offsets=np.zeros_like(session.spike_offsets)
    )
    assert found_by(silent) == {"no-spikes": "fatal"}
