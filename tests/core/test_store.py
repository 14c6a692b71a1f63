import logging
import os
import threading
import time

import pytest

from rheobase.core import answers, store
from rheobase.core.artifacts import MANIFEST, home, home_address
from rheobase.core.errors import ArtifactError
from rheobase.core.folders import is_published, whole_folder
from rheobase.core.store import Mirror, pull, pull_folder, push, refuse_unwritable_store, stored


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """Two nodes that see one store; the function makes this process work on one of them."""
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("RHEOBASE_HOME", f"file://{tmp_path}/store")

    def on(name):
        monkeypatch.setenv("RHEOBASE_CACHE", str(tmp_path / name))
        return home()

    return on


def test_a_folder_made_on_one_node_is_there_on_another(nodes):
    folder = nodes("one") / "shards" / "d"
    with whole_folder(folder, {"digest": "d"}) as partial:
        (partial / "data").write_text("x")
        (partial / "curves").mkdir()
        (partial / "curves" / "events").write_text("y")
    other = nodes("two") / "shards" / "d"
    assert not other.exists()
    assert is_published(other)
    assert (other / "data").read_text() == "x"
    assert (other / "curves" / "events").read_text() == "y"
    assert not is_published(nodes("two") / "shards" / "none")


def test_a_folder_without_its_manifest_in_the_store_is_not_there(nodes, tmp_path):
    with whole_folder(nodes("one") / "d", {}) as partial:
        (partial / "data").write_text("x")
    (tmp_path / "store" / "d" / MANIFEST).unlink()
    assert not is_published(nodes("two") / "d")


def test_what_was_changed_in_the_store_is_refused(nodes, tmp_path):
    with whole_folder(nodes("one") / "d", {}) as partial:
        (partial / "data").write_text("x")
    (tmp_path / "store" / "d" / "data").write_text("z")
    with pytest.raises(ArtifactError, match="must be the file that was published"):
        is_published(nodes("two") / "d")
    assert not (nodes("two") / "d").exists()


def test_a_mirror_copies_what_changes_and_removes_what_is_gone(nodes):
    run = nodes("one") / "studies" / "s"
    run.mkdir(parents=True)
    mirror = Mirror(run, leave_out=("trials",))
    for name in ("a", "b", ".lock"):
        (run / name).write_text(name)
    (run / "trials").mkdir()
    (run / "trials" / "t").write_text("t")
    mirror.update()
    (run / "a").unlink()
    (run / "b").write_text("newer")
    mirror.update()
    other = nodes("two") / "studies" / "s"
    pull_folder(other)
    assert {p.name: p.read_text() for p in other.rglob("*") if p.is_file()} == {"b": "newer"}


def test_a_file_is_copied_again_only_where_that_is_asked_for(nodes):
    path = nodes("one") / "f"
    path.parent.mkdir(parents=True)
    path.write_text("1")
    push(path)
    path.write_text("2")
    assert pull(path)
    assert path.read_text() == "2"
    pull(path, anew=True)
    assert path.read_text() == "1"
    assert not pull(nodes("one") / "none")


def test_without_a_url_nothing_is_copied(tmp_path, monkeypatch):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path / "home"))
    assert home_address() == str(tmp_path / "home")
    assert stored(tmp_path / "home" / "x") is None
    push(tmp_path / "home" / "x")  # which is not there
    assert not pull(tmp_path / "home" / "x")


def test_a_store_that_is_down_for_a_while_is_waited_for(nodes, tmp_path, caplog):
    path = nodes("one") / "f"
    path.parent.mkdir(parents=True)
    path.write_text("1")
    push(path)
    (tmp_path / "store").rename(tmp_path / "away")
    back = threading.Timer(1.5, lambda: (tmp_path / "away").rename(tmp_path / "store"))
    back.start()
    with caplog.at_level(logging.WARNING):
        push(path)
    assert (tmp_path / "store" / "f").read_text() == "1"
    assert caplog.text.count("does not answer") == 1


def test_a_store_that_stays_down_is_told_in_one_line(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PATIENCE_S", 0.0)
    path = nodes("one") / "f"
    path.parent.mkdir(parents=True)
    path.write_text("1")
    push(path)
    (tmp_path / "store").rename(tmp_path / "away")
    with pytest.raises(ArtifactError, match="check the address") as caught:
        push(path)
    assert "\n" not in str(caught.value)


def test_a_store_that_has_never_answered_is_not_waited_for(nodes, tmp_path):
    folder = nodes("one")
    (tmp_path / "store").rename(tmp_path / "away")
    began = time.monotonic()
    with pytest.raises(ArtifactError, match="is not there"):
        pull(folder / "f")
    assert time.monotonic() - began < 5


def test_workers_do_not_ask_again(nodes, tmp_path, monkeypatch):
    nodes("one")
    monkeypatch.setenv(answers.ANSWERED, home_address())
    monkeypatch.setattr(answers, "_use", None)
    assert not pull(home() / "f")


def test_a_store_that_cannot_be_written_is_told_before_any_work(nodes, tmp_path, monkeypatch):
    nodes("one")
    refuse_unwritable_store()
    assert not list((tmp_path / "store").iterdir())
    monkeypatch.setenv("RHEOBASE_HOME", "file:///proc/nowhere")
    with pytest.raises(ArtifactError, match="must be readable and writable"):
        refuse_unwritable_store()


def test_a_store_without_credentials_is_told_within_ten_seconds(tmp_path, monkeypatch):
    monkeypatch.setenv("RHEOBASE_HOME", "s3://no-such-bucket-of-rheobase/x")
    monkeypatch.setenv("RHEOBASE_CACHE", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in [name for name in os.environ if name.startswith("AWS_") and "URL" not in name]:
        monkeypatch.delenv(name)
    began = time.monotonic()
    with pytest.raises(ArtifactError, match="check the address, your credentials"):
        refuse_unwritable_store()
    assert time.monotonic() - began < 10
