"""One session that several files hold."""

import numpy as np
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.load import (
    load_session,
    outline_session,
    refuse_same_bytes,
    resolve_sessions,
)
from rheobase.sessions.own.recording import recording
from rheobase.shards.ingest import bin_session
from rheobase.shards.settings import DataSettings
from rheobase.study.file.spec import load_study

STATES = [(0.0, 50.0, "active"), (50.0, 100.0, "passive")]
FLASHES = [(float(t), t + 0.25, "a") for t in range(1, 99)]


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """Return a function that writes the units of one probe; keywords as `recording` takes them."""
    monkeypatch.chdir(tmp_path)

    def write(name, seed, units=3, first_s=0.0, **known):
        draw = np.random.default_rng(seed)
        known = {"duration_s": 100.0} | known
        last_s = known["duration_s"]
        trains = [np.sort(draw.uniform(first_s, last_s, 500)) for _ in range(units)]
        return recording(trains, name=name, **known).write(f"{name}.npz").name

    return write


def test_units_of_all_files_are_one_session_in_the_states_of_the_one_that_names_them(probe):
    probe("A", 0, area=["VISp"] * 3, units=3, epochs=STATES, presentations=FLASHES)
    probe("B", 1, units=2, duration_s=90.0)
    alone = load_session("A.npz"), load_session("B.npz")
    (address,) = resolve_sessions(["A.npz + B.npz"])
    both = load_session(address)
    assert len(both.units) == 5
    for unit in range(5):
        own = alone[0].spikes_of(unit) if unit < 3 else alone[1].spikes_of(unit - 3)
        assert both.spikes_of(unit).tolist() == own.tolist()
    assert both.units.probe.tolist() == ["A"] * 3 + ["B"] * 2
    assert both.units.area.tolist() == ["VISp"] * 3 + [""] * 2
    assert both.units.unit_id.tolist() == [*range(5)]
    assert both.units.metrics["id_in_file"].tolist() == [0, 1, 2, 0, 1]
    assert both.intervals.state.tolist() == ["active", "passive"]
    assert both.intervals.stop_s.tolist() == [50.0, 90.0]  # what both recorded
    assert len(both.presentations) == len(FLASHES)
    assert both.data_digest not in {one.data_digest for one in alone}
    outline = outline_session(address)
    assert (outline.num_units, outline.num_spikes) == (5, 2500)


def test_a_joined_session_becomes_one_shard_from_a_study_beside_it(probe, tmp_path, monkeypatch):
    probe("A", 0, epochs=STATES)
    probe("B", 1)
    (tmp_path / "s.toml").write_text('name = "s"\n[data]\nsessions = ["A.npz + B.npz"]\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (address,) = resolve_sessions(load_study(tmp_path / "s.toml").data.sessions)
    settings = DataSettings(sessions=("any",), quality="none")
    shard = bin_session(address, settings, tmp_path / "shards")
    assert shard.exists()
    assert bin_session(address, settings, tmp_path / "shards") == shard


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (
            {},
            {"epochs": [(200.0, 300.0, "")], "duration_s": 300.0, "first_s": 200.0},
            "no time in common: A.npz 0",
        ),
        ({"epochs": STATES}, {"epochs": [(0.0, 100.0, "sleep")]}, "names active, passive and anot"),
        (
            {"presentations": FLASHES},
            {"presentations": FLASHES[:5]},
            "the same presentations, but A.npz has 98 and B.npz 5",
        ),
    ],
)
def test_files_that_do_not_fit_are_told_in_one_line(probe, one, other, told):
    probe("A", 0, **one)
    probe("B", 1, **other)
    with pytest.raises(SessionError, match=told) as refused:
        load_session("A.npz + B.npz")
    assert "\n" not in str(refused.value)


def test_a_missing_part_and_one_that_is_named_twice_are_refused(probe):
    probe("A", 0)
    probe("B", 1)
    with pytest.raises(SessionError, match=r"C\.npz: at least one recording must match"):
        resolve_sessions(["A.npz + C.npz"])
    with pytest.raises(SessionError, match="holds the same bytes"):
        refuse_same_bytes(resolve_sessions(["A.npz + B.npz", "B.npz"]))


def test_a_name_that_holds_the_mark_is_one_file(probe):
    probe("A + B", 0)
    assert resolve_sessions(["A + B.npz"]) == ["A + B.npz"]
    assert len(load_session("A + B.npz").units) == 3
