"""Hours and money of a study on a cluster, from its estimate and what nodes cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import yaml

from rheobase.core.errors import StudyError, did_you_mean
from rheobase.core.settings import Settings
from rheobase.study.file.spec import StudySpec
from rheobase.study.planning.plan import ClusterPlan, Estimate


class NodeType(Settings):
    """What one kind of node has, and costs."""

    name: str
    cpus: float
    gpus: float
    most: int
    """Nodes of it at most; of a head 1."""
    price_per_hour: float
    is_head: bool


def node_types(cluster: Path, prices: Sequence[str]) -> list[NodeType]:
    """Read the kinds of nodes from a file of ``ray up``, and their prices as a user writes them.

    Parameters
    ----------
    cluster
        Such as ``cluster.yaml``.
    prices
        ``NAME=PRICE`` an hour, one for each kind.

    Raises
    ------
    StudyError
        The file is none, or a price is missing, no number or of no kind.
    """
    try:
        table = yaml.safe_load(cluster.read_text())
        if not isinstance(table, dict):
            raise TypeError(f"it holds {str(table)[:40]!r}, no table")
        kinds, head = table["available_node_types"], table["head_node_type"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise StudyError(
            f"{cluster}: a cluster must be a file of 'ray up' with available_node_types and "
            f"head_node_type, but: {reason}"
        ) from None
    told: dict[str, float] = {}
    for text in prices:
        name, _, price = text.partition("=")
        if name not in kinds:
            raise StudyError(
                f"--price {text}: a kind of node of {cluster} must be named, but '{name}' is none."
                f"{did_you_mean(name, kinds)}"
            )
        try:
            told[name] = float(price)
        except ValueError:
            raise StudyError(f"--price {text}: NAME=PRICE an hour must be a number") from None
    if missing := set(kinds) - set(told):
        raise StudyError(
            f"{cluster}: each kind of node must have a price, but these have none: "
            f"{', '.join(sorted(missing))}; add --price {min(missing)}=PRICE"
        )
    return [
        NodeType(
            name=name,
            cpus=kind.get("resources", {}).get("CPU", 0),
            gpus=kind.get("resources", {}).get("GPU", 0),
            most=1 if name == head else min(kind["max_workers"], table["max_workers"]),
            price_per_hour=told[name],
            is_head=name == head,
        )
        for name, kind in kinds.items()
    ]


def plan_on_cluster(spec: StudySpec, needs: Estimate, kinds: Sequence[NodeType]) -> ClusterPlan:
    """Return hours and money on the cheapest kind of node that a trial fits.

    Notes
    -----
    The hours of one core are shared by what can run at once: sessions in ingest, the teacher's
    workers, and the packs of one generation, which a study never exceeds. CPU hours of
    `Estimate` are those of a machine like the one that they were measured on.

    Raises
    ------
    StudyError
        A trial fits no kind of node.
    """
    trial_cpus, trial_gpus = spec.resources.cpus_per_trial, spec.resources.gpus_per_trial
    fitting = [
        kind for kind in kinds if kind.cpus >= trial_cpus and kind.gpus >= trial_gpus and kind.most
    ]
    if not fitting:
        raise StudyError(
            f"[resources]: a trial must fit on a node, but none has {trial_cpus:g} CPUs"
            + (f" and {trial_gpus:g} GPUs" if trial_gpus else "")
        )
    kind = min(fitting, key=lambda one: one.price_per_hour / _side_by_side(spec, one))
    room = {
        "ingest": math.floor(kind.cpus) * kind.most,
        "teacher": math.floor(kind.cpus) * kind.most,
        "student": _side_by_side(spec, kind) * kind.most,
    }
    at_once = {
        "ingest": max(1, needs.num_sessions),
        "teacher": spec.teacher.workers,
        "student": math.ceil(spec.search.generation / spec.search.pack),
    }
    if spec.resources.max_concurrent:
        at_once["student"] = min(at_once["student"], spec.resources.max_concurrent)
    busy = {phase: min(at_once[phase], room[phase]) for phase in at_once}
    per_node = {**dict.fromkeys(busy, max(1, math.floor(kind.cpus)))}
    per_node["student"] = _side_by_side(spec, kind)
    nodes = {phase: math.ceil(number / per_node[phase]) for phase, number in busy.items()}
    hours = {phase: needs.cpu_hours[phase] / busy[phase] for phase in busy}
    head = sum(one.price_per_hour for one in kinds if one.is_head)
    money = sum(hours[p] * (head + nodes[p] * kind.price_per_hour) for p in hours)
    return ClusterPlan(
        node=kind.name, workers_at_once=at_once, nodes=nodes, hours=hours, money=money
    )


def _side_by_side(spec: StudySpec, kind: NodeType) -> int:
    """Return how many workers of trials one node has room for."""
    cpus = kind.cpus / spec.resources.cpus_per_trial
    gpus = kind.gpus / spec.resources.gpus_per_trial if spec.resources.gpus_per_trial else math.inf
    return max(1, math.floor(min(cpus, gpus) + 1e-9))
