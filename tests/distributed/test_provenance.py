import logging
import shutil

import pytest

from listeners import Silent
from rheobase.core.artifacts import MANIFEST, read_json, write_json
from rheobase.core.errors import ArtifactError, DataError, StudyError
from rheobase.core.versions import deciding_versions
from rheobase.distributed.inputs import Read
from rheobase.distributed.run import _recorded_inputs, run_study
from rheobase.shards.store import SHARD
from rheobase.study.run_folder import RunFolder


@pytest.fixture
def run(small_run, tmp_path):
    shutil.copytree(small_run.parents[1], tmp_path / "home")
    return RunFolder(tmp_path / "home" / "studies" / "small")


@pytest.fixture
def of_other_versions(run):
    inputs = run.read_inputs()
    older = {**inputs.versions, "numpy": "1.0"}
    write_json(run.inputs, inputs.model_copy(update={"versions": older}).model_dump(mode="json"))
    return run


def again(run):
    """Record what the run reads, as it is when the run goes on."""
    paths = [folder / SHARD for folder in run.shards().values()]
    return _recorded_inputs(
        run, Read(run.read_study(), (*paths,), (*run.latents_of_teachers(),)), {}
    )


def test_going_on_under_other_versions_is_refused_before_anything_is_read(of_other_versions):
    run = of_other_versions
    before = run.inputs.read_bytes()
    with pytest.raises(StudyError, match=r"numpy 1\.0 -> .*say --other-versions") as caught:
        run_study(run.read_study(), run.path, resume=True, address="local", listener=Silent())
    assert "\n" not in str(caught.value)
    assert run.inputs.read_bytes() == before


def test_a_fork_of_trials_made_under_other_versions_is_refused(of_other_versions, tmp_path):
    study = of_other_versions.read_study()
    new, old = tmp_path / "new", of_other_versions.path
    with pytest.raises(StudyError, match=f"{old}: .*numpy"):
        run_study(study, new, resume=False, address="local", listener=Silent(), fork=old)


def test_where_it_is_asked_for_it_is_told_in_one_line_and_no_version_is_overwritten(
    of_other_versions, caplog
):
    run = of_other_versions
    before = run.inputs.read_bytes()

    class Reached(Exception):
        pass

    class Ear(Silent):
        def stage(self, name, detail):
            raise Reached

    with pytest.raises(Reached), caplog.at_level(logging.WARNING, "rheobase"):
        run_study(
            run.read_study(),
            run.path,
            resume=True,
            address="local",
            listener=Ear(),
            allow_other_versions=True,
        )
    (told,) = [record.getMessage() for record in caplog.records if record.name == "rheobase"]
    assert "numpy 1.0 -> " in told
    assert "\n" not in told
    assert again(run).versions["numpy"] == "1.0"
    assert run.inputs.read_bytes() == before


def test_every_trial_tells_the_versions_that_it_was_made_with(run):
    records = run.read_records()
    assert records
    for record in records:
        assert record.result.versions == deciding_versions()


def test_a_run_goes_on_with_the_files_that_it_began_with_alone(run):
    assert again(run) == run.read_inputs()
    manifest = read_json(run.latents() / MANIFEST)
    name = next(name for name in manifest["files"] if name.endswith(".npy"))
    folder, *others = run.latents_of_teachers()
    manifest["files"][name]["digest"] = "0" * 16  # the teacher was trained again, to other bits
    write_json(folder / MANIFEST, manifest)
    paths = [one / SHARD for one in run.shards().values()]
    with pytest.raises(ArtifactError, match=r"must stay what the run began with, .*npy"):
        _recorded_inputs(run, Read(run.read_study(), (*paths,), (folder, *others)), {})


def test_a_teacher_of_which_nothing_predicts_is_refused_before_a_student_trains(run):
    folder, *others = run.latents_of_teachers()
    paths = [one / SHARD for one in run.shards().values()]
    manifest = read_json(folder / MANIFEST)
    write_json(folder / MANIFEST, {**manifest, "dims": 0})
    with pytest.raises(DataError, match="at least 1 teacher dimension must predict") as caught:
        _recorded_inputs(run, Read(run.read_study(), (*paths,), (folder, *others)), {})
    assert "\n" not in str(caught.value)
