import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rheobase.core.artifacts import read_json
from rheobase.core.errors import DataError
from rheobase.distributed.pretrain import pretrain
from rheobase.shards.latents import read_latents
from rheobase.shards.store import read_shard
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.records.listener import Silent
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.start import start_teacher

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def with_teacher(spec, **changes):
    table = dump_study(spec)
    return parse_study({**table, "teacher": {**table["teacher"], **changes}})


def test_two_workers_reduce_to_the_teacher_of_one_and_nothing_is_trained_twice(
    ray_with_two_cpus, stored, tiny, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path))
    paths, _ = stored
    # Twenty steps for the two sessions: rounding grows with each, to 6e-6 after forty, and a
    # process's sums differ with where its arrays lie.
    short = {"steps": 10, "batch_windows": 512}
    spec = with_teacher(tiny, workers=2, sigreg_weight=0.5, encoder="mlp", **short)
    folder = pretrain(spec, paths, Silent())
    assert capfd.readouterr().out == ""
    shards = [read_shard(path) for path in paths]
    alone = fit_teacher(shards, spec.teacher, spec.data.window_ms)
    start = start_teacher(shards, spec.teacher)
    found = read_latents(folder)
    for shard in shards:
        latents = found.by_session[shard.session_id]
        assert np.abs(latents - encode(start, shard)).max() > 1
        # Of a standard deviation of about one; float32 keeps six digits of the largest.
        np.testing.assert_allclose(latents, encode(alone, shard), rtol=1e-5, atol=1e-5)
        state = torch.load(folder / "teacher.pt", weights_only=True)
        np.testing.assert_array_equal(encode(Teacher.from_state(state), shard), latents)
    manifest = read_json(folder / "manifest.json")
    assert sorted(manifest["parents"]) == sorted(path.parent.name for path in paths)
    assert read_json(folder / "report.json")
    made = (folder / "teacher.pt").stat().st_mtime_ns
    assert pretrain(spec, paths[::-1], Silent()) == folder
    assert (folder / "teacher.pt").stat().st_mtime_ns == made
    assert [path.name for path in (tmp_path / "latents" / ".train").iterdir()] == [
        f"{folder.name}.lock"
    ]


def test_a_teacher_that_cannot_be_trained_is_told_in_one_line(
    ray_with_two_cpus, stored, tiny, tmp_path, monkeypatch
):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="multiple of the 2 workers") as caught:
        pretrain(with_teacher(tiny, batch_windows=3), stored[0], Silent())
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "latents").glob("[0-9a-f]*"))


def test_the_command_tells_the_verdict_and_writes_a_page_beside_the_latents(tmp_path, cli):
    study = tmp_path / "s.toml"
    study.write_text(
        'name = "s"\n[data]\nsessions = ["synthetic:planted?minutes=2&units=20"]\n'
        "[teacher]\nlatent_dim = 3\nsteps = 20\n"
    )
    first = cli("pretrain", study)
    assert first.returncode == 0, first.stderr
    assert "PCA of as many dimensions" in first.stdout
    again = cli("pretrain", study, "--json")
    found = json.loads(again.stdout)
    page = Path(found["page"])
    assert page == Path(found["latents"]) / "report.html"
    assert "The truth" in page.read_text()
    assert (page.parent / "flash.npz").exists()
    image = next(row for row in found["report"]["probes"] if row["target"] == "image")
    assert set(found["report"]["codes"]) < set(image)


def test_an_unseen_session_is_adapted_to_once_and_a_known_one_refused(tmp_path, cli):
    study = tmp_path / "s.toml"
    study.write_text(
        'name = "s"\n[data]\nsessions = ["synthetic:planted?minutes=1&units=20"]\n'
        "[teacher]\nlatent_dim = 3\nsteps = 20\n"
    )
    unseen = "synthetic:planted?seed=1&minutes=1&units=20"
    first = cli("adapt", study, unseen, "--minutes", "0.3")
    assert first.returncode == 0, first.stderr
    assert "fitted on: 0.3 min" in first.stderr
    again = cli("adapt", study, unseen, "--minutes", "0.3", "--json")
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
        for path in (tmp_path / "home" / "shards").glob("*/shard.arrow")
        if (shard := read_shard(path)).session_id == found["report"]["session"]
    )
    np.testing.assert_array_equal(encode(teacher, shard), latents)
    known = cli("adapt", study, "synthetic:planted?minutes=1&units=20")
    assert known.returncode == 2
    assert "must be unseen, but the study trains on it" in known.stderr.splitlines()[-1]
