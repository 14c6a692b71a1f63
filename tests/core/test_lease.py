import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from rheobase.core import lease, temporary
from rheobase.core.errors import ArtifactError
from rheobase.core.folders import whole_folder
from rheobase.core.host import this_host
from rheobase.core.lease import Holder, beating, holder_of, take
from rheobase.core.temporary import LOCK, temporary_folder

ELSEWHERE = replace(this_host(), name="far", kernel="another", processes="another/1")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(lease, "SILENT_S", 0.6)
    monkeypatch.setattr(lease, "BEAT_S", 0.1)


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks, as Lustre has none unless it is mounted so."""

    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


def write(path, holder):
    path.write_text(json.dumps(asdict(holder)))


def test_another_host_that_beats_holds_its_lease_and_a_silent_one_does_not(tmp_path):
    path = tmp_path / "lease"
    theirs = Holder(ELSEWHERE, 7, "t")
    beats = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import json, sys, time\n"
            "told = json.loads(sys.argv[2])\n"
            "while True:\n"
            "    told['beat'] += 1\n"
            "    open(sys.argv[1], 'r+').write(json.dumps(told).ljust(512))\n"
            "    time.sleep(0.05)",
            path,
            json.dumps(asdict(theirs)),
        ]
    )
    write(path, theirs)
    try:
        time.sleep(0.3)
        found = take(path)
        assert isinstance(found, Holder)
        assert str(found) == "process 7 of far"
    finally:
        beats.kill()
        beats.wait()
    write(path, theirs)
    file, mine = take(path)
    assert holder_of(path) == mine
    os.close(file)


def test_of_two_that_write_at_once_where_locks_are_each_node_s_own_one_has_it(
    tmp_path, monkeypatch
):
    path = tmp_path / "lease"
    theirs = Holder(ELSEWHERE, 7, "t")
    monkeypatch.setattr(time, "sleep", lambda _: write(path, theirs))
    assert take(path) == theirs


def test_without_locks_a_living_process_holds_and_a_dead_one_does_not(tmp_path, no_locks):
    path = tmp_path / "lease"
    write(path, Holder(this_host(), os.getppid(), "t"))
    assert isinstance(take(path), Holder)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    write(path, Holder(this_host(), dead.pid, "t"))
    taken = take(path)
    with beating(*taken):
        before = holder_of(path).beat
        time.sleep(0.5)
        assert holder_of(path).beat > before
        assert isinstance(take(path), Holder)
    assert not path.read_text()


@pytest.fixture
def left_by_another_host(tmp_path):
    left = tmp_path / ".d.x"
    (left / "partial").mkdir(parents=True)
    write(left / LOCK, Holder(ELSEWHERE, 7, ""))
    return left


def test_what_another_host_makes_is_not_swept_away(tmp_path, left_by_another_host):
    with temporary_folder(tmp_path):
        assert (left_by_another_host / "partial").exists()


def test_what_another_host_left_a_week_ago_is(tmp_path, left_by_another_host):
    long_ago = time.time() - temporary.WEEK_S - 60
    os.utime(left_by_another_host, (long_ago, long_ago))
    with temporary_folder(tmp_path):
        assert not left_by_another_host.exists()


def test_temporary_folders_work_without_locks(tmp_path, no_locks):
    with temporary_folder(tmp_path) as folder, temporary_folder(tmp_path):
        assert folder.exists()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_swept_away_meanwhile_is_not_published(tmp_path):
    with (
        pytest.raises(ArtifactError, match="give the same command again"),
        whole_folder(tmp_path / "d", {}) as partial,
    ):
        partial.rename(tmp_path / "gone")
    assert not (tmp_path / "d").exists()
