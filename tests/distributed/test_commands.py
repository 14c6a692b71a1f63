"""The commands that train a teacher, in this process."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rheobase.core.artifacts import read_json
from rheobase.shards.latents import read_latents
from rheobase.shards.store import read_shard
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import Teacher

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
SEEN = "synthetic:planted?minutes=2&units=20"
UNSEEN = "synthetic:planted?seed=1&minutes=1&units=20"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Home of artifacts."""
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def study(home, tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(
        f'name = "s"\n[data]\nsessions = ["{SEEN}"]\n[teacher]\nlatent_dim = 3\nsteps = 20\n'
    )
    return path


def test_a_teacher_is_trained_once_and_tells_its_verdict_and_an_unseen_session_is_adapted_to(
    study, home, command
):
    first = command("pretrain", study)
    assert first.returncode == 0, first.stderr
    assert "PCA of as many dimensions" in first.stdout
    again = command("pretrain", study, "--json")
    found = json.loads(again.stdout)
    page = Path(found["page"])
    assert page == Path(found["latents"]) / "report.html"
    assert "The truth" in page.read_text()
    assert (page.parent / "flash.npz").exists()
    image = next(row for row in found["report"]["probes"] if row["target"] == "image")
    assert set(found["report"]["codes"]) - {"ceiling"} < set(image)

    # The same teacher, which is not trained again.
    first = command("adapt", study, UNSEEN, "--minutes", "0.3")
    assert first.returncode == 0, first.stderr
    assert "fitted on: 0.3 min" in first.stderr
    again = command("adapt", study, UNSEEN, "--minutes", "0.3", "--json")
    assert "fitted on" not in again.stderr
    found = json.loads(again.stdout)
    folder = Path(found["adapted"])
    assert found["report"] == read_json(folder / "report.json")
    manifest = read_json(folder / "manifest.json")
    assert manifest["sessions"] == [found["report"]["session"]]
    latents = read_latents(folder).by_session[found["report"]["session"]]
    teacher = Teacher.from_state(torch.load(folder / "teacher.pt", weights_only=True))
    (shard,) = (
        shard
        for path in (home / "shards").glob("*/shard.arrow")
        if (shard := read_shard(path)).session_id == found["report"]["session"]
    )
    np.testing.assert_array_equal(encode(teacher, shard), latents)
    known = command("adapt", study, SEEN)
    assert known.returncode == 2
    assert "must be unseen, but the study trains on it" in known.stderr.splitlines()[-1]
