"""Types, places, connections and delays of neurons are what plain loops over each of them say."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rheobase.student.anatomy import (
    cell_types,
    connection_probs,
    delays,
    mean_connection_prob,
    places,
)
from rheobase.student.fit import TrainingData, advance, begun
from rheobase.student.network import initial_students, simulate_session
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate

BIN_MS = 10.0
MIXED = StudentSettings(
    num_neurons=15,
    steps=3,
    batch_windows=3,
    excitatory_fraction=0.6,
    sst_share=0.5,
    type_tau_mem_ms=(20.0, 8.0, 35.0),
    type_adaptation=(0.4, 0.0, 1.5),
    tau_adapt_ms=60.0,
    type_connection_prob=((0.6, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.5, 0.0)),
    connection_reach=0.6,
    delays_ms=(0.0, 70.0),
    tau_syn_ms=6.0,
    refractory_ms=20.0,
    recurrent_gain=2.0,
)


@pytest.fixture(scope="module")
def session(one_segment):
    draw = np.random.default_rng(0)
    torch.set_num_threads(1)
    counts = draw.poisson(0.15, (800, 9)).astype(np.uint8)
    line = one_segment(np.where(np.arange(800) < 600, 0, 1))
    return TrainingData("s", counts, draw.standard_normal((800, 3)).astype(np.float32), line, 500.0)


def fired_by_hand(students, counts, settings, delayed):
    """Spikes (T, M), of a loop over every bin, neuron and synapse."""
    weights, back, bias = (
        getattr(students, name)[0].double().numpy()
        for name in ("input_weights", "recurrent", "bias")
    )
    bins, neurons = len(counts), settings.num_neurons
    excitatory = round(settings.excitatory_fraction * neurons)
    sst = round(settings.sst_share * (neurons - excitatory))
    kinds = [0] * excitatory + [1] * (neurons - excitatory - sst) + [2] * sst
    alpha = math.exp(-BIN_MS / settings.tau_syn_ms)
    rho = math.exp(-BIN_MS / settings.tau_adapt_ms)
    spikes = np.zeros((bins, neurons))
    current, potential, trace = np.zeros((3, neurons))
    free_from = [0] * neurons
    for t in range(bins):
        for m in range(neurons):
            given = bias[m] + sum(counts[t, n] * weights[n, m] for n in range(counts.shape[1]))
            for p in range(neurons):
                if t >= delayed[p]:
                    given += spikes[t - delayed[p], p] * back[p, m]
            before = spikes[t - 1, m] if t else 0.0
            current[m] = alpha * current[m] + given
            beta = math.exp(-BIN_MS / settings.type_tau_mem_ms[kinds[m]])
            potential[m] = beta * potential[m] + current[m] - before
            trace[m] = rho * trace[m] + (1 - rho) * before
            raised = 1 + settings.type_adaptation[kinds[m]] * trace[m]
            if potential[m] > raised and t >= free_from[m]:
                spikes[t, m] = 1
                free_from[m] = t + 2  # 20 ms are two bins
    return spikes


def test_a_network_of_types_and_delays_fires_as_a_loop_over_every_synapse_says(session):
    pack = [Replicate(3, MIXED)]
    students = begun(pack, session).students
    delayed = delays(MIXED, 3, BIN_MS).tolist()
    assert set(delayed) == {1, 3, 4, 6, 7}
    found, _ = simulate_session(
        students, session.counts[:300], session.timeline.at(np.arange(300)), pack
    )
    expected = fired_by_hand(students, session.counts[:300], MIXED, delayed)
    np.testing.assert_array_equal(found[0], expected)
    at_once = fired_by_hand(students, session.counts[:300], MIXED, [1] * 15)
    assert (at_once != expected).any()
    assert 0.03 < expected.mean() < 0.4


def test_types_that_are_all_alike_and_delays_of_a_bin_change_nothing(session):
    usual = StudentSettings(
        num_neurons=15, steps=3, batch_windows=3, adaptation=0.3, learn_tau=True
    )
    alike = usual.model_copy(
        update={
            "sst_share": 0.4,
            "type_tau_mem_ms": (20.0,) * 3,
            "type_adaptation": (0.3,) * 3,
            "type_connection_prob": ((1.0,) * 3,) * 3,
            "delays_ms": (0.0, 10.0),
        }
    )
    one, other = (
        advance(begun([Replicate(0, own)], session), session, 3).training.students
        for own in (usual, alike)
    )
    for name, tensor in vars(one).items():
        assert torch.equal(tensor, getattr(other, name)), name


def test_a_delayed_spike_arrives_when_its_delay_says(session):
    """One neuron fires in every fourth bin and drives all others, which nothing else does."""
    settings = StudentSettings(num_neurons=4, delays_ms=(30.0, 30.0), tau_mem_ms=0.1)
    students = initial_students([Replicate(0, settings)], session.counts, session.timeline, "s")
    for name in ("recurrent", "input_weights", "bias"):
        getattr(students, name).zero_()
    students.input_weights[0, 0, 0] = 1.5
    students.recurrent[0, 0, 1:] = 1.5
    counts = np.zeros((40, 9), np.uint8)
    counts[::4, 0] = 1
    line = session.timeline.at(np.arange(40))
    fired, _ = simulate_session(students, counts, line, [Replicate(0, settings)])
    assert np.flatnonzero(fired[0, :, 0]).tolist() == [*range(0, 40, 4)]
    for m in (1, 2, 3):
        assert np.flatnonzero(fired[0, :, m]).tolist() == [*range(3, 40, 4)]


def test_shares_of_connected_pairs_are_those_of_their_types(session):
    wide = MIXED.model_copy(
        update={"num_neurons": 300, "connection_reach": 0.0, "connection_prob": 0.8}
    )
    students = initial_students([Replicate(0, wide)], session.counts, session.timeline, "s")
    types = cell_types(wide)
    assert np.bincount(types).tolist() == [180, 60, 60]
    for sender, row in enumerate(wide.type_connection_prob):
        for receiver, share in enumerate(row):
            there = students.connected[0][types == sender][:, types == receiver].double()
            assert float(there.mean()) == pytest.approx(0.8 * share, abs=0.03)
    # What is drawn stays, and the variance of what a neuron gets does not hang on how much that is.
    usual = wide.model_copy(update={"type_connection_prob": (), "connection_prob": 1.0})
    full = initial_students([Replicate(0, usual)], session.counts, session.timeline, "s")
    ratio = students.recurrent.square().sum() / full.recurrent.square().sum()
    assert float(ratio) == pytest.approx(1, abs=0.15)


def test_connections_fall_with_the_distance_on_a_square_without_borders():
    near = StudentSettings(num_neurons=200, connection_reach=0.15, connection_prob=0.9)
    found, at = connection_probs(near, 5), places(near, 5).tolist()
    for one, other in ((0, 1), (3, 150), (77, 12)):
        apart = min(
            math.dist(at[one], (at[other][0] + dx, at[other][1] + dy))
            for dx in (-1, 0, 1)
            for dy in (-1, 0, 1)
        )
        expected = 0.9 * math.exp(-(apart**2) / (2 * 0.15**2))
        assert float(found[one, other]) == pytest.approx(expected)
    # A Gaussian of the plane that lies inside the square: its integral is its mean.
    assert mean_connection_prob(near, 5) == pytest.approx(0.9 * 2 * math.pi * 0.15**2, rel=0.1)
    assert connection_probs(StudentSettings(connection_prob=0.4), 5) == 0.4


def test_connections_that_types_lack_are_not_trained(session):
    trained = advance(begun([Replicate(0, MIXED)], session), session, 3).training.students
    types = cell_types(MIXED)
    assert not trained.recurrent[0][types == 2][:, types == 2].any()
    assert trained.recurrent[0][types == 2][:, types == 0].any()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"type_tau_mem_ms": (20.0, 10.0)}, r"3 numbers must be given, of excitatory, pv, sst"),
        ({"type_connection_prob": ((1, 1, 1),) * 2}, r"3 rows of 3 numbers must be given"),
        ({"delays_ms": (30.0, 10.0)}, r"low <= high <= 1000 must hold, but got \(low=30\.0"),
        ({"delays_ms": (0.0, 5000.0)}, r"low <= high <= 1000 must hold"),
    ],
)
def test_values_that_types_and_delays_cannot_have_are_told(table, told):
    with pytest.raises(ValidationError, match=told):
        StudentSettings(**table)
