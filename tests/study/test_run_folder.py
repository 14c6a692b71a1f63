import json
import shutil

import pytest

from rheobase.core.artifacts import MANIFEST, read_json, write_json
from rheobase.core.errors import ArtifactError
from rheobase.core.versions import deciding_versions
from rheobase.study.run_folder import RunFolder


@pytest.fixture
def moved(small_run, tmp_path):
    """The small run with all it rests on, in another place than that where it was made."""
    shutil.copytree(small_run.parents[1], tmp_path / "copied")
    (tmp_path / "copied").rename(tmp_path / "moved")
    return RunFolder(tmp_path / "moved" / "studies" / "small")


def test_nothing_that_a_run_keeps_names_a_place(small_run):
    for name in ("study.json", "inputs.json", "teacher.json"):
        assert str(small_run.parents[1]) not in (small_run / name).read_text()
        assert "/tmp" not in (small_run / name).read_text()


def test_a_run_that_was_moved_with_what_it_rests_on_answers_every_question(
    small_run, moved, tmp_path, answers, called
):
    assert answers(moved.path, tmp_path / "out") == json.loads(called("rank", small_run, "--json"))
    assert (tmp_path / "out" / "seed-0.npz").exists()


def test_a_run_copied_alone_is_ranked_reported_and_traced(small_run, tmp_path, answers):
    alone = tmp_path / "alone"
    shutil.copytree(small_run, alone, ignore=shutil.ignore_patterns("report", "ranking.*"))
    answers(alone, tmp_path, but=("export", "replay"))
    assert (alone / "report" / "index.html").exists()
    with pytest.raises(ArtifactError, match=r"of its shards must lie in .* but is not there; copy"):
        RunFolder(alone).read_data()


def test_home_comes_before_what_lies_beside_the_run(moved, tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("RHEOBASE_HOME", str(home))
    assert moved.latents().parents[1] == moved.path.parents[1]
    shutil.copytree(moved.latents(), home / "latents" / moved.latents().name)
    assert moved.latents().parents[1] == home


def test_other_latents_of_the_same_name_are_passed_over(moved, tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("RHEOBASE_HOME", str(home))
    own = moved.latents()
    other = home / "latents" / own.name
    shutil.copytree(own, other)
    manifest = read_json(other / MANIFEST)
    (name,) = [name for name in manifest["files"] if name.endswith(".npy")]
    manifest["files"][name]["digest"] = "0" * 16  # trained again, on another machine
    write_json(other / MANIFEST, manifest)
    assert moved.latents() == own
    shutil.rmtree(own)
    with pytest.raises(ArtifactError, match="is not what the run read"):
        moved.latents()


@pytest.mark.parametrize(
    ("change", "told"), [(lambda b: b + b"x", "must have the"), (lambda b: b[::-1], "was changed")]
)
@pytest.mark.parametrize("kind", ["shards", "latents"])
def test_a_file_that_is_not_what_was_published_is_refused_in_one_line(moved, kind, change, told):
    folder = moved.latents() if kind == "latents" else next(iter(moved.shards().values()))
    (path,) = folder.glob("*.npy" if kind == "latents" else "*.arrow")
    moved.read_data()
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ArtifactError, match=told) as caught:
        moved.read_data()
    assert "\n" not in str(caught.value)


def test_what_is_added_to_an_artifact_later_is_no_damage(moved):
    (moved.latents() / "report.html").write_text("a page")
    moved.read_data()


def test_inputs_of_an_earlier_version_which_named_paths_are_read(moved):
    table = read_json(moved.inputs)
    digests = table["digests"]
    write_json(moved.inputs, {"shards": {"s": "/gone"}, "latents": "/gone", "digests": digests})
    moved.teacher_report.unlink()
    moved.read_data()
    assert moved.read_manifests()[0]["digest"] == digests["latents"]
    assert "latents" in moved.read_teacher_report()


def test_damaged_inputs_are_told_in_one_line(tmp_path):
    run = RunFolder(tmp_path)
    write_json(run.inputs, {"digests": {}})
    with pytest.raises(ArtifactError, match=r"inputs.json: digests.shards must hold") as caught:
        run.read_inputs()
    assert "\n" not in str(caught.value)


def test_trace_tells_the_versions_that_a_trial_was_made_with(small_run, called):
    trial = json.loads(called("rank", small_run, "--json"))["trials"][0]["trial_id"]
    told = json.loads(called("trace", small_run, trial, "--json"))
    assert told["versions"] == deciding_versions()
    assert {"python", "torch", "numpy", "numba"} <= told["versions"].keys()
    (shard,) = told["shards"].values()
    assert len(shard["files"]["shard.arrow"]["digest"]) == 16
