import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.settings import DataSettings
from rheobase.teacher.evaluate import evaluate
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import TeacherSettings

SETTINGS = TeacherSettings(
    latent_dim=4,
    steps=300,
    batch_windows=1024,
    horizons_ms=(40.0, 80.0, 160.0, 320.0),
)
ADDRESS = "synthetic:planted?seed={}&minutes=2&units=30&nuisance=0"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOBASE_HOME", str(tmp_path_factory.mktemp("home")))
        data = DataSettings(sessions=("x.nwb",))
        return [make_shard(load_session(ADDRESS.format(seed)), data) for seed in (0, 1)]


@pytest.fixture(scope="module")
def teacher(shards):
    return fit_teacher(shards, SETTINGS, 1000.0)


@pytest.fixture(scope="module")
def report(teacher, shards):
    return evaluate(teacher, shards)


def test_a_report_is_plain_json_without_nan(report):
    json.dumps(report, allow_nan=False)
    assert report["notes"] == []


def test_the_predictor_beats_persistence_at_every_horizon(report):
    assert [row["horizon_ms"] for row in report["prediction"]] == sorted(SETTINGS.horizons_ms)
    assert all(row["predictor"] < row["persistence"] for row in report["prediction"])
    assert min(row["predictor"] for row in report["prediction"]) < 0.9
    assert all(row["mean"] == pytest.approx(1.0, abs=0.05) for row in report["prediction"])


def test_every_representation_predicts_the_same_future(report):
    for row in report["future_counts_r2"]:
        assert set(row) == {"horizon_ms", "teacher", "pca", "smoothed_counts", "untrained_encoder"}
        # All counts hold what any few dimensions of them hold.
        assert row["smoothed_counts"] > row["teacher"] - 0.02
    assert report["future_counts_r2"][0]["pca"] > report["future_counts_r2"][-1]["pca"]


def test_a_living_teacher_fills_its_dimensions(report):
    assert report["latents"]["effective_rank"] > 3.0
    assert report["latents"]["least_std"] > 0.2
    assert 0 <= report["latents"]["session_share"] < 0.2


def test_a_collapsed_teacher_is_seen(teacher, shards):
    collapsed = type(teacher).from_state(teacher.state())
    with torch.no_grad():
        for layer in collapsed.read_in.values():
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[0, 0] = 1e-3
    latents = evaluate(collapsed, shards)["latents"]
    assert latents["effective_rank"] == pytest.approx(1.0, abs=0.01)
    assert latents["least_std"] == 0.0
    assert latents["sigreg"] > 50 * latents["sigreg_gaussian"]


def test_a_constant_teacher_gives_notes_not_numbers(teacher, shards):
    still = type(teacher).from_state(teacher.state())
    with torch.no_grad():
        for side in (still.read_in, still.future_read_in):
            for weights in side.parameters():
                weights.zero_()
    report = evaluate(still, shards)
    assert report["latents"]["effective_rank"] is None
    assert report["prediction"][0]["predictor"] is None
    assert any("constant" in note for note in report["notes"])


def test_one_session_has_no_session_share_and_says_why(teacher, shards):
    alone = evaluate(teacher, shards[:1])
    assert alone["latents"]["session_share"] is None
    assert any(note.startswith("session_share") for note in alone["notes"])


def test_a_recording_without_presentations_has_no_clock_share_and_says_why(teacher, shards):
    shard = shards[0]
    blank = [
        replace(s, presentation=np.full_like(s.presentation, -1), phase=np.full_like(s.phase, -1))
        for s in shard.segments
    ]
    report = evaluate(teacher, [replace(shard, segments=type(shard.segments)(blank))])
    assert report["latents"]["clock_share"] is None
    assert any(note.startswith("clock_share") for note in report["notes"])
