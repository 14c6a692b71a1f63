"""The same study on a cluster of three nodes, of which some are lost, gives the same numbers."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import ray
from ray._private import ray_constants
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from listeners import Silent
from rheobase.distributed import joining
from rheobase.distributed.cluster import ClusterError, ray_session
from rheobase.distributed.run import run_study
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.run_folder import RunFolder

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif("RHEOBASE_TEST_CLUSTER" not in os.environ, reason="make test-cluster"),
]
STUDY = {
    "name": "nodes",
    "data": {"sessions": ["synthetic:planted?seed=0&minutes=1&units=12&nuisance=0"]},
    "teacher": {"latent_dim": 2, "steps": 300, "workers": 2},
    "student": {"num_neurons": 16, "steps": 200, "batch_windows": 8},
    "search": {
        "trials": 6,
        "generation": 3,
        "pack": 1,
        "space": {"student.rate_weight": {"low": 1e-3, "high": 1.0, "log": True}},
    },
    "seeds": {"select": [0], "report": [10]},
}


# A node whose clock of the day is an hour ahead; durations are measured by another clock.
AHEAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(which, now);
    if (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE) now->tv_sec += 3600;
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *told) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (told) *told = exact.tv_sec;
    return exact.tv_sec;
}
"""
NO_MEMORY = {"RAY_memory_usage_threshold": "0.001"}  # Ray ends every worker of such a node
LOW = b"running low on memory"  # in Ray's logs, of workers that it has ended for it
MIB = 2**20


class Nodes:
    """A head that runs nothing and two workers of one CPU, all on loopback."""

    def __init__(self):
        given = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=given)
        self.workers = []
        for _ in range(2):
            self.add()

    @property
    def address(self):
        return self.cluster.address

    def add(self, **variables):
        node = self.cluster.add_node(
            num_cpus=1, object_store_memory=100 * MIB, env_vars=variables or None
        )
        self.workers.append(node)

    def lose(self, index=0):
        self.cluster.remove_node(self.workers.pop(index), allow_graceful=False)

    def processes(self, index):
        """Return ids and titles of the Ray workers of a node."""
        raylet = self.workers[index].all_processes["raylet"][0].process.pid
        found = {}
        for path in Path(f"/proc/{raylet}/task").glob("*/children"):
            for process in path.read_text().split():
                with suppress(OSError):
                    found[int(process)] = Path(f"/proc/{process}/cmdline").read_bytes()
        return found

    def lose_while(self, title):
        """Lose a node as soon as it runs a process of such a title, in a thread."""
        lost = threading.Event()

        def watch():
            by = time.monotonic() + 120
            while not lost.wait(0.02) and time.monotonic() < by:
                for index in range(len(self.workers)):
                    if any(title in one for one in self.processes(index).values()):
                        self.lose(index)
                        lost.set()
                        return

        threading.Thread(target=watch, daemon=True).start()
        return lost

    @contextmanager
    def slow(self, index):
        """Let a node's processes run a fifth of the time."""
        ended = threading.Event()

        def hinder():
            while not ended.is_set():
                stopped = list(self.processes(index))
                for number, seconds in ((signal.SIGSTOP, 0.4), (signal.SIGCONT, 0.1)):
                    for process in stopped:
                        with suppress(ProcessLookupError):
                            os.kill(process, number)
                    time.sleep(seconds)

        thread = threading.Thread(target=hinder, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def fill_object_stores():
    """Keep an object in each node's memory that takes nearly all of it; return what holds them."""
    make = ray.remote(num_cpus=0)(lambda: np.zeros(90 * MIB, np.uint8))
    held = [
        make.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU")
    ]
    assert len(ray.wait(held, num_returns=len(held), timeout=60, fetch_local=False)[0]) == 2
    return held


@pytest.fixture
def nodes(no_ray, monkeypatch):
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
    monkeypatch.setenv(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "0")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    nodes = Nodes()
    yield nodes
    ray.shutdown()
    nodes.cluster.shutdown()


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    """One store for all tests here, so that the teacher is trained once."""
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "store").mkdir()
    return folder


@pytest.fixture
def store(shared_folder, monkeypatch):
    monkeypatch.setenv("RHEOBASE_HOME", f"file://{shared_folder}/store")
    monkeypatch.setenv("RHEOBASE_CACHE", str(shared_folder / "cache"))
    return shared_folder / "store"


def found(spec, run: Path):
    """All that a run found but times."""
    records = []
    for record in RunFolder(run).read_records():
        result = record.result and record.result.model_copy(update={"wall_s": 0.0})
        changes = {"result": result, "started_at": None, "ended_at": None, "progress": ()}
        records.append(record.model_copy(update=changes))
    return rank_study(spec, records).model_dump(exclude={"study"}), records


@pytest.fixture(scope="module")
def undisturbed(shared_ray, tmp_path_factory):
    """What the study gives in Ray of this machine, with a plain folder."""
    shared_ray.end()
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("RHEOBASE_HOME", str(folder / "home"))
        spec = parse_study(STUDY)
        run_study(spec, folder / "run", resume=False, address="local", listener=Silent())
        return found(spec, folder / "run")


class Once(Silent):
    """Calls once at each of the moments that it is told of."""

    def __init__(self, **moments):
        self._moments = moments
        self.began_s = {}
        self.recovered_s = {}

    def _at(self, moment):
        if act := self._moments.pop(moment, None):
            self.began_s[moment] = time.monotonic()
            act()
        elif moment in self.began_s:
            self.recovered_s.setdefault(moment, time.monotonic() - self.began_s[moment])

    def stage(self, name, detail):
        if name == "pretrain":
            self._at(name)

    def teacher_progress(self, step, num_steps, values):
        self._at("teacher")

    def trial_ended(self, record):
        self._at("search")


def run(spec, nodes, store, listener, **given):
    folder = store.parent / "cache" / "studies" / spec.name
    run_study(spec, folder, resume=True, address=nodes.address, listener=listener, **given)
    return found(spec, folder)


def study(name):
    return parse_study({**STUDY, "name": name})


def test_nodes_lost_in_ingest_teacher_and_search_change_no_number(
    nodes, store, undisturbed, capsys
):
    def replace():
        nodes.lose()
        nodes.add()

    lost = nodes.lose_while(b"_binned")
    listener = Once(teacher=lambda: (nodes.add(), replace()), search=replace)
    assert run(study("lost"), nodes, store, listener) == undisturbed
    assert lost.is_set()
    with capsys.disabled():
        print(f"\nseconds from the loss of a node to the next report: {listener.recovered_s}")


def test_a_node_without_memory_and_one_whose_clock_is_off_change_no_number(
    nodes, store, undisturbed, tmp_path
):
    source, library = tmp_path / "ahead.c", tmp_path / "ahead.so"
    source.write_text(AHEAD)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    nodes.add(LD_PRELOAD=str(library), RAY_LD_PRELOAD_ON_WORKERS="1")
    nodes.lose()
    there = NodeAffinitySchedulingStrategy(nodes.workers[1].node_id, soft=False)
    clock = ray.remote(num_cpus=1, scheduling_strategy=there)(lambda: time.time())
    with ray_session(nodes.address):
        assert ray.get(clock.remote(), timeout=60) - time.time() > 3000

    def lose_memory():  # after the cluster was joined, which asks every node what it has
        nodes.lose()
        nodes.add(**NO_MEMORY)

    def mend():
        nodes.lose(1)
        nodes.add()

    listener = Once(pretrain=lose_memory, search=mend)
    assert run(study("sick"), nodes, store, listener) == undisturbed
    logs = Path(nodes.cluster.head_node.get_session_dir_path()) / "logs"
    told = [one for one in logs.rglob("*") if one.is_file() and LOW in one.read_bytes()]
    assert told, "no worker was killed for memory"


def test_two_studies_on_full_object_stores_a_slow_node_and_a_store_that_is_down_for_a_minute(
    nodes, store, undisturbed, tmp_path
):
    held = []

    def disturb():
        held.extend(fill_object_stores())
        store.rename(store.with_name("away"))
        threading.Timer(60.0, lambda: store.with_name("away").rename(store)).start()

    (tmp_path / "other.json").write_text(json.dumps({**STUDY, "name": "other"}))
    words = ["run", tmp_path / "other.json", "--address", nodes.address, "--underpowered"]
    with (
        nodes.slow(0),
        subprocess.Popen([sys.executable, "-m", "rheobase", *words]) as other,
    ):
        first = run(study("first"), nodes, store, Once(search=disturb))
        assert other.wait(timeout=500) == 0
    assert held
    assert first == undisturbed
    assert found(study("other"), store.parent / "cache" / "studies" / "other") == undisturbed


def test_no_cluster_of_another_version_is_joined(nodes, monkeypatch):
    here = joining.installed()
    # Nodes import the module afresh; this process alone believes in another numpy.
    monkeypatch.setattr(joining, "deciding_versions", lambda: {**here, "numpy": "1.0"})
    told = pytest.raises(ClusterError, match=r"numpy .* there, 1\.0 here")
    with told as caught, ray_session(nodes.address):
        pass
    assert "\n" not in str(caught.value)
