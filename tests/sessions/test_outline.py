import h5py
import numpy as np
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.load import load_session, outline_session
from rheobase.sessions.planted.simulate import NAMES
from rheobase.sessions.quality.selection import select_units
from rheobase.sessions.readers.nwb import read_nwb
from rheobase.sessions.records.session import Session, TrialSession

SMALL = "synthetic:planted?seed=4&minutes=2&units=40"


@pytest.fixture
def _spikes_are_not_read_whole(monkeypatch):
    """Refuse to read all spikes at once."""
    read = h5py.Dataset.__getitem__

    def refuse(self, key, **words):
        assert self.name != "/units/spike_times" or len(key), "every spike was read"
        return read(self, key, **words)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", refuse)


def test_a_planted_address_says_what_its_session_will_be():
    size, session = outline_session(SMALL, "none"), load_session(SMALL)
    assert (size.num_sessions, size.num_units, size.num_kept) == (1, 40, 40)
    assert size.num_spikes == pytest.approx(session.num_spikes, rel=0.3)
    assert size.silent.session_id == session.session_id
    for name in ("start_s", "stop_s", "state"):
        np.testing.assert_array_equal(
            getattr(size.silent.intervals, name), getattr(session.intervals, name)
        )
    assert len(size.silent.presentations) == len(session.presentations)
    assert sorted(size.silent.signals) == sorted(session.signals)
    assert list(size.silent.true_latents.names) == list(session.true_latents.names)
    assert outline_session(SMALL, "allen").num_kept == round(40 * 0.92 * 0.99 * 0.95 * 0.97)
    assert outline_session(SMALL, "none", ["VISal"]).num_kept == 6  # 15 % of the units


@pytest.mark.parametrize("quality", ["none", "allen"])
@pytest.mark.parametrize("areas", [(), ("VIS",)])
def test_an_nwb_file_is_outlined_as_it_will_be_read(planted_file, quality, areas):
    session = load_session(str(planted_file))
    size = outline_session(str(planted_file), quality, areas)
    assert size.num_units == 40
    assert size.num_kept == select_units(session, quality, areas).num_kept
    assert size.num_spikes == session.num_spikes
    assert size.silent.session_id == session.session_id
    assert len(size.silent.presentations) == len(session.presentations) == 160
    assert size.duration_s == session.duration_s
    for name in ("start_s", "stop_s", "state"):
        np.testing.assert_array_equal(
            getattr(size.silent.intervals, name), getattr(session.intervals, name)
        )
    assert sorted(size.silent.signals) == ["pupil", "running"]
    assert tuple(size.silent.true_latents.names) == NAMES
    assert size.silent.num_spikes == 0


@pytest.mark.usefixtures("_spikes_are_not_read_whole")
@pytest.mark.parametrize("dropped", ["identifier", "intervals"])
def test_the_spikes_of_an_nwb_file_are_not_read_for_its_outline(edited, dropped):
    path = edited(lambda file: file.pop(dropped))
    session = read_nwb(path, spikes=False)
    assert len(session.units) == 40
    assert session.num_spikes > 10_000
    assert len(session.spike_times_s) == 0


def test_an_nwb_file_without_presentations_is_as_long_as_its_spikes_say(edited):
    path = str(edited(lambda file: file.pop("intervals")))
    size, session = outline_session(path), load_session(path)
    assert len(size.silent.presentations) == 0
    assert list(size.silent.intervals.state) == [""]
    assert size.duration_s == session.duration_s
    assert size.silent.intervals.stop_s[0] == session.intervals.stop_s[0]


def test_archives_are_outlined(npz):
    size = outline_session(str(npz("continuous", presentation_start_s=np.array([1.0, 2.0]))))
    assert isinstance(size.silent, Session)
    assert (size.num_units, size.num_spikes, size.duration_s) == (2, 4, 10.0)
    assert len(size.silent.presentations) == 2
    assert size.silent.signals == {}
    size = outline_session(str(npz("trials")))
    assert isinstance(size.silent, TrialSession)
    assert size.silent.counts.shape == (3, 1, 4)
    assert (size.num_units, size.silent.bin_ms) == (2, 10.0)
    assert size.duration_s == pytest.approx(0.12)
    assert outline_session(str(npz("continuous", duration_s=None))).duration_s == np.nextafter(5, 6)


def test_the_release_is_outlined_by_its_means():
    one, every = outline_session("allen-vbn:1064400234"), outline_session("allen-vbn:all")
    assert (one.num_sessions, every.num_sessions) == (1, 103)
    assert outline_session("allen-vbn:all?abnormal=include").num_sessions == 153
    assert (one.num_units, one.num_kept) == (2_085, 2_085)
    assert outline_session("allen-vbn:1064400234", "allen").num_kept == 785
    assert len(one.silent.presentations) == 9_600
    assert one.download_bytes == 2_000_000_000


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nowhere.nwb", "there is none"),
        ("nowhere.npz", "there is none"),
        ("recording.mat", "must be .nwb or .npz"),
        ("synthetic:what", "a synthetic session must be"),
        ("synthetic:planted?minutes=-3", "minutes of a planted session must be from"),
        ("synthetic:planted?units=many", "units must be a whole number"),
    ],
)
def test_what_cannot_be_outlined_is_told_in_one_line(address, told):
    with pytest.raises(SessionError) as refused:
        outline_session(address)
    assert told in str(refused.value)
    assert address.split("?")[0] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_area_that_no_unit_lies_in_cannot_be_outlined(planted_file):
    for address in (SMALL, str(planted_file)):
        with pytest.raises(SessionError, match=r"'vis' matches none.*Did you mean 'VIS'"):
            outline_session(address, "none", ["vis"])
