from dataclasses import replace

import numpy as np
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.load import load_session
from rheobase.sessions.planted.simulate import NAMES, simulate
from rheobase.sessions.records.series import events_of
from rheobase.sessions.records.session import Intervals, Presentations, Session, Signal, Units
from rheobase.shards.binning import make_shard
from rheobase.shards.covariates import HOLD_S, covariates_of, true_latents_of
from rheobase.shards.ingest import bin_session
from rheobase.shards.settings import DataSettings
from rheobase.shards.store import read_shard, write_shard
from rheobase.shards.timeline import timeline_of

SETTINGS = DataSettings(sessions=("s.nwb",), quality="none", window_ms=100)


def recording(**signals):
    unit = np.zeros(1, np.int64)
    return Session(
        session_id="s",
        source="s.nwb",
        data_digest="d",
        units=Units(unit, np.array(["VISp"]), np.array([""])),
        spike_times_s=np.array([0.5]),
        spike_offsets=np.array([0, 1]),
        intervals=Intervals(
            np.array([0.0, 30.0]), np.array([20.0, 50.0]), np.array(["active", "passive"])
        ),
        presentations=Presentations.none(),
        signals={
            name: Signal(np.array(t, float), np.array(v, float)) for name, (t, v) in signals.items()
        },
    )


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    path = tmp_path_factory.mktemp("planted") / "p.nwb"
    simulate(path, seed=3, minutes=1, num_units=5)
    return path


def test_a_bin_holds_the_mean_of_its_samples_and_keeps_the_latest_while_it_is_fresh():
    session = recording(running=([0.101, 0.109, 0.14, 3.0], [1.0, 3.0, 7.0, 5.0]))
    speed = covariates_of(make_shard(session, SETTINGS))["running"]
    assert np.isnan(speed[:10]).all()
    assert speed[10] == 2.0
    np.testing.assert_array_equal(speed[11:14], 3.0)
    last = 14 + round(HOLD_S * 100)
    np.testing.assert_array_equal(speed[14 : last - 1], 7.0)
    assert np.isnan(speed[last:300]).all()
    assert speed[300] == 5.0


def test_lost_samples_and_times_out_of_order_are_not_made_up():
    session = recording(pupil=([0.25, 0.05, 0.15], [3.0, 1.0, np.nan]))
    pupil = covariates_of(make_shard(session, SETTINGS))["pupil"]
    np.testing.assert_array_equal(pupil[5:15], 1.0)
    assert np.isnan(pupil[15:25]).all()
    assert pupil[25] == 3.0


def test_of_events_a_bin_holds_how_many_there_are_in_a_second():
    session = replace(recording(), signals=events_of("licks", np.array([0.0, 0.101, 0.109, 31.0])))
    licks = covariates_of(make_shard(session, SETTINGS))["licks"]
    assert {int(bin): float(licks[bin]) for bin in np.flatnonzero(licks)} == {
        0: 100.0,
        10: 200.0,
        2100: 100.0,
    }


def test_a_recording_that_knows_nothing_has_no_covariates(tmp_path):
    shard = make_shard(recording(), SETTINGS)
    write_shard(tmp_path / "shard.arrow", shard)
    back = read_shard(tmp_path / "shard.arrow")
    assert covariates_of(back) == {}
    assert true_latents_of(back) is None


@pytest.mark.parametrize("bin_ms", [10.0, 20.0])
def test_true_latents_are_those_of_the_bins_they_were_made_for(planted, bin_ms):
    shard = make_shard(load_session(str(planted)), SETTINGS.model_copy(update={"bin_ms": bin_ms}))
    names, true = true_latents_of(shard)
    assert names == NAMES
    with np.load(planted.with_suffix(".latents.npz")) as archive:
        latents = archive["latents"]
    first = np.round(timeline_of(shard).time_s * 100).astype(int)
    expected = latents[first] if bin_ms == 10 else (latents[first] + latents[first + 1]) / 2
    np.testing.assert_allclose(true, expected, atol=1e-6)


def test_covariates_and_labels_come_back_from_a_store_whatever_its_chunks(
    planted, tmp_path, monkeypatch
):
    monkeypatch.setattr("rheobase.shards.counts.CHUNK_BINS", 700)
    shard = make_shard(load_session(str(planted)), SETTINGS)
    shard = replace(shard, labels={"contrast": np.array([0.5, np.nan])})
    write_shard(tmp_path / "shard.arrow", shard)
    back = read_shard(tmp_path / "shard.arrow")
    assert len(back.segments[0].covariates) == len(back.segments[0].counts.chunks) > 2
    before, after = covariates_of(shard), covariates_of(back)
    assert list(after) == ["pupil", "running", *(f"true:{name}" for name in NAMES)]
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    np.testing.assert_array_equal(back.labels["contrast"], [0.5, np.nan])


def test_the_truth_survives_a_choice_of_units_and_names_the_shard(planted, tmp_path):
    settings = SETTINGS.model_copy(update={"areas": ("VIS",)})
    first = bin_session(str(planted), settings, tmp_path)
    assert true_latents_of(read_shard(first)) is not None
    archive = planted.with_suffix(".latents.npz")
    whole = archive.read_bytes()
    try:
        archive.unlink()
        without = bin_session(str(planted), settings, tmp_path)
        assert without.parent != first.parent
        assert true_latents_of(read_shard(without)) is None
        simulate(planted.with_name("other.nwb"), seed=4, minutes=1, num_units=5)
        archive.write_bytes(planted.with_name("other.latents.npz").read_bytes())
        other = bin_session(str(planted), settings, tmp_path)
        assert other.parent not in (first.parent, without.parent)
    finally:
        archive.write_bytes(whole)
    assert bin_session(str(planted), settings, tmp_path) == first


@pytest.mark.parametrize("damage", ["truncated", "a name too few", "NaN"])
def test_damaged_latents_beside_a_recording_are_told_in_one_line(planted, tmp_path, damage):
    path = tmp_path / "p.nwb"
    path.write_bytes(planted.read_bytes())
    archive = path.with_suffix(".latents.npz")
    with np.load(planted.with_suffix(".latents.npz")) as whole:
        arrays = dict(whole)
    if damage == "NaN":
        arrays["latents"][3, 2] = np.nan
    elif damage == "a name too few":
        arrays["names"] = arrays["names"][1:]
    np.savez(archive, **arrays)
    if damage == "truncated":
        archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(SessionError, match="simulate the recording again") as caught:
        load_session(str(path))
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.realdata
def test_labels_of_real_trials_reach_the_shard(data_folder, tmp_path):
    path = data_folder / "steinmetz2019" / "session02_Cori_2016-12-17.npz"
    settings = DataSettings(sessions=("x",), window_ms=400)
    shard = read_shard(bin_session(str(path), settings, tmp_path))
    with np.load(path) as archive:
        np.testing.assert_array_equal(shard.labels["contrast_left"], archive["contrast_left"])
