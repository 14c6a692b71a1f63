import logging
import threading

import pytest

from rheobase.core.errors import StudyError
from rheobase.distributed import nodes
from rheobase.distributed.nodes import node_types, room_for


class Fleet:
    """What nodes live, and what an autoscaler was asked for."""

    def __init__(self):
        self.living = [{"CPU": 0.0}]
        self.asked = []


@pytest.fixture
def fleet(monkeypatch, tmp_path):
    fleet = Fleet()
    monkeypatch.setattr(nodes, "_living", lambda: fleet.living)
    monkeypatch.setattr(nodes, "request_resources", lambda **words: fleet.asked.append(words))
    monkeypatch.setattr(nodes, "LOOK_S", 0.02)
    monkeypatch.setattr(nodes, "TELL_S", 0.05)
    monkeypatch.setattr(nodes, "BOOTSTRAP", tmp_path / "ray_bootstrap_config.yaml")
    monkeypatch.setattr(nodes.state, "get_cluster_config", lambda: None)
    return fleet


def types(fleet, **kinds):
    lines = ["available_node_types:"]
    for name, (resources, most) in kinds.items():
        lines.append(f"  {name}: {{ resources: {resources}, max_workers: {most} }}")
    nodes.BOOTSTRAP.write_text("\n".join(lines))


def test_work_waits_for_a_node_that_the_autoscaler_may_start(fleet, caplog):
    types(fleet, cpu=("{ CPU: 16 }", 8), gpu=("{ CPU: 4, GPU: 1 }", 2))
    later = threading.Timer(0.3, lambda: fleet.living.append({"CPU": 4.0, "GPU": 1.0}))
    later.start()
    with caplog.at_level(logging.WARNING), room_for("the search", {"CPU": 1, "GPU": 1}):
        assert later.finished.is_set()
    assert "the search waits for a node with 1 CPU and 1 GPU, 0 s so far" in caplog.text
    assert fleet.asked == [{"bundles": [{"CPU": 1, "GPU": 1}]}, {"num_cpus": 0}]


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [
        ({"CPU": 32}, {"cpu": ("{ CPU: 16 }", 8)}),
        ({"CPU": 1, "GPU": 1}, {"cpu": ("{ CPU: 16 }", 8), "gpu": ("{ CPU: 4, GPU: 1 }", 0)}),
        ({"CPU": 1}, {}),
    ],
)
def test_what_no_node_can_ever_give_is_refused_at_once(fleet, wanted, kinds):
    if kinds:
        types(fleet, **kinds)
    with pytest.raises(StudyError, match="must fit on one machine"), room_for("x", wanted):
        pass
    assert not fleet.asked


def test_a_node_that_goes_while_work_runs_is_told_of(fleet, caplog):
    fleet.living = [{"CPU": 2.0}]
    with caplog.at_level(logging.WARNING), room_for("the teacher", {"CPU": 1}):
        assert "waits" not in caplog.text
        fleet.living = []
        for _ in range(100):
            if "the teacher waits" in caplog.text:
                break
            threading.Event().wait(0.02)
    assert "the teacher waits for a node with 1 CPU" in caplog.text


def test_nodes_whose_resources_show_only_later_are_waited_for(fleet):
    types(fleet, **{"local.cluster.node": ("{}", 2)})
    assert node_types() == {"local.cluster.node": {}}
    threading.Timer(0.1, lambda: fleet.living.append({"CPU": 1.0})).start()
    with room_for("x", {"CPU": 1}):
        pass


def test_fractions_of_a_gpu_fit_beside_each_other(fleet):
    fleet.living = [{"CPU": 4.0, "GPU": 1.0}]
    with room_for("x", {"CPU": 1, "GPU": 0.25}):
        pass
