import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rheobase.shards.shard import GAP, TRAIN, VALIDATION
from rheobase.student.adam import adam_step_
from rheobase.student.dale import dale_violations
from rheobase.student.distill import squared_canonical_correlation
from rheobase.student.dynamics import DYNAMICS
from rheobase.student.fit import TrainingData, advance, begun, packed, restored
from rheobase.student.inputs import Windows
from rheobase.student.network import (
    Stretch,
    activity_of,
    features_of,
    initial_students,
    simulate_session,
    simulate_stretches,
)
from rheobase.student.neurons import NEURONS, NeuronName
from rheobase.student.rates import irregularity_penalty, rate_penalty
from rheobase.student.readout import smoothed_counts
from rheobase.student.settings import PER_REPLICATE, StudentSettings, population_key
from rheobase.student.students import Replicate

SETTINGS = StudentSettings(num_neurons=20, steps=6, batch_windows=4)


@pytest.fixture(scope="module")
def session(one_segment):
    draw = np.random.default_rng(0)
    torch.set_num_threads(1)  # as in a trial
    counts = draw.poisson(0.1, (2000, 12)).astype(np.uint8)
    line = one_segment(np.where(np.arange(2000) < 1500, 0, 1))
    return TrainingData(
        "s", counts, draw.standard_normal((2000, 3)).astype(np.float32), line, 500.0
    )


def trained(session, replicates, until=6):
    return advance(begun(replicates, session), session, until).training


NUMBERS = {
    "dale": st.booleans(),
    "excitatory_fraction": st.floats(0.3, 0.9),
    "sst_share": st.floats(0.0, 1.0),
    "type_tau_mem_ms": st.sampled_from([(), (20.0, 8.0, 40.0)]),
    "type_adaptation": st.sampled_from([(), (0.5, 0.0, 1.5)]),
    "type_connection_prob": st.sampled_from([(), ((0.3, 1, 1), (1, 1, 0.5), (1, 0.5, 0))]),
    "connection_reach": st.sampled_from([0.0, 0.3]),
    "delays_ms": st.sampled_from([(0.0, 0.0), (0.0, 60.0), (20.0, 20.0)]),
    "input_gain": st.floats(0.3, 3.0),
    "input_prob": st.floats(0.2, 1.0),
    "input_share": st.floats(0.2, 1.0),
    "initial_inhibitory_gain": st.floats(0.1, 3.0),
    "initially_balanced": st.booleans(),
    "ei_balance": st.sampled_from([0.0, 0.5, 2.0]),
    "recurrent_gain": st.floats(0.0, 3.0),
    "connection_prob": st.floats(0.1, 1.0),
    "tau_syn_ms": st.floats(0.0, 30.0),
    "adaptation": st.floats(0.0, 2.0),
    "tau_adapt_ms": st.floats(20.0, 300.0),
    "refractory_ms": st.floats(0.0, 40.0),
    "tau_mem_ms": st.floats(5.0, 60.0),
    "threshold": st.floats(0.3, 3.0),
    "surrogate_slope": st.floats(1.0, 50.0),
    "rate_weight": st.floats(0.0, 1.0),
    "rate_band_hz": st.tuples(st.floats(0.0, 8.0), st.floats(9.0, 40.0)),
    "homeostasis": st.floats(0.0, 3.0),
    "regularity_weight": st.floats(0.0, 1.0),
    "cv_isi_band": st.tuples(st.floats(0.0, 0.7), st.floats(0.8, 3.0)),
    "tau_readout_ms": st.floats(20.0, 200.0),
    "distill_shrinkage": st.floats(1e-3, 0.5),
    "learning_rate": st.floats(1e-4, 0.1),
}


def test_every_setting_is_either_each_replicates_own_or_in_the_key():
    assert set(NUMBERS) == PER_REPLICATE
    shared = set(StudentSettings.model_fields) - PER_REPLICATE
    assert set(json.loads(population_key(SETTINGS))) == shared
    assert shared == {
        "num_neurons",
        "neuron",
        "backend",
        "input",
        "target",
        "input_signs",
        "input_sign_column",
        "fast_spiking_below",
        "input_excitatory_share",
        "input_to",
        "ei_of",
        "ei_per",
        "ei_tolerance",
        "recurrence",
        "learn_tau",
        "rate_per",
        "surrogate",
        "distill",
        "steps",
        "batch_windows",
    }


KINDS = {
    "lif": {},
    "lif that learns its time constants": {"learn_tau": True, "surrogate": "atan"},
    "izhikevich": {"neuron": "izhikevich", "surrogate": "triangular"},
    "gru": {"neuron": "gru"},
}


# Nothing is shrunk: a case that fails names its settings, and shrinking takes many minutes.
@settings(max_examples=15, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(data=st.data(), num_neurons=st.sampled_from([13, 20, 24]))
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_replicate_trains_as_it_would_alone(session, kind, data, num_neurons):
    base = {"num_neurons": num_neurons, "steps": 4, "batch_windows": 3, **KINDS[kind]}
    # Some settings differ and some do not: both must leave each network its own numbers.
    drawn = data.draw(st.lists(st.fixed_dictionaries({}, optional=NUMBERS), min_size=2, max_size=5))
    pack = [Replicate(i, StudentSettings(**base, **own)) for i, own in enumerate(drawn)]
    found = advance(begun(pack, session), session, 4)
    together, left = found.training, list(found.training.replicates)
    chosen = pack[data.draw(st.integers(0, len(pack) - 1))]
    alone = trained(session, [chosen], 4)
    assert list(alone.replicates) == [one for one in left if one is chosen]
    if not alone.replicates:
        return
    index = left.index(chosen)
    spikes, features = simulate_session(together.students, session.counts, session.timeline, left)
    assert_same(together.chosen([index]), alone)
    own = simulate_session(alone.students, session.counts, session.timeline, [chosen])
    if spikes is not None:
        np.testing.assert_array_equal(spikes[index], own[0][0])
    np.testing.assert_array_equal(features[index], own[1][0])


def assert_same(one, other):
    left, right = one.state(), other.state()
    assert left.pop("step") == right.pop("step")
    torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_a_setting_of_each_replicate_changes_its_numbers(session):
    # Adaptation and its time constant, and a band of regularity, matter only where they are on.
    # What types have of their own matters where there is one.
    own = {
        "regularity_weight": 0.5,
        "cv_isi_band": (0.0, 0.3),
        "adaptation": 0.5,
        "type_connection_prob": ((1.0, 1.0, 0.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    }
    fast = SETTINGS.model_copy(update=own | {"learning_rate": 0.1})
    usual = trained(session, [Replicate(0, fast)])
    changed = {
        "dale": False,
        "excitatory_fraction": 0.5,
        "sst_share": 0.5,
        "type_tau_mem_ms": (20.0, 10.0, 20.0),
        "type_adaptation": (0.5, 0.0, 0.5),
        "type_connection_prob": ((0.5, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
        "connection_reach": 0.3,
        "delays_ms": (0.0, 60.0),
        "input_gain": 2.0,
        "input_prob": 0.5,
        "input_share": 0.5,
        "initial_inhibitory_gain": 2.0,
        "initially_balanced": False,
        "ei_balance": 2.0,
        "recurrent_gain": 2.0,
        "connection_prob": 0.5,
        "tau_mem_ms": 30.0,
        "tau_syn_ms": 10.0,
        "adaptation": 1.0,
        "tau_adapt_ms": 50.0,
        "refractory_ms": 30.0,
        "threshold": 2.0,
        "surrogate_slope": 3.0,
        "rate_weight": 0.5,
        "rate_band_hz": (1.0, 3.0),
        "homeostasis": 1.0,
        "regularity_weight": 1.0,
        "cv_isi_band": (0.0, 0.1),
        "tau_readout_ms": 40.0,
        "distill_shrinkage": 0.3,
        "learning_rate": 0.02,
    }
    assert set(changed) == PER_REPLICATE
    for name, value in changed.items():
        pack = [Replicate(0, fast), Replicate(0, fast.model_copy(update={name: value}))]
        students = trained(session, pack).students
        assert torch.equal(students.recurrent[0], usual.students.recurrent[0]), name
        assert not torch.equal(students.recurrent[1], usual.students.recurrent[0]), name


def test_a_replicate_that_leaves_changes_nothing_for_the_others(session):
    pack = [Replicate(seed, SETTINGS) for seed in (0, 1, 2)]
    whole = trained(session, pack)
    first = trained(session, pack, 3)
    left = advance(first.chosen([0, 2]), session, 6).training
    assert_same(left, whole.chosen([0, 2]))
    late = packed([first.chosen([1]), trained(session, [Replicate(9, SETTINGS)], 3)])
    assert_same(advance(late, session, 6).training.chosen([0]), whole.chosen([1]))


def test_a_network_that_blows_up_leaves_and_the_others_go_on(session):
    wild = SETTINGS.model_copy(update={"learning_rate": 1e38, "dale": False})
    pack = [Replicate(0, SETTINGS), Replicate(5, wild), Replicate(1, SETTINGS)]
    found = advance(begun(pack, session), session, 6)
    assert list(found.failed) == [1]
    assert (
        "s: the loss and its gradient must stay finite, but seed 5 failed at step"
        in (found.failed[1])
    )
    assert [one.seed for one in found.training.replicates] == [0, 1]
    assert_same(found.training, trained(session, [pack[0], pack[2]]))
    assert np.isfinite([list(scalars.values()) for scalars in found.scalars]).all()


def test_a_covariance_that_cannot_be_factored_costs_only_its_own_network():
    draw = torch.Generator().manual_seed(0)
    features, latents = torch.randn(2, 50, 4, generator=draw), torch.randn(2, 50, 2, generator=draw)
    whole = squared_canonical_correlation(features, latents, torch.tensor([0.1, 0.1]).double())
    features[0, 0, 0] = torch.nan
    found = squared_canonical_correlation(features, latents, torch.tensor([0.1, 0.1]).double())
    assert torch.isnan(found[0])
    assert torch.equal(found[1], whole[1])


def test_adam_with_equal_learning_rates_is_torchs():
    draw = torch.Generator().manual_seed(0)
    ours = torch.randn(3, 7, 5, generator=draw)
    theirs = ours.clone().requires_grad_()
    first, second = torch.zeros_like(ours), torch.zeros_like(ours)
    reference = torch.optim.Adam([theirs], lr=0.01)
    for step in range(1, 20):
        gradient = torch.randn(3, 7, 5, generator=draw)
        theirs.grad = gradient.clone()
        reference.step()
        rates = torch.full((3,), 0.01, dtype=torch.float64)
        adam_step_([ours], [gradient], [first], [second], rates, step)
        assert torch.equal(ours, theirs)


def test_dale_holds_exactly_after_training_and_can_be_lifted(session):
    free = SETTINGS.model_copy(update={"dale": False, "learning_rate": 0.1})
    students = trained(session, [Replicate(0, SETTINGS), Replicate(0, free)]).students
    obeyed, lifted = dale_violations(students.recurrent, students.signs).tolist()
    assert obeyed == 0
    assert lifted > 0


def test_connections_that_were_not_drawn_never_come_to_be(session):
    sparse = SETTINGS.model_copy(update={"connection_prob": 0.3, "learning_rate": 0.1})
    start = begun([Replicate(seed, sparse) for seed in range(4)], session)
    students = advance(start, session, 6).training.students
    assert torch.equal(students.connected, start.students.connected)
    assert not (students.recurrent[~students.connected] != 0).any()
    off_diagonal = 20 * 19
    assert float(students.connected.sum()) / 4 / off_diagonal == pytest.approx(0.3, abs=0.05)
    assert not students.connected.diagonal(dim1=1, dim2=2).any()


def test_without_connections_there_is_no_recurrence_before_or_after_training(session):
    pack = [Replicate(0, SETTINGS.model_copy(update={"connection_prob": 0.0}))]
    students = trained(session, pack).students
    assert not students.recurrent.any()
    spikes, _ = simulate_session(students, session.counts, session.timeline, pack)
    assert spikes.any()


def test_time_constants_change_only_where_they_are_learned(session):
    fixed = trained(session, [Replicate(0, SETTINGS)]).students
    learned = trained(
        session, [Replicate(0, SETTINGS.model_copy(update={"learn_tau": True}))]
    ).students
    assert torch.equal(fixed.log_tau, torch.full((1, 20), 20.0).log())
    assert float((learned.log_tau - fixed.log_tau).abs().min()) > 0
    assert len(set(learned.log_tau[0].tolist())) == 20


@pytest.mark.parametrize("neuron", ["gru", "izhikevich"])
def test_a_neuron_without_a_membrane_time_constant_learns_none(session, neuron):
    own = SETTINGS.model_copy(update={"neuron": neuron})
    learning = own.model_copy(update={"learn_tau": True})
    assert_same(*(trained(session, [Replicate(0, settings)]) for settings in (own, learning)))


def test_every_kind_of_neuron_that_a_study_may_name_has_its_facts_and_its_dynamics():
    assert set(NEURONS) == set(DYNAMICS) == set(get_args(NeuronName))


@pytest.mark.parametrize("neuron", get_args(NeuronName))
def test_a_kind_has_spikes_and_something_to_train_where_its_facts_say_so(session, neuron):
    pack = [Replicate(0, SETTINGS.model_copy(update={"neuron": neuron}))]
    start = begun(pack, session)
    spikes, features = simulate_session(start.students, session.counts, session.timeline, pack)
    assert (spikes is not None) == NEURONS[neuron].spikes == (neuron in ("lif", "izhikevich"))
    assert bool(start.first) == NEURONS[neuron].is_trained == (neuron != "linear")
    windows = Windows(session.sparse, np.zeros((1, 1), np.int64), 50)
    activity = activity_of(start.students, windows, pack, 10.0)
    smooth, mean = features_of(activity, pack, 10.0, 20)
    # A session begins as a window does: at rest.
    np.testing.assert_allclose(smooth[0, :, 0], features[0, 20:50], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mean[0], activity[0, 20:, 0].mean(dim=0))


@pytest.mark.parametrize("kind", ["linear", "no steps"])
def test_a_network_without_training_is_the_one_it_began_as(session, kind):
    change = {"neuron": "linear"} if kind == "linear" else {"steps": 0}
    pack = [Replicate(0, SETTINGS.model_copy(update=change))]
    start = begun(pack, session)
    assert_same(advance(start, session, pack[0].settings.num_steps).training, start)
    spikes, features = simulate_session(start.students, session.counts, session.timeline, pack)
    if kind == "linear":
        smooth = smoothed_counts(session.counts, session.timeline, 80.0).astype(np.float32)
        assert spikes is None
        np.testing.assert_array_equal(features[0], smooth)


def test_a_shuffled_session_is_the_same_for_every_network_and_keeps_its_latents(session):
    first, second = session.fed("shuffled", 3), session.fed("shuffled", 3)
    np.testing.assert_array_equal(first.counts, second.counts)
    assert not np.array_equal(first.counts, session.fed("shuffled", 4).counts)
    assert (first.counts != session.counts).any()
    assert first.latents is session.latents
    assert session.fed("counts", 3).counts is session.counts


def test_training_resumed_from_its_state_ends_as_if_never_stopped(session):
    pack = [Replicate(0, SETTINGS)]
    again = restored(pack, trained(session, pack, 2).state())
    assert_same(advance(again, session, 6).training, trained(session, pack))


def test_a_session_is_one_unbroken_run_from_rest_in_each_segment(session):
    slow = SETTINGS.model_copy(update={"tau_mem_ms": 5000.0})
    pack = [Replicate(0, slow), Replicate(1, SETTINGS)]
    students = initial_students(pack, session.counts, session.timeline, "s")
    segment = np.repeat([0, 1], [700, 1300]).astype(np.int32)
    line = replace(session.timeline, segment=segment)
    spikes, features = simulate_session(students, session.counts, line, pack)
    for begin, end in ((0, 700), (700, 2000)):
        windows = Windows(session.sparse, np.full((2, 1), begin), end - begin)
        active = activity_of(students, windows, pack, 10.0)
        smooth, _ = features_of(active, pack, 10.0)
        np.testing.assert_array_equal(spikes[:, begin:end], active[:, :, 0])
        np.testing.assert_array_equal(features[:, begin:end], smooth[:, :, 0])
    # Cut in two the slow network is another one: a second from rest does not make up for it.
    cut = [Stretch(0, 0, 1000), Stretch(900, 1000, 2000)]
    broken, _ = simulate_stretches(students, session.counts, pack, cut, 10.0)
    whole, _ = simulate_session(students, session.counts, session.timeline, pack)
    np.testing.assert_array_equal(broken[:, :1000], whole[:, :1000])
    assert (broken[0, 1000:] != whole[0, 1000:]).any()


def test_stretches_of_one_length_or_many_are_each_run_alone(session):
    pack = [Replicate(seed, SETTINGS) for seed in (0, 1)]
    students = initial_students(pack, session.counts, session.timeline, "s")
    stretches = [Stretch(50 * n, 50 * n + n % 3, 50 * n + 50 + n % 2) for n in range(35)]
    spikes, features = simulate_stretches(students, session.counts, pack, stretches, 10.0)
    row = 0
    for one in stretches:
        alone = simulate_stretches(students, session.counts, pack, [one], 10.0)
        kept = slice(row, row + one.end - one.begin)
        np.testing.assert_array_equal(spikes[:, kept], alone[0])
        np.testing.assert_array_equal(features[:, kept], alone[1])
        row = kept.stop
    assert spikes.shape == features.shape == (2, row, 20)


def test_half_silent_and_half_at_40_hz_pays_though_its_mean_is_in_the_band():
    rates_hz = torch.tensor([[0.0, 40.0]])
    low, high = torch.tensor([5.0]), torch.tensor([20.0])
    assert float(rate_penalty(rates_hz, low, high)) == pytest.approx((25 + 400) / 2)


def renewal(cv, num_windows=1500):
    """Spikes (1, T, B, 1) at 20 Hz in windows of 1 s and bins of 1 ms, intervals gamma."""
    draw, shape = np.random.default_rng(0), 1 / cv**2
    spikes = torch.zeros(1, 1000, num_windows, 1)
    for window in range(num_windows):
        times = np.cumsum(draw.gamma(shape, 50 / shape, 150)) - 1000  # long after it began
        bins = torch.from_numpy(times[(times >= 0) & (times < 1000)]).long()
        spikes[0, :, window, 0] = torch.bincount(bins, minlength=1000)
    return spikes


def irregularity(spikes, low=0.0, high=0.0):
    """Mean squared distance of the neurons' CV from a band."""
    return irregularity_penalty(spikes, torch.tensor([low]), torch.tensor([high]))


@pytest.mark.parametrize("cv", [0.3, 0.5, 1.0])
def test_irregularity_is_the_cv_of_a_renewal_process_intervals(cv):
    spikes = renewal(cv)
    found = float(irregularity(spikes).sqrt())
    times = [np.flatnonzero(window) for window in spikes[0, :, :, 0].T]
    intervals = np.concatenate([np.diff(one) for one in times])
    assert found == pytest.approx(intervals.std() / intervals.mean(), rel=1e-3)
    assert found == pytest.approx(cv, rel=0.1)  # less: the longest ones outlast their window


def test_irregularity_costs_outside_its_band_on_both_sides_and_nothing_inside():
    regular, wild = renewal(0.3), renewal(1.5)
    cvs = [float(irregularity(spikes).sqrt()) for spikes in (regular, wild)]
    assert float(irregularity(regular, 0.5, 1.0)) == pytest.approx((0.5 - cvs[0]) ** 2, rel=1e-4)
    assert float(irregularity(wild, 0.5, 1.0)) == pytest.approx((cvs[1] - 1) ** 2, rel=1e-4)
    assert float(irregularity(renewal(0.8), 0.5, 1.0)) == 0


def test_a_neuron_of_few_intervals_takes_no_part_in_irregularity():
    few = torch.zeros(1, 1000, 20, 1)
    few[:, 100, :9] = few[:, 120, :9] = 1  # nine intervals
    both = torch.cat([renewal(1.0, 20), few], dim=-1).requires_grad_()
    cost = irregularity(both)
    (gradient,) = torch.autograd.grad(cost.sum(), both)
    assert float(irregularity(few)) == 0
    torch.testing.assert_close(cost, irregularity(renewal(1.0, 20)))
    assert torch.isfinite(gradient).all()


def cv_of_intervals(spikes):
    """Median over neurons (T, M) of the CV of inter-spike intervals."""
    times = [np.flatnonzero(neuron) for neuron in spikes.T]
    intervals = [np.diff(one) for one in times if len(one) > 50]
    assert len(intervals) > 5
    return np.median([one.std() / one.mean() for one in intervals])


def test_training_with_the_penalty_moves_the_irregularity_of_intervals_into_its_band(session):
    usual = StudentSettings(
        num_neurons=20, steps=120, batch_windows=16, learning_rate=0.02, rate_band_hz=(15, 25)
    )
    bands = [{}, {"cv_isi_band": (0.05, 0.3)}, {"cv_isi_band": (1.4, 3.0)}]
    pack = [
        Replicate(0, usual.model_copy(update=band | {"regularity_weight": 20.0 if band else 0.0}))
        for band in bands
    ]
    students = trained(session, pack, 120).students
    spikes, _ = simulate_session(students, session.counts, session.timeline, pack)
    left, lowered, raised = map(cv_of_intervals, spikes)
    assert 0.5 < left < 1
    assert lowered < 0.4
    assert raised > 1.2


def test_a_linear_map_of_the_latents_has_correlation_one():
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 500, 3, generator=draw)
    features = latents @ torch.randn(3, 3, generator=draw)
    found = float(squared_canonical_correlation(features, latents, torch.tensor([1e-6]).double()))
    assert found == pytest.approx(1, abs=1e-3)


# Linux's own peak of this process; `ru_maxrss` would begin at that of pytest, which forked it.


def test_a_neuron_that_fires_in_no_train_bin_has_no_feature(one_segment):
    """The tail of a spike in the gap, a millionth, is all that varies on train of such a neuron."""
    split = np.repeat([GAP, TRAIN, VALIDATION], [200, 3000, 800])
    line = one_segment(split)
    counts = np.zeros((len(line), 2), np.uint8)
    counts[::20, 0] = 1
    counts[[150, 3500], 1] = 1
    pack = [Replicate(0, StudentSettings(num_neurons=5, recurrence="none", tau_mem_ms=5))]
    students = initial_students(pack, counts, line, "s")
    students.bias.zero_()
    students.input_weights.copy_(3 * torch.eye(2, 5)[None])
    spikes, features = simulate_session(students, counts, line, pack)
    assert spikes[0, 3500, 1]
    assert not spikes[0, line.train, 1].any()
    assert not features[0, :, 1].any()
    assert features[0, line.train, 0].std() > 0.01
