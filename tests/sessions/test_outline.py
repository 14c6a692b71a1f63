import h5py
import numpy as np
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.load import load_session, outline_session
from rheobase.sessions.planted.simulate import NAMES
from rheobase.sessions.records.session import Session, TrialSession

SMALL = "synthetic:planted?seed=4&minutes=2&units=40"


@pytest.fixture
def _no_spike_is_read(monkeypatch):
    """Refuse to read what is as long as a recording's spikes are many."""

    def refuse(self, *_):
        raise AssertionError(f"{self.name} was read")

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


def test_an_nwb_file_is_outlined_by_its_shapes(planted_file):
    session = load_session(str(planted_file))
    size = outline_session(str(planted_file))
    assert (size.num_units, size.num_kept) == (40, 40)
    assert size.num_spikes == session.num_spikes
    assert size.silent.session_id == session.session_id
    assert len(size.silent.presentations) == len(session.presentations) == 160
    assert size.duration_s == 160 * 0.75
    assert sorted(size.silent.signals) == ["pupil", "running"]
    assert tuple(size.silent.true_latents.names) == NAMES
    assert size.silent.num_spikes == 0


@pytest.mark.usefixtures("_no_spike_is_read")
def test_no_array_of_an_nwb_file_is_read_for_its_outline(edited):
    path = edited(lambda file: file.pop("identifier"))
    size = outline_session(str(path))
    assert size.num_units == 40
    assert size.silent.session_id == path.stem
    assert size.silent.true_latents is None


def test_an_nwb_file_without_presentations_is_as_long_as_its_spikes_take(edited):
    size = outline_session(str(edited(lambda file: file.pop("intervals"))))
    assert len(size.silent.presentations) == 0
    assert list(size.silent.intervals.state) == [""]
    # 125 million spikes of 2,085 units in 2.6 hours.
    assert size.duration_s == pytest.approx(size.num_spikes / 40 / 6.405, rel=1e-3)
    assert "6.4 Hz a unit" in size.basis


def test_archives_are_outlined_by_their_headers(npz):
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
        ("nowhere.nwb", "reading them failed"),
        ("nowhere.npz", "reading them failed"),
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


@pytest.mark.parametrize(("form", "key"), [("continuous", "duration_s"), ("trials", "bin_s")])
def test_an_archive_that_does_not_say_how_long_it_is_cannot_be_outlined(npz, form, key):
    with pytest.raises(SessionError, match=f"reading them failed: {key}"):
        outline_session(str(npz(form, **{key: None})))
