import h5py
import numpy as np
import pynwb
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.planted.simulate import NAMES, simulate
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.readers.nwb import read_nwb


def test_the_same_arguments_write_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        simulate(tmp_path / f"{name}.nwb", seed=3, minutes=0.5, num_units=10)
    assert (tmp_path / "a.nwb").read_bytes() == (tmp_path / "b.nwb").read_bytes()


def test_seeds_differ(tmp_path):
    for seed in (0, 1):
        simulate(tmp_path / f"{seed}.nwb", seed=seed, minutes=0.5, num_units=10)
    a, b = (read_nwb(tmp_path / f"{seed}.nwb") for seed in (0, 1))
    assert a.num_spikes != b.num_spikes


def test_flashes_come_every_750_ms_and_the_passive_block_replays_the_active_one(planted_file):
    session = read_nwb(planted_file)
    flashes = session.presentations
    active, passive = flashes.active, ~flashes.active
    assert active.sum() == passive.sum() == 80
    np.testing.assert_allclose(np.diff(flashes.start_s[active]), 0.75)
    np.testing.assert_allclose(np.diff(flashes.start_s[passive]), 0.75)
    np.testing.assert_allclose(flashes.stop_s - flashes.start_s, 0.25)
    assert (flashes.image[active] == flashes.image[passive]).all()
    assert list(session.intervals.state) == ["active", "passive"]
    np.testing.assert_allclose(session.intervals.stop_s - session.intervals.start_s, 60.0)


def test_one_in_twenty_flashes_is_omitted_never_at_a_change(tmp_path):
    simulate(tmp_path / "long.nwb", minutes=40, num_units=1)
    flashes = read_nwb(tmp_path / "long.nwb").presentations
    assert 0.035 < flashes.omitted.mean() < 0.065
    change = np.flatnonzero(flashes.is_change)
    assert not flashes.omitted[change].any()
    assert not flashes.omitted[change[change > 0] - 1].any()
    assert len(set(flashes.image) - {"omitted"}) == 8


def test_latents_are_standardised_and_lie_beside_the_file(planted_file):
    beside = np.load(planted_file.with_suffix(".latents.npz"))
    assert tuple(beside["names"]) == NAMES
    np.testing.assert_allclose(beside["latents"].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(beside["latents"].std(axis=0), 1, atol=1e-3)
    assert len(beside["time_s"]) == len(beside["latents"])


def explained(path) -> np.ndarray:
    """R2 of each latent on the second half, by ridge on counts smoothed over 150 ms."""
    session = read_nwb(path)
    beside = np.load(path.with_suffix(".latents.npz"))
    edges = np.append(beside["time_s"], beside["time_s"][-1] + 0.01)
    box = np.ones(15) / 15
    x = np.stack(
        [
            np.convolve(np.histogram(session.spikes_of(unit), edges)[0], box, "same")
            for unit in range(len(session.units))
        ],
        axis=1,
    )
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = beside["latents"].astype(float)
    train = (np.arange(len(y)) // 1000) % 2 == 0
    gram = x[train].T @ x[train] + 50 * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x[train].T @ y[train])
    error = (y[~train] - x[~train] @ weights).var(axis=0)
    return 1 - error / y[~train].var(axis=0)


def test_counts_carry_every_latent_and_nuisance_hides_some_of_them(tmp_path):
    clean, noisy = tmp_path / "clean.nwb", tmp_path / "noisy.nwb"
    simulate(clean, minutes=4, num_units=60, nuisance=0.0)
    simulate(noisy, minutes=4, num_units=60, nuisance=3.0)
    assert explained(clean).min() > 0.2
    assert explained(clean).mean() > 0.5
    assert explained(noisy).mean() < explained(clean).mean() - 0.05


def test_pynwb_reads_what_h5py_reads(planted_file):
    session = read_nwb(planted_file)
    with pynwb.NWBHDF5IO(planted_file, "r") as io:
        table = io.read().units.to_dataframe()
    assert len(table) == len(session.units)
    for unit, times in enumerate(table.spike_times):
        np.testing.assert_array_equal(times, session.spikes_of(unit))
    np.testing.assert_array_equal(table.firing_rate, session.units.metrics["firing_rate"])


def test_a_tenth_to_a_quarter_of_units_fail_the_allen_thresholds(tmp_path):
    simulate(tmp_path / "many.nwb", minutes=0.2, num_units=1000)
    metrics = read_nwb(tmp_path / "many.nwb").units.metrics
    good = (
        (metrics["isi_violations"] < 0.5)
        & (metrics["amplitude_cutoff"] < 0.1)
        & (metrics["presence_ratio"] > 0.9)
    )
    assert 0.75 < good.mean() < 0.9
    assert 0 < np.isnan(metrics["amplitude_cutoff"]).sum() < 40


@pytest.mark.parametrize(
    ("setting", "named"),
    [({"minutes": 0.1}, "minutes"), ({"num_units": 0}, "units"), ({"nuisance": -1.0}, "nuisance")],
)
def test_a_setting_out_of_range_is_named_and_nothing_is_written(tmp_path, setting, named):
    with pytest.raises(SessionError, match=named):
        simulate(tmp_path / "x.nwb", **setting)
    assert not list(tmp_path.iterdir())


def test_the_file_is_in_the_layout_of_the_release(planted_file):
    with h5py.File(planted_file) as file:
        (table,) = (g for n, g in file["intervals"].items() if n.endswith("_presentations"))
        assert {"image_name", "is_change", "omitted", "active", "stimulus_block"} <= set(table)
        assert set(np.unique(table["stimulus_block"])) == {0, 5}


def test_the_mouse_runs_and_dilates_more_while_active(tmp_path):
    simulate(tmp_path / "long.nwb", minutes=10, num_units=1)
    session = read_nwb(tmp_path / "long.nwb")
    for name in ("running", "pupil"):
        signal = session.signals[name]
        active, passive = (
            np.nanmean(signal.value[(signal.time_s >= start) & (signal.time_s < stop)])
            for start, stop in zip(session.intervals.start_s, session.intervals.stop_s, strict=True)
        )
        assert active > passive
    assert session.signals["running"].value.min() >= 0
    assert 0.002 < np.isnan(session.signals["pupil"].value).mean() < 0.03


def test_pynwb_reads_behaviour_where_the_sdk_writes_it(planted_file):
    session = read_nwb(planted_file)
    with pynwb.NWBHDF5IO(planted_file, "r") as io:
        file = io.read()
        speed = file.processing["running"]["speed"]
        np.testing.assert_array_equal(speed.data[:], session.signals["running"].value)
        np.testing.assert_array_equal(speed.timestamps[:], session.signals["running"].time_s)
        eye = file.acquisition["EyeTracking"]
        assert set(eye.spatial_series) == {"pupil_tracking"}


@pytest.mark.parametrize("nuisance", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_planted_session_raises_a_finding(tmp_path, seed, nuisance):
    simulate(tmp_path / "x.nwb", seed=seed, minutes=1.0, num_units=40, nuisance=nuisance)
    assert check_session(read_nwb(tmp_path / "x.nwb")) == []
