import numpy as np
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.load import load_session, resolve_sessions
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.quality.selection import select_units

SMALL = "synthetic:planted?seed=4&minutes=0.4&units=6"


def test_globs_are_expanded_sorted_and_named_once(tmp_path):
    for name in ("b.npz", "a.npz"):
        (tmp_path / name).touch()
    found = resolve_sessions([f"{tmp_path}/*.npz", f"{tmp_path}/a.npz", SMALL])
    assert found == [f"{tmp_path}/a.npz", f"{tmp_path}/b.npz", SMALL]


def test_a_glob_that_matches_nothing_is_refused(tmp_path):
    with pytest.raises(SessionError, match="at least one recording must match"):
        resolve_sessions([f"{tmp_path}/*.nwb"])


def test_a_planted_session_is_simulated_once(tmp_path, monkeypatch):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path))
    first = load_session(SMALL)
    (path,) = tmp_path.glob("sessions/*/planted.nwb")
    written = path.stat().st_mtime_ns
    second = load_session(SMALL)
    assert path.stat().st_mtime_ns == written
    assert len(first.units) == 6
    np.testing.assert_array_equal(first.spike_times_s, second.spike_times_s)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("synthetic:planted?unit=3", "Did you mean 'units'"),
        ("synthetic:planted?units=many", "units must be a whole number, but got 'many'"),
        ("synthetic:planted?units=2.5", "units must be a whole number"),
        ("synthetic:planted?minutes=nan", "minutes must be a number"),
        ("synthetic:planted?minutes=0", "minutes of a planted session must be from"),
        ("synthetic:plantid?seed=0", "Did you mean 'synthetic:planted'"),
        ("allen-vbn:session", "must stand a session's id"),
        ("recording.mat", "must be .nwb or .npz"),
        ("nowhere.nwb", "there is none"),
    ],
)
def test_an_address_that_names_no_recording_is_refused_in_one_line(
    tmp_path, monkeypatch, address, told
):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path))
    with pytest.raises(SessionError) as refused:
        load_session(address)
    assert told in str(refused.value)
    assert address.split("?")[0] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.realdata
def test_every_real_recording_loads_without_a_fatal_finding(data_folder):
    files = sorted(data_folder.glob("*/*.npz"))
    assert files
    for path in files:
        session = load_session(str(path))
        assert session.num_spikes > 0
        found = check_session(session)
        assert all(f.severity == "warning" for f in found), (path.name, found)
        # A few spikes of these recordings are sorted twice; nothing else is amiss.
        assert {f.check for f in found} <= {"duplicate-spikes"}, (path.name, found)


@pytest.mark.realdata
def test_the_visual_units_of_a_real_session_are_found_by_prefix(data_folder):
    path = next(data_folder.glob("steinmetz2019/session02*.npz"))
    selection = select_units(load_session(str(path)), "allen", ["VIS"])
    assert selection.num_kept == 533
    assert selection.not_applied == ("isi_violations", "amplitude_cutoff", "presence_ratio")
