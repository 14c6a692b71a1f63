"""`ray up`, `submit`, a worker killed, the head killed, `fetch`, `ray down`, over loopback."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from cluster.loopback import NAMESPACES

needs = [name for name in ("unshare", "sshd", "nc", "rsync", "ip") if not shutil.which(name)]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif("RHEOBASE_TEST_CLUSTER" not in os.environ, reason="make test-cluster"),
]


@pytest.fixture(scope="module")
def told(root, tmp_path_factory):
    assert not needs, (
        f"install {needs}: openssh-server, netcat-openbsd, rsync, iproute2, util-linux"
    )
    assert os.getuid() == 0, "mounts and sshd need root"
    folder = tmp_path_factory.mktemp("loopback")
    done = subprocess.run(
        [*NAMESPACES, sys.executable, root / "tests/cluster/loopback.py", folder],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0
    found = json.loads(done.stdout)
    print(json.dumps(found, indent=1))
    return found


def test_numbers_are_those_of_a_run_on_this_machine(told):
    assert told["same"]


def test_three_nodes_came_up(told):
    assert told["nodes_before"] == 3


def test_a_study_runs_once_at_a_time(told):
    code, line = told["again"]
    assert code == 2
    assert "runs once at a time" in line


def test_a_wrong_token_is_told_in_one_line(told):
    for code, said, seconds in told["wrong_token"]:
        assert code == 2
        assert "it wants another token" in said.splitlines()[-1]
        assert seconds < 30  # machines are shared; on an idle one 10


def test_trials_that_had_ended_outlive_the_head(told):
    kept = told["after_worker"]["trials"]["complete"]
    assert kept >= 4
    assert told["ranked"] == 16


def test_report_and_curves_are_brought(told):
    assert told["report"]
    assert told["tensorboard"]
    assert told["down"] == 0
