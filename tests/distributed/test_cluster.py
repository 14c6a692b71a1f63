import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from rheobase.distributed.cluster import (
    INSIST_S,
    RAY_FOLDER,
    SESSION,
    ClusterError,
    deaths_told,
    insistent_interrupts,
    ray_session,
)

LISTENING = "0A"
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


def descendants(pid):
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += [int(child), *descendants(child)]
    return found


def open_addresses(pids):
    """Return the local addresses, not loopback, at which any of the processes listens."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(os.readlink(link))
            except FileNotFoundError:
                continue
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state, inode = (line.split()[at] for at in (1, 3, 9))
            is_ours = f"socket:[{inode}]" in inodes
            if state == LISTENING and is_ours and local.split(":")[0] not in LOOPBACK:
                found.append(local)
    return found


@ray.remote
def seen_in_a_worker():
    return os.environ["RHEOBASE_HOME"], os.environ["OMP_NUM_THREADS"], Path.cwd()


@ray.remote(max_retries=0)
def dies():
    os._exit(1)


@pytest.mark.cluster
def test_a_local_session_is_reachable_from_this_machine_alone_and_leaves_nothing(
    no_ray, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RHEOBASE_HOME", "relative")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # or workers would have it of us
    before = dict(os.environ)
    with ray_session("local", num_cpus=1):
        home, threads, _ = ray.get(seen_in_a_worker.remote(), timeout=60)
        started = descendants(os.getpid())
        assert len(started) > 3
        assert open_addresses([os.getpid(), *started]) == []
        folder = Path(os.environ[SESSION])
        assert folder.parent == Path(RAY_FOLDER)
        assert (folder / "session_latest").exists()
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(dies.remote(), timeout=60)
        told = ""
        while "worker died" not in told:  # pytest-timeout ends it if never
            time.sleep(0.1)
            out, err = capfd.readouterr()
            assert out == ""
            told += err
    assert home == str(tmp_path / "relative")
    assert threads == "1"
    assert not set(started) & set(descendants(os.getpid()))
    assert not folder.exists()
    assert SESSION not in os.environ
    changed = {name for name in before if os.environ.get(name) != before[name]}
    assert not changed
    assert capfd.readouterr().out == ""


HOLDS = """
import sys
from rheobase.distributed.cluster import SESSION, ray_session
with ray_session("local", num_cpus=1):
    import os
    os.write(1, os.environ[SESSION].encode() + b"\\n")
    sys.stdin.read()
"""


def of_session(folder):
    """Return the titles of processes that have a session's folder in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{SESSION}={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().strip(b"\0 "))
    return [title for title in found if title]  # a process that waits to be reaped has none


@pytest.mark.cluster
def test_what_a_killed_driver_left_goes_with_the_next_session_and_a_living_one_s_stays(
    no_ray, root
):
    environment = {**os.environ, "PYTHONPATH": str(root / "platform")}
    words = [sys.executable, "-c", HOLDS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen(words, **pipes, text=True, env=environment) as killed,
        subprocess.Popen(words, **pipes, text=True, env=environment) as living,
    ):
        try:
            left, kept = (Path(one.stdout.readline().strip()) for one in (killed, living))
            killed.kill()
            killed.wait()
            assert left.is_dir()
            assert of_session(left)  # Ray's agents, which would go on for a minute
            with ray_session("local", num_cpus=1):
                assert not left.exists()
                assert not of_session(left)
                assert (kept / "session_latest").exists()
                assert of_session(kept)
        finally:
            killed.kill()
            living.terminate()
    with ray_session("local", num_cpus=1):
        assert not kept.exists()


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_does_not_answer_is_told_in_one_line(address, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError, match=address) as caught, ray_session(address):
        pass
    assert "\n" not in str(caught.value)


def test_a_ctrl_c_that_was_lost_comes_again_until_it_is_taken():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), insistent_interrupts():
        with contextlib.suppress(KeyboardInterrupt):  # as a destructor does
            signal.raise_signal(signal.SIGINT)
        time.sleep(20)
    assert signal.getsignal(signal.SIGINT) is before
    time.sleep(1.5 * INSIST_S)  # none comes afterwards


def test_a_block_without_ctrl_c_leaves_nothing_behind():
    before = signal.getsignal(signal.SIGINT)
    with insistent_interrupts():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_a_process_of_ray_that_died_is_told_in_one_line_with_what_to_do(ray_with_two_cpus):
    @ray.remote
    class Worker:
        def die(self):
            os._exit(1)

    # The session is open: what `ray_session` does with its block's errors is looked at alone.
    with pytest.raises(ClusterError, match=r"one died: .*--resume") as caught, deaths_told():
        ray.get(Worker.remote().die.remote(), timeout=60)
    assert "\n" not in str(caught.value)
