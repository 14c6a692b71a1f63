"""Before a cluster is joined: does it answer, to us, and would it give the same numbers?"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from typing import Any

import ray
from ray._private.utils import read_ray_address
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rheobase.core.digest import code_digest
from rheobase.core.versions import deciding_versions

ANSWER_S = 8.0  # for a cluster's head to say who it is; a second of it starts the process that asks
NODES_S = 60.0  # for every node to start a process and say what is installed
ROOMS = ("core", "sessions", "shards", "measures", "teacher", "student", "study")
# In a process of its own: Ray's client logs beside our one line, and some of its calls never end.
ASK = """
import sys
from ray._raylet import GcsClient
print(GcsClient(address=sys.argv[1]).internal_kv_get(b"CLUSTER_METADATA", b"cluster", 5).decode())
"""


def found_address(address: str) -> str:
    """Return ``host:port`` of what a user calls ``auto``.

    Raises
    ------
    ConnectionError
        There is no such cluster.

    Notes
    -----
    It is what ``RAY_ADDRESS`` names or ``ray start`` has started on this machine; Ray's own search
    would take up any Ray process it sees, another study's private one too.
    """
    if address != "auto":
        return address
    found = os.environ.get("RAY_ADDRESS") or read_ray_address()
    if not found or found == "auto":
        raise ConnectionError(
            "no cluster was started on this machine with 'ray start', nor named in RAY_ADDRESS"
        )
    return str(found)


def refuse_what_does_not_answer(address: str) -> None:
    """Ask a cluster's head who it is.

    Raises
    ------
    ConnectionError
        It does not answer in time, wants another token, or runs another Ray or Python.
    """
    try:
        asked = subprocess.run(
            [sys.executable, "-c", ASK, address],
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
        )
    except subprocess.TimeoutExpired:
        raise ConnectionError(f"nothing that speaks Ray answers within {ANSWER_S:g} s") from None
    if "AuthenticationError" in asked.stderr:
        raise ConnectionError(
            "it wants another token; copy the head's ~/.ray/auth_token here and set "
            "RAY_AUTH_MODE=token"
        )
    try:
        there = json.loads(asked.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = asked.stderr.strip().splitlines() or ["it said nothing"]
        raise ConnectionError(last[-1][:200]) from None
    here = {"ray_version": ray.__version__, "python_version": platform.python_version()}
    differ = [f"{name} {there.get(name)} there, {here[name]} here" for name in here]
    if any(there.get(name) != here[name] for name in here):
        raise ConnectionError(f"versions must be the same: {'; '.join(differ)}")


def refuse_other_installations() -> None:
    """Ask every node of the cluster that was joined what is installed there.

    Raises
    ------
    ConnectionError
        A node has other versions of what decides numbers, or other code.
    """
    ask = ray.remote(num_cpus=0, max_retries=1)(installed)
    asked = {
        node["NodeManagerAddress"]: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"]
    }
    here = installed()
    for address, reference in asked.items():
        try:
            there = ray.get(reference, timeout=NODES_S)
        except ray.exceptions.GetTimeoutError:
            raise ConnectionError(f"node {address} starts no process") from None
        except ray.exceptions.RayTaskError as error:  # rheobase is not installed there
            raise ConnectionError(
                f"node {address} cannot run this package: {str(error).strip().splitlines()[-1]}"
            ) from None
        except ray.exceptions.RayError:
            continue  # the node has gone meanwhile; another will take its place
        found = [
            f"{n} {there.get(n)} there, {here[n]} here" for n in here if there.get(n) != here[n]
        ]
        if found:
            raise ConnectionError(f"node {address} has other versions: {'; '.join(found)}")


def installed() -> dict[str, Any]:
    """Return the versions of all that decides a number, and the digest of this package's code."""
    return {**deciding_versions(), "code": code_digest(*ROOMS)}
