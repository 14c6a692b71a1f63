"""Studies that are begun from a recording."""

import tomllib

import numpy as np

from rheobase.sessions.own.recording import recording
from rheobase.study.file.spec import load_study


def spikes(minutes, units, seed=0):
    draw = np.random.default_rng(seed)
    length_s = 60 * minutes
    return [np.sort(draw.uniform(0, length_s, int(8 * length_s))) for _ in range(units)]


def test_a_study_is_fitted_to_a_recording_and_runs_as_planned(cli, tmp_path):
    mine = recording(
        spikes(8, 12), duration_s=480, area=["VISp"] * 9 + ["LGd"] * 3,
        epochs=[(0, 240, "active"), (240, 480, "passive")],
    )  # fmt: skip
    mine.write(tmp_path / "mine.npz")
    done = cli("new", "mine.toml", "--sessions", "mine.npz")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "mine.toml").read_text()
    assert text.startswith("#:schema ./study.schema.json\n")
    assert "1 recording, active and passive; it has 8.0 minutes" in text
    assert "VISp 9, LGd 3" in text
    spec = load_study(tmp_path / "mine.toml")
    assert spec.data.areas == ("VIS",)
    assert spec.data.quality == "none"
    assert spec.teacher.latent_dim == 3
    assert (tmp_path / "study.schema.json").exists()
    assert cli("plan", "mine.toml").returncode == 0
    again = cli("new", "mine.toml", "--sessions", "mine.npz")
    assert again.returncode == 2
    assert "must not replace a file" in again.stderr
    assert (tmp_path / "mine.toml").read_text() == text


def test_a_short_recording_gets_shorter_windows_and_one_too_short_is_refused(cli, tmp_path):
    recording(spikes(2.5, 8), duration_s=150).write(tmp_path / "short.npz")
    assert cli("new", "short.toml", "--sessions", "short.npz").returncode == 0
    assert load_study(tmp_path / "short.toml").data.window_ms < 1000
    recording(spikes(0.3, 8), duration_s=18).write(tmp_path / "none.npz")
    done = cli("new", "none.toml", "--sessions", "none.npz")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "use a longer recording" in line
    assert not (tmp_path / "none.toml").exists()


def test_trials_are_split_by_trial_with_windows_inside_them(cli, tmp_path):
    counts = np.random.default_rng(0).poisson(0.1, (400, 6, 60)).astype(np.uint8)
    np.savez(tmp_path / "trials.npz", counts=counts, bin_s=0.01, trial_start_s=np.arange(400) * 1.0)
    done = cli("new", "trials.toml", "--sessions", "trials.npz")
    assert done.returncode == 0, done.stderr
    spec = load_study(tmp_path / "trials.toml")
    assert spec.data.split.by == "trial"
    assert spec.data.window_ms == 500.0


def test_several_recordings_too_few_to_tell_arms_apart_get_none(cli, tmp_path):
    for seed in range(2):
        recording(spikes(6, 8, seed), duration_s=360).write(tmp_path / f"m{seed}.npz")
    assert cli("new", "two.toml", "--sessions", "m*.npz").returncode == 0
    assert load_study(tmp_path / "two.toml").ablation is None
    assert "# [ablation]" in (tmp_path / "two.toml").read_text()


def test_studies_come_with_the_package(cli, tmp_path, root):
    done = cli("new", "first.toml", "--from", "quickstart")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "first.toml").read_text() == (
        root / "studies" / "quickstart.toml"
    ).read_text()
    done = cli("new", "x.toml", "--from", "quickstat")
    assert done.returncode == 2
    assert "Did you mean 'quickstart'? There are cell_types" in done.stderr
    assert "either --sessions or --from" in cli("new", "x.toml").stderr
    project = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "studies/*.toml" in project["package-data"]["rheobase"]
