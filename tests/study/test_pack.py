import json
import shutil
import tarfile

import pytest

from rheobase.core.errors import ArtifactError
from rheobase.study.pack import pack
from rheobase.study.records.ledger import Ledger
from rheobase.study.run_folder import RunFolder


@pytest.fixture
def home(small_run, tmp_path):
    shutil.copytree(small_run.parents[1], tmp_path / "home")
    return tmp_path / "home"


def test_a_run_that_was_packed_answers_every_question_where_it_is_unpacked(home, tmp_path, answers):
    before = answers(home / "studies" / "small", tmp_path / "before")
    archive = tmp_path / "a" / "small.tar"
    names = pack(home / "studies" / "small", archive)
    shutil.rmtree(home)
    with tarfile.open(archive) as packed:
        assert packed.getnames() == names == sorted(names)
        packed.extractall(tmp_path / "there", filter="data")
    assert answers(tmp_path / "there" / "small" / "studies" / "small", tmp_path / "after") == before
    for one in sorted((tmp_path / "before").iterdir()):
        assert one.read_bytes() == (tmp_path / "after" / one.name).read_bytes()
    assert [path.name for path in archive.parent.iterdir()] == ["small.tar"]


def test_the_same_run_gives_the_same_bytes_while_it_goes_on_too(home, tmp_path):
    run = RunFolder(home / "studies" / "small")
    (run.path / "trials" / "x").mkdir()
    run.trial("x").checkpoint("s").write_text("under way")
    (run.path / "mine.txt").write_text("a stray file")
    names = pack(run.path, tmp_path / "a.tar")
    with Ledger(run.ledger):
        assert pack(run.path, tmp_path / "b.tar") == names
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert not [name for name in names if "checkpoint" in name or "mine" in name or "lock" in name]
    assert {f"small/studies/small/{name}" for name in ("study.json", "ledger.sqlite")} < set(names)


@pytest.mark.parametrize(
    "spoil", [shutil.rmtree, lambda folder: (folder / "report.json").write_text("{}")]
)
def test_a_run_of_which_something_is_missing_or_changed_is_not_packed(home, tmp_path, spoil):
    run = RunFolder(home / "studies" / "small")
    spoil(run.latents())
    with pytest.raises(ArtifactError) as caught:
        pack(run.path, tmp_path / "a.tar")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*a.tar*"))


def test_a_folder_that_is_no_run_is_not_packed(tmp_path):
    with pytest.raises(ArtifactError, match="no such ledger"):
        pack(tmp_path, tmp_path / "a.tar")


def test_the_command_tells_what_is_in_the_archive(home, tmp_path, called):
    run = home / "studies" / "small"
    told = json.loads(called("pack", run, "--out", tmp_path / "a.tar", "--json"))
    assert told["bytes"] == (tmp_path / "a.tar").stat().st_size
    kinds = {name.split("/")[1] for name in told["files"]}
    assert kinds == {"studies", "shards", "latents"}
