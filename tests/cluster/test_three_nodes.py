"""The same study on a cluster of three nodes, of which some are lost, gives the same numbers."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import ray
from ray._private import ray_constants
from ray.cluster_utils import Cluster

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

    def add(self):
        node = self.cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        self.workers.append(node)

    def lose(self):
        self.cluster.remove_node(self.workers.pop(0), allow_graceful=False)


@pytest.fixture
def nodes(no_ray, monkeypatch):
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
    monkeypatch.setenv(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "0")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    nodes = Nodes()
    yield nodes
    ray.shutdown()
    nodes.cluster.shutdown()


@pytest.fixture
def store(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("RHEOBASE_HOME", f"file://{tmp_path}/store")
    monkeypatch.setenv("RHEOBASE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "store"


def found(spec, run: Path):
    """All that a run found but times."""
    records = []
    for record in RunFolder(run).read_records():
        result = record.result and record.result.model_copy(update={"wall_s": 0.0})
        changes = {"result": result, "started_at": None, "ended_at": None, "progress": ()}
        records.append(record.model_copy(update=changes))
    return rank_study(spec, records).model_dump(exclude={"name"}), records


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

    def teacher_progress(self, step, num_steps, values):
        self._at("teacher")

    def trial_ended(self, record):
        self._at("search")


def run(spec, nodes, store, listener, **given):
    folder = store.parent / "cache" / "studies" / spec.name
    run_study(spec, folder, resume=True, address=nodes.address, listener=listener, **given)
    return found(spec, folder)


def test_nodes_lost_in_teacher_and_search_change_no_number(nodes, store, undisturbed, capsys):
    def replace():
        nodes.lose()
        nodes.add()

    listener = Once(teacher=replace, search=replace)
    assert run(parse_study(STUDY), nodes, store, listener) == undisturbed
    with capsys.disabled():
        print(f"\nseconds from the loss of a node to the next report: {listener.recovered_s}")


def test_a_store_that_is_down_for_twenty_seconds_costs_no_trial(nodes, store, undisturbed):
    def down():
        store.rename(store.with_name("away"))
        threading.Timer(20.0, lambda: store.with_name("away").rename(store)).start()

    assert run(parse_study(STUDY), nodes, store, Once(search=down)) == undisturbed


def test_two_studies_share_a_cluster(nodes, store, undisturbed, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({**STUDY, "name": "other"}))
    words = ["run", tmp_path / "other.json", "--address", nodes.address, "--underpowered"]
    with subprocess.Popen([sys.executable, "-m", "rheobase", *words]) as other:
        first = run(parse_study(STUDY), nodes, store, Silent())
        assert other.wait(timeout=400) == 0
    assert first == undisturbed
    spec = parse_study({**STUDY, "name": "other"})
    _, records = found(spec, store.parent / "cache" / "studies" / "other")
    assert [r.result and r.result.replicates for r in records] == [
        r.result and r.result.replicates for r in undisturbed[1]
    ]


def test_no_cluster_of_another_version_is_joined(nodes, monkeypatch):
    here = joining.installed()
    # Nodes import the module afresh; this process alone believes in another numpy.
    monkeypatch.setattr(joining, "deciding_versions", lambda: {**here, "numpy": "1.0"})
    told = pytest.raises(ClusterError, match=r"numpy .* there, 1\.0 here")
    with told as caught, ray_session(nodes.address):
        pass
    assert "\n" not in str(caught.value)
