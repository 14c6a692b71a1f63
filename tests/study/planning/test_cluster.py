import pytest

from rheobase.core.errors import StudyError
from rheobase.study.file.spec import parse_study
from rheobase.study.planning.cluster import NodeType, node_types, plan_on_cluster
from rheobase.study.planning.plan import Estimate

PRICES = ["head=0.2", "cpu_worker=0.7", "gpu_worker=1.0"]


def kind(name, cpus, most, price, *, gpus=0, is_head=False):
    return NodeType(
        name=name, cpus=cpus, gpus=gpus, most=most, price_per_hour=price, is_head=is_head
    )


KINDS = [
    kind("head", 0, 1, 1.0, is_head=True),
    kind("small", 4, 10, 2.0),
    kind("gpu", 4, 2, 8.0, gpus=1),
]


def needs(ingest=10.0, teacher=4.0, student=100.0, sessions=20):
    return Estimate(
        sessions=(),
        unknown=(),
        num_sessions=sessions,
        num_bins=0,
        train_windows=0,
        validation_windows=0,
        test_windows=0,
        bytes={},
        cpu_hours={"ingest": ingest, "teacher": teacher, "student": student},
        memory_bytes={},
        cpu_hours_per_session=0.0,
    )


def study(**tables):
    return parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}, **tables})


def test_hours_and_money_are_those_of_a_count_by_hand():
    spec = study(search={"generation": 8}, teacher={"workers": 2})
    plan = plan_on_cluster(spec, needs(), KINDS)
    assert plan.node == "small"
    assert plan.hours == {"ingest": 10 / 20, "teacher": 4 / 2, "student": 100 / 8}
    assert plan.nodes == {"ingest": 5, "teacher": 1, "student": 2}
    assert plan.money == pytest.approx(0.5 * (1 + 10) + 2 * (1 + 2) + 12.5 * (1 + 4))


def test_more_nodes_than_a_generation_has_packs_change_nothing():
    spec = study(search={"generation": 4, "pack": 2})
    few, many = (
        plan_on_cluster(spec, needs(), [KINDS[0], kind("small", 4, most, 2.0)]) for most in (1, 100)
    )
    assert few.hours["student"] == many.hours["student"] == 100 / 2


def test_trials_that_ask_for_a_share_of_a_gpu_share_one():
    spec = study(search={"generation": 8}, resources={"gpus_per_trial": 0.25})
    plan = plan_on_cluster(spec, needs(), KINDS)
    assert plan.node == "gpu"
    assert plan.nodes["student"] == 2
    assert plan.hours["student"] == 100 / 8


def test_a_trial_that_fits_no_node_is_refused():
    with pytest.raises(StudyError, match="must fit on a node"):
        plan_on_cluster(study(resources={"cpus_per_trial": 5.0}), needs(), KINDS)


def test_kinds_of_nodes_are_those_of_the_project_s_own_file(root):
    found = {one.name: one for one in node_types(root / "cluster.yaml", PRICES)}
    assert found["head"].is_head
    assert found["head"].cpus == 0
    assert (found["cpu_worker"].cpus, found["cpu_worker"].most) == (16, 8)
    assert (found["gpu_worker"].gpus, found["gpu_worker"].price_per_hour) == (1, 1.0)


@pytest.mark.parametrize(
    ("prices", "told"),
    [
        (PRICES[:2], "add --price gpu_worker=PRICE"),
        ([*PRICES, "cpu_workr=1"], "Did you mean 'cpu_worker'"),
        ([*PRICES[:2], "gpu_worker=much"], "must be a number"),
    ],
)
def test_prices_that_say_nothing_are_refused(root, prices, told):
    with pytest.raises(StudyError, match=told):
        node_types(root / "cluster.yaml", prices)


def test_a_file_that_is_no_cluster_is_told_in_one_line(tmp_path):
    (tmp_path / "c.yaml").write_text("name: x")
    with pytest.raises(StudyError, match="available_node_types") as caught:
        node_types(tmp_path / "c.yaml", [])
    assert "\n" not in str(caught.value)
