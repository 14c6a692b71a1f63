"""Constraints that hold after every step: signs of every synapse, and excitation to inhibition."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from rheobase.core.errors import ConstraintError
from rheobase.student.balance import START_RATE_HZ, balance_missed, hold_balance_
from rheobase.student.dale import dale_violations, input_violations
from rheobase.student.fit import EI_MISSED, TrainingData, advance, begun
from rheobase.student.inputs import Windows
from rheobase.student.lif import cells_of, currents_of, looped_lif
from rheobase.student.network import activity_of, initial_students
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate

SMALL = StudentSettings(num_neurons=20, steps=12, batch_windows=8, learning_rate=0.05)
COLUMNS = {"kind": np.array(["E"] * 8 + ["I"] * 4)}
BY_UNIT = {"input_signs": "by_unit", "input_sign_column": "kind"}
SIGNS = torch.tensor([1.0] * 8 + [-1.0] * 4)


@pytest.fixture(scope="module")
def session(one_segment):
    draw = np.random.default_rng(0)
    torch.set_num_threads(1)  # as in a trial
    line = one_segment(np.where(np.arange(2000) < 1500, 0, 1))
    latents = draw.standard_normal((2000, 3)).astype(np.float32)
    counts = draw.poisson(0.1, (2000, 12)).astype(np.uint8)
    return TrainingData("s", counts, latents, line, 500.0, unit_columns=COLUMNS)


def of(**changes):
    return SMALL.model_copy(update=changes)


def each_step(session, replicates):
    """Yield the training after each of its steps, and what it reported."""
    training = begun(replicates, session)
    for step in range(1, SMALL.steps + 1):
        training, scalars, failed = advance(training, session, step)
        assert not failed
        yield training, scalars


def test_every_synapse_has_the_sign_of_its_source_after_every_step(session):
    pack = [Replicate(seed, of(**BY_UNIT)) for seed in (0, 1)]
    for training, _ in each_step(session, pack):
        students = training.students
        assert students.input_signs.tolist() == [SIGNS.tolist()] * 2
        assert not ((students.input_weights * SIGNS[:, None]) < 0).any()
        assert not ((students.recurrent * students.signs[:, :, None]) < 0).any()
        assert dale_violations(students.recurrent, students.signs).sum() == 0
        assert input_violations(students.input_weights, students.input_signs).sum() == 0
    assert (students.input_weights == 0).any(), "the projection had nothing to do"


def test_free_inputs_are_of_both_signs_and_excitatory_ones_of_one(session):
    (*_, (free, _)) = each_step(session, [Replicate(0, SMALL)])
    assert (free.students.input_weights < 0).any()
    assert input_violations(free.students.input_weights, SIGNS[None]).sum() > 0
    (*_, (held, _)) = each_step(session, [Replicate(0, of(input_signs="excitatory"))])
    assert (held.students.input_weights >= 0).all()


@pytest.mark.parametrize("per", ["network", "neuron"])
@pytest.mark.parametrize("target", [0.25, 1.0, 4.0])
def test_a_balance_of_weights_is_exact_after_every_step(session, per, target):
    own = of(ei_balance=target, ei_of="weights", ei_per=per)
    for training, _ in each_step(session, [Replicate(0, own)]):
        students = training.students
        sizes, excites = students.recurrent[0].abs().double(), students.signs[0] > 0
        found = sizes[~excites].sum(dim=0) / sizes[excites].sum(dim=0)
        if per == "network":
            found = sizes[~excites].sum() / sizes[excites].sum()
        torch.testing.assert_close(found, torch.full_like(found, target), rtol=1e-5, atol=0)


@pytest.mark.parametrize("inputs", [{}, BY_UNIT], ids=["free inputs", "signed inputs"])
def test_a_balance_of_currents_stays_in_tolerance_after_every_step(session, inputs):
    own = of(ei_balance=1.0, learning_rate=6e-3, batch_windows=32, **inputs)
    pack = [Replicate(0, own), Replicate(0, own.model_copy(update={"ei_balance": 0.0}))]
    errors = [scalars for _, scalars in each_step(session, pack)]
    # The first batch tells the rates: until then neurons are taken to fire at 10 Hz.
    held = [each[0][EI_MISSED] for each in errors[1:]]
    assert max(held) < own.ei_tolerance
    assert all(EI_MISSED not in each[1] for each in errors)


def test_currents_are_in_balance_at_the_rates_that_they_were_scaled_by(session):
    draw = torch.Generator().manual_seed(0)
    for per in ("network", "neuron"):
        pack = [Replicate(0, of(ei_balance=target, ei_per=per)) for target in (0.5, 3.0, 0.0)]
        students = initial_students(pack, session.counts, session.timeline, "s")
        free = students.recurrent[2].clone()
        rates = torch.rand(3, 20, generator=draw) * 0.2 + 0.05
        assert hold_balance_(students, pack, session.unit_rates, rates, 0.0) == [True] * 3
        missed = balance_missed(students, pack, session.unit_rates, rates)
        assert missed.max() < 1e-5
        for row, target in enumerate((0.5, 3.0)):
            both = torch.cat([students.recurrent[row], students.input_weights[row]])
            sent = both.double() * torch.cat([rates[row], session.unit_rates])[:, None]
            dim = 0 if per == "neuron" else (0, 1)
            found = -sent.clamp(max=0).sum(dim=dim) / sent.clamp(min=0).sum(dim=dim)
            torch.testing.assert_close(found, torch.full_like(found, target), rtol=1e-5, atol=0)
        assert torch.equal(students.recurrent[2], free)


def test_what_is_held_is_moved_no_further_than_it_must(session):
    own = of(num_neurons=5, ei_balance=2.0, **BY_UNIT)
    students = initial_students([Replicate(0, own)], session.counts, session.timeline, "s", COLUMNS)
    # As after a step of Adam: out of balance, some weights on the wrong side.
    draw = torch.Generator().manual_seed(1)
    for weights in (students.recurrent, students.input_weights):
        weights += 0.05 * torch.randn(weights.shape, generator=draw)
    students.recurrent *= students.connected
    signs = torch.cat([students.signs[0], students.input_signs[0]])[:, None].numpy()
    there = torch.cat([students.connected[0], students.input_connected[0]]).numpy()
    rates = torch.full((1, 5), 0.1)
    sent = signs * torch.cat([rates[0], session.unit_rates])[:, None].numpy()
    along = np.where(sent < 0, -sent, -2.0 * sent)  # inhibition minus twice excitation

    def both():
        return torch.cat([students.recurrent[0], students.input_weights[0]]).double().numpy()

    start, shape = both(), there.shape
    nearest = minimize(
        lambda w: 0.5 * np.square(w - start.ravel()).sum(),
        start.ravel(),
        jac=lambda w: w - start.ravel(),
        bounds=[(0, None) if s > 0 else (None, 0) for s in np.broadcast_to(signs, shape).ravel()],
        constraints={
            "type": "eq",
            "fun": lambda w: (along * np.abs(w.reshape(shape)) * there).sum(),
            "jac": lambda _: (along * signs * there).ravel(),
        },
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert nearest.success
    assert hold_balance_(students, [Replicate(0, own)], session.unit_rates, rates, 0.0) == [True]
    assert (start * signs < 0).any()
    np.testing.assert_allclose(both(), nearest.x.reshape(shape) * there, atol=1e-4)


def test_a_network_far_from_balance_starts_with_the_mean_current_of_any_other(session):
    pack = [Replicate(0, of(ei_balance=4.0, **BY_UNIT)), Replicate(0, of(**BY_UNIT))]
    students = initial_students(pack, session.counts, session.timeline, "s", COLUMNS)
    into = session.unit_rates @ students.input_weights + students.bias
    held = into[0] + START_RATE_HZ * 0.01 * students.recurrent[0].sum(dim=0)
    torch.testing.assert_close(held, into[1], rtol=0, atol=1e-5)


def test_a_side_that_is_nil_fails_its_network_at_the_start_and_in_training(session):
    sparse = of(ei_balance=1.0, ei_per="neuron", connection_prob=0.05, input_signs="excitatory")
    with pytest.raises(ConstraintError, match="synapses of every neuron, but with seed 3 one of"):
        begun([Replicate(3, sparse)], session)
    pack = [Replicate(5, of(ei_balance=1.0, input_signs="excitatory")), Replicate(6, SMALL)]
    training = begun(pack, session)
    training.students.recurrent[0].clamp_(min=0)
    training.students.connected[0] &= training.students.signs[0][:, None] > 0
    found = advance(training, session, 1)
    assert list(found.failed) == [0]
    assert "both excitation and inhibition to hold, but seed 5 failed" in found.failed[0]


def test_input_reaches_those_that_it_was_drawn_for_and_no_other(session):
    own = of(input_prob=0.5, input_to="excitatory", input_share=0.5, input_gain=2.0)
    pack = [Replicate(seed, own) for seed in range(3)]
    for training, _ in each_step(session, pack):
        students = training.students
        there = students.input_weights != 0
        assert not (there & ~students.input_connected).any()
    gets = students.input_connected.any(dim=1)
    assert (gets.sum(dim=1) == 8).all()  # half of 16
    assert not (gets & (students.signs < 0)).any()
    assert (
        0.3 < float(students.input_connected[gets[:, None].expand_as(there)].float().mean()) < 0.7
    )
    assert not torch.equal(gets[0], gets[1])


def test_the_variance_of_a_neurons_input_hangs_on_no_share(session):
    pack = [Replicate(0, of(num_neurons=400, **own)) for own in ({}, {"input_prob": 0.25})]
    pack += [Replicate(0, of(num_neurons=400, input_gain=2.0))]
    students = initial_students(pack, session.counts, session.timeline, "s")
    full, sparse, twice = students.input_weights.square().sum(dim=1).mean(dim=1).tolist()
    assert sparse == pytest.approx(full, rel=0.1)
    assert twice == pytest.approx(4 * full)


@pytest.mark.parametrize("ei_of", ["currents", "weights"])
def test_an_echo_state_network_holds_its_balance_by_its_inputs_alone(session, ei_of):
    own = of(recurrence="fixed", ei_balance=2.0, ei_of=ei_of, learning_rate=6e-3, batch_windows=32)
    start = begun([Replicate(0, own)], session).students.recurrent
    (*_, (training, scalars)) = each_step(session, [Replicate(0, own)])
    assert torch.equal(training.students.recurrent, start)
    assert scalars[0][EI_MISSED] < own.ei_tolerance


def test_an_echo_state_network_keeps_its_recurrence_and_a_feed_forward_one_has_none(session):
    fixed, none = Replicate(0, of(recurrence="fixed")), Replicate(0, of(recurrence="none"))
    start = begun([fixed], session).students
    (*_, (trained, _)) = each_step(session, [fixed])
    assert torch.equal(trained.students.recurrent, start.recurrent)
    assert start.recurrent.any()
    assert not torch.equal(trained.students.input_weights, start.input_weights)
    (*_, (without, _)) = each_step(session, [none])
    assert not without.students.recurrent.any()
    (*_, (disconnected, _)) = each_step(session, [Replicate(0, of(connection_prob=0.0))])
    assert torch.equal(without.students.input_weights, disconnected.students.input_weights)


@pytest.mark.parametrize("own", [{"recurrence": "none"}, {"recurrence": "fixed"}, BY_UNIT])
def test_compiled_loops_give_the_spikes_of_plain_ones(session, own):
    pack = [Replicate(0, of(input_prob=0.5, **own))]
    students = initial_students(pack, session.counts, session.timeline, "s", COLUMNS)
    windows = Windows(session.sparse, np.array([[0, 300, 700]]), 50)
    fast = activity_of(students, windows, pack, 10.0)
    counts = windows.dense(students.bias.device)
    currents = currents_of(counts, students.input_weights, students.bias)
    plain = looped_lif(currents, students.recurrent, cells_of(students, pack, 10.0))
    assert fast.any()
    assert torch.equal(fast, plain)
