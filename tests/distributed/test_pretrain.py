from dataclasses import replace

import numpy as np
import pytest
import torch

from listeners import Silent
from rheobase.core.artifacts import read_json
from rheobase.core.digest import digest
from rheobase.core.errors import DataError
from rheobase.core.folders import whole_folder
from rheobase.distributed.pretrain import pretrain
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.counts import SparseCounts
from rheobase.shards.latents import read_latents
from rheobase.shards.store import read_shard, write_shard
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.teacher.encode import encode, foretold
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import MOST_DIMS
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
    teacher = Teacher.from_state(torch.load(folder / "teacher.pt", weights_only=True))
    for shard in shards:
        latents = found.by_session[shard.session_id]
        np.testing.assert_array_equal(encode(teacher, shard), latents)
        future = found.of_target("future")[shard.session_id]
        np.testing.assert_array_equal(foretold(teacher, np.array(latents)), future)
    dims = teacher.settings.latent_dim
    assert not torch.equal(teacher.order.turn, torch.eye(dims))
    # Their order, by what they predict, is undone: directions that are nearly level may turn.
    teacher.order.turn_by(np.zeros(dims), np.eye(dims))
    for shard in shards:
        latents = encode(teacher, shard)
        assert np.abs(latents - encode(start, shard)).max() > 1
        # Of a standard deviation of about one; float32 keeps six digits of the largest.
        np.testing.assert_allclose(latents, encode(alone, shard), rtol=1e-5, atol=1e-5)
    manifest = read_json(folder / "manifest.json")
    assert sorted(manifest["parents"]) == sorted(path.parent.name for path in paths)
    report = read_json(folder / "report.json")
    assert report["dims"] == manifest["dims"] == found.dims
    assert len(report["predictability"]) == dims
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
        pretrain(with_teacher(tiny, batch_windows=3, workers=2), stored[0], Silent())
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "latents").glob("[0-9a-f]*"))


@pytest.fixture
def one_planted(tiny, tmp_path):
    """Return a study of a planted session by its canonical variates, and the shard's path."""
    address = "synthetic:planted?seed=0&minutes=4&units=40"
    teacher = {"kind": "cva", "latent_dim": "auto"}
    student = {**dump_study(tiny)["student"], "num_neurons": 16}
    changes = {"data": {"sessions": [address]}, "teacher": teacher, "student": student}
    spec = parse_study({**dump_study(tiny), **changes})
    folder = tmp_path / "shards" / digest(address)
    with whole_folder(folder, {"digest": folder.name}) as partial:
        write_shard(partial / "shard.arrow", make_shard(load_session(address), spec.data))
    return spec, folder / "shard.arrow"


def test_auto_keeps_the_dimensions_that_predict(
    ray_with_two_cpus, one_planted, tmp_path, monkeypatch
):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path))
    spec, path = one_planted
    folder = pretrain(spec, [path], Silent())
    kept, report = read_latents(folder), read_json(folder / "report.json")
    assert 1 <= kept.dims < MOST_DIMS
    assert kept.latent_dim == kept.dims == report["latents"]["dimensions"]
    assert [row["predicts"] for row in report["predictability"]].count(True) == kept.dims
    whole = read_latents(pretrain(with_teacher(spec, latent_dim=MOST_DIMS), [path], Silent()))
    for session, latents in kept.by_session.items():
        np.testing.assert_array_equal(latents, whole.by_session[session][:, : kept.dims])
        future = whole.of_target("future")[session]
        np.testing.assert_array_equal(kept.of_target("future")[session], future[:, : kept.dims])


def test_auto_where_nothing_predicts_is_told_in_one_line(
    ray_with_two_cpus, one_planted, tmp_path, monkeypatch
):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path))
    spec, path = one_planted
    draw, shard = np.random.default_rng(0), read_shard(path)
    noise = [
        replace(
            one,
            counts=SparseCounts.of_dense(
                draw.poisson(0.1, (len(one.counts), shard.num_units)).astype("u1")
            ),
        )
        for one in shard.segments
    ]
    folder = tmp_path / "shards" / digest("noise")
    with whole_folder(folder, {"digest": folder.name}) as partial:
        write_shard(partial / "shard.arrow", replace(shard, segments=tuple(noise)))
    with pytest.raises(DataError, match="latent_dim = auto keeps the dimensions that") as caught:
        pretrain(spec, [folder / "shard.arrow"], Silent())
    assert "\n" not in str(caught.value)
