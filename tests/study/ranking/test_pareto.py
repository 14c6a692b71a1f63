import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.pareto import bulges, non_dominated
from rheobase.study.ranking.rank import rank_study
from rheobase.study.ranking.ranking import MeanInterval

points = st.integers(1, 4).flatmap(
    lambda k: st.lists(st.tuples(*[st.integers(0, 5)] * k), min_size=1, max_size=12)
)


@settings(deadline=None)
@given(points)
def test_the_front_is_what_no_point_dominates(drawn):
    cost = np.array(drawn, float)
    kept = non_dominated(cost)
    for index, point in enumerate(cost):
        beaten = any((other <= point).all() and (other < point).any() for other in cost)
        assert kept[index] == (not beaten)
    assert kept.any()


@settings(deadline=None)
@given(points, st.floats(0.1, 10), st.floats(-5, 5))
def test_the_knee_does_not_depend_on_units(drawn, scale, shift):
    cost = np.array(drawn, float)
    assert bulges(cost) == pytest.approx(bulges(cost * scale + shift), abs=1e-9)


def test_the_knee_of_two_objectives_is_the_point_farthest_from_the_chord():
    x = np.linspace(0, 1, 101)
    cost = np.stack([x, (1 - np.sqrt(x)) ** 2], axis=1)
    ends = cost[[0, -1]]
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    away = cost - ends[0]
    distance = np.abs(along[0] * away[:, 1] - along[1] * away[:, 0])
    assert bulges(cost) == pytest.approx(distance * np.sqrt(2))
    assert cost[np.argmax(bulges(cost))] == pytest.approx([0.25, 0.25])


def spec_of(objectives):
    search = {"sampler": "nsga2", "objectives": objectives}
    return parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}, "search": search})


@pytest.fixture
def sized(trial_of, replicate_of):
    def build(number, cca, num_neurons, violation=-1.0, connections=None):
        found = tuple(
            replicate_of(seed, cca + seed / 1000, violation=violation, connections=connections)
            for seed in range(3)
        )
        record = trial_of(number, found)
        student = {"num_neurons": num_neurons, "number": number}
        request = record.request.model_copy(update={"student": student})
        return record.model_copy(update={"request": request})

    return build


def test_the_front_holds_trials_through_the_gate_alone_with_intervals(sized):
    records = [
        sized(0, 0.95, 128),
        sized(1, 0.93, 32),
        sized(2, 0.75, 16),
        sized(3, 0.74, 64),  # dominated
        sized(4, 0.99, 8, violation=0.1),  # infeasible
        sized(5, 0.60, 4),  # below the gate
    ]
    ranking = rank_study(spec_of(["cca_heldout", "num_neurons"]), records)
    front = ranking.pareto
    assert front.objectives == {"cca_heldout": "maximize", "num_neurons": "minimize"}
    assert [row.number for row in front.trials] == [0, 1, 2]
    assert front.knee == ranking.best == "t1"
    one = front.trials[1]
    assert one.num_neurons == MeanInterval(mean=32, ci95=None)  # it does not vary
    told = one.model_dump(mode="json")
    assert told["num_neurons"] == {"mean": 32, "ci95": None}
    assert not told.keys() & {"spikes_per_s", "connections", "rate_error"}  # not sought
    low, high = one.cca_heldout.ci95
    assert one.cca_heldout.mean == pytest.approx(0.931)
    assert low < one.cca_heldout.mean < high


def test_the_front_quotes_the_interval_of_the_ranking_blocks_and_all(sized):
    record = sized(0, 0.95, 128)
    found = [
        one.model_copy(update={"blocks": (one.cca_heldout - 0.1, one.cca_heldout + 0.1)})
        for one in record.result.replicates
    ]
    result = record.result.model_copy(update={"replicates": tuple(found)})
    whole = record.model_copy(update={"result": result})
    ranking = rank_study(spec_of(["cca_heldout", "num_neurons"]), [whole])
    (one,) = ranking.pareto.trials
    assert one.cca_heldout.ci95 == ranking.trials[0].cca_heldout.ci95
    low, high = one.cca_heldout.ci95
    assert high - low > 0.2


def test_without_a_trial_through_the_gate_there_is_no_knee_and_a_reason(sized):
    ranking = rank_study(spec_of(["cca_heldout", "num_neurons"]), [sized(0, 0.5, 16)])
    assert ranking.pareto.trials == ()
    assert ranking.pareto.knee is None
    assert ranking.best == "t0"
    assert any(note.startswith("pareto") for note in ranking.notes)


def test_a_search_of_one_objective_has_no_front(sized):
    assert rank_study(spec_of(["cca_heldout"]), [sized(0, 0.9, 16)]).pareto is None


def test_sizes_are_counted(sized):
    counted, older = sized(0, 0.9, 16, connections=100), sized(1, 0.9, 16)
    rows = rank_study(spec_of(["cca_heldout"]), [counted, older]).trials
    assert [row.connections for row in rows] == [100, 16 * 15]
    assert rows[0].num_neurons == 16
    assert rows[0].spikes_per_s == 160
