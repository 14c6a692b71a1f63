"""Waiting for nodes that a cluster may yet start, and refusing what none of them can ever give."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import ray
import yaml
from ray._private.state import state
from ray.autoscaler.sdk import request_resources

from rheobase.core.errors import StudyError

log = logging.getLogger("rheobase")
LOOK_S = 1.0
TELL_S = 15.0  # between two lines on what is waited for
BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
"""On a head that ``ray up`` has started: what its autoscaler may start."""

Resources = Mapping[str, float]


@contextmanager
def room_for(what: str, wanted: Resources) -> Iterator[None]:
    """Wait until some node has what one piece of work needs; tell of it while none has.

    Parameters
    ----------
    what
        The work, for people.
    wanted
        What it needs on one node: of ``CPU`` and ``GPU``.

    Raises
    ------
    StudyError
        No node of the cluster has it, nor any that its autoscaler may start.

    Notes
    -----
    Within the block a line is written when the last such node has gone: the work itself waits.
    """
    asked = {name: number for name, number in wanted.items() if number}
    kinds = node_types()
    living = _living()
    if not any(_fits(asked, node) for node in living) and not _may_come(asked, kinds):
        raise StudyError(_refusal(asked, [*living, *(kinds or {}).values()]))
    ended = threading.Event()
    watch = threading.Thread(target=_tell, args=(what, asked, ended), daemon=True)
    if kinds is not None:  # an autoscaler listens
        request_resources(bundles=[dict(asked)])
    watch.start()
    try:
        while not any(_fits(asked, node) for node in _living()):
            time.sleep(LOOK_S)
        yield
    finally:
        ended.set()
        watch.join()
        if kinds is not None:
            with suppress(Exception):  # the cluster may be gone
                request_resources(num_cpus=0)


def node_types() -> dict[str, Resources] | None:
    """Return what nodes the cluster's autoscaler may start; None where there is none.

    A type whose resources are known only once it has started has none here.
    """
    if told := state.get_cluster_config():
        return {
            group.name: dict(group.resources)
            for group in told.node_group_configs
            if group.max_count
        }
    path = BOOTSTRAP.expanduser()
    if not path.exists():
        return None
    types = yaml.safe_load(path.read_text())["available_node_types"]
    return {
        name: dict(kind.get("resources") or {})
        for name, kind in types.items()
        if kind.get("max_workers")
    }


def lost_nodes(nodes: Collection[str]) -> set[str]:
    """Return those of the nodes, named by Ray's ids, that do not live any more."""
    if not nodes:
        return set()
    return set(nodes) - {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _living() -> list[Resources]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _fits(wanted: Resources, node: Resources) -> bool:
    return all(node.get(name, 0.0) >= number for name, number in wanted.items())


def _may_come(wanted: Resources, kinds: Mapping[str, Resources] | None) -> bool:
    return any(not kind or _fits(wanted, kind) for kind in (kinds or {}).values())


def _refusal(wanted: Resources, nodes: list[Resources]) -> str:
    most = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in wanted}
    name = next((n for n, number in wanted.items() if number > most[n]), next(iter(wanted)))
    return (
        f"[resources]: {name.lower()}s_per_trial must fit on one machine, which has "
        f"{most[name]:g}, but got {wanted[name]:g}"
    )


def _tell(what: str, wanted: Resources, ended: threading.Event) -> None:
    """Write a line now and then while no node has what is wanted."""
    since = time.monotonic()
    need = " and ".join(f"{number:g} {name}" for name, number in wanted.items())
    while not ended.wait(TELL_S):
        with suppress(Exception):  # between the loss of the head and the end of the block
            if any(_fits(wanted, node) for node in _living()):
                since = time.monotonic()
            else:
                log.warning(
                    "%s waits for a node with %s, %.0f s so far; Ctrl-C ends it, --resume goes on",
                    what,
                    need,
                    time.monotonic() - since,
                )
