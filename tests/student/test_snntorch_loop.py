"""The compiled students are what snntorch's own loop makes of the same settings."""

import numpy as np
import pytest
import snntorch
import torch
from pydantic import ValidationError

from rheobase.student.fit import TrainingData, advance, begun
from rheobase.student.inputs import SparseCounts, Windows
from rheobase.student.lif import lif_activity
from rheobase.student.network import simulate_session
from rheobase.student.settings import StudentSettings
from rheobase.student.snntorch_loop import summed_in_order
from rheobase.student.students import Replicate, Students

KINDS = {
    "leaky": {},
    "leaky that learns its time constants": {"learn_tau": True, "surrogate": "atan"},
    "synaptic": {"tau_syn_ms": 8.0, "threshold": 0.7},
}


@pytest.fixture(scope="module")
def session(one_segment):
    draw = np.random.default_rng(0)
    torch.set_num_threads(1)
    counts = draw.poisson(0.1, (1500, 12)).astype(np.uint8)
    line = one_segment(np.where(np.arange(1500) < 1000, 0, 1))
    latents = draw.standard_normal((1500, 3)).astype(np.float32)
    return TrainingData("s", counts, latents, line, 300.0)


def both(kind, **more):
    table = {"num_neurons": 16, "steps": 4, "batch_windows": 3, **KINDS[kind], **more}
    return [
        [Replicate(seed, StudentSettings(backend=backend, **table)) for seed in (0, 1)]
        for backend in ("compiled", "snntorch")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_both_backends_fire_the_same_spikes_and_descend_the_same_losses(session, kind):
    compiled, plain = both(kind)
    found, expected = (advance(begun(pack, session), session, 4) for pack in (compiled, plain))
    losses = [[scalars["loss"] for scalars in one.scalars] for one in (found, expected)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for name, weights in vars(found.training.students).items():
        other = getattr(expected.training.students, name)
        torch.testing.assert_close(weights, other, rtol=1e-3, atol=1e-5)
    students = found.training.students
    spikes, features = simulate_session(students, session.counts, session.timeline, compiled)
    again, seen = simulate_session(students, session.counts, session.timeline, plain)
    np.testing.assert_array_equal(spikes, again)
    np.testing.assert_array_equal(features, seen)
    assert 0.01 < spikes.mean() < 0.5


@pytest.mark.parametrize("learnt", ["input_weights", "bias", "recurrent"])
def test_a_gradient_of_one_array_alone_is_the_compiled_loops(session, learnt):
    compiled, plain = both("synaptic", steps=1)
    students = begun(compiled, session).students
    windows = Windows(SparseCounts.of(session.counts), np.array([[0, 300], [100, 500]]), 200)
    found = []
    for pack in (compiled, plain):
        weights = {name: one.detach().clone() for name, one in vars(students).items()}
        weights[learnt].requires_grad_()
        lif_activity(Students(**weights), windows, pack, 10.0).sum().backward()
        found.append(weights[learnt].grad)
    assert found[0].abs().max() > 1
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def test_sums_are_those_of_the_compiled_loop_to_the_last_bit():
    draw = np.random.default_rng(0)
    rows = draw.poisson(0.3, (8, 200)).astype(np.float32)
    weights = draw.standard_normal((200, 32)).astype(np.float32)
    expected = np.zeros((8, 32), np.float32)
    for row, total in zip(rows, expected, strict=True):
        for unit in np.flatnonzero(row):
            total += row[unit] * weights[unit]
    found = summed_in_order(torch.from_numpy(rows), torch.from_numpy(weights))
    np.testing.assert_array_equal(found, expected)


def test_a_packed_network_of_snntorch_trains_as_it_would_alone(session):
    pack = both("synaptic")[1]
    together, alone = (
        advance(begun(one, session), session, 2).training for one in (pack, pack[1:])
    )
    torch.testing.assert_close(together.chosen([1]).state(), alone.state(), rtol=0, atol=0)


def test_snntorch_keeps_none_of_the_neurons_that_were_made(session):
    before = len(snntorch.SpikingNeuron.instances)
    advance(begun(both("synaptic")[1], session), session, 1)
    assert len(snntorch.SpikingNeuron.instances) == before


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"adaptation": 0.5}, r"adaptation = 0\.5"),
        ({"refractory_ms": 20.0}, r"refractory_ms = 20\.0"),
        ({"delays_ms": (0.0, 30.0)}, r"delays_ms = \(0\.0, 30\.0\)"),
        ({"type_adaptation": (0.0, 0.0, 1.0)}, r"type_adaptation = \(0\.0, 0\.0, 1\.0\)"),
        ({"surrogate": "triangular"}, "surrogate = 'triangular'"),
        ({"neuron": "izhikevich"}, "neuron = 'izhikevich'"),
    ],
)
def test_what_snntorch_has_not_is_refused_in_one_line(table, told):
    with pytest.raises(ValidationError, match=f"backend = 'snntorch' must be given .*{told}"):
        StudentSettings(backend="snntorch", **table)


def test_controls_that_do_not_spike_stand_beside_it():
    assert StudentSettings(backend="snntorch", neuron="gru").neuron == "gru"
