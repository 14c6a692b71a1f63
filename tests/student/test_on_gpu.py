"""Students on a GPU: the numbers of the CPU, and how near.

Of the same weights, spikes of LIF neurons are equal bit for bit, in float32 too: both add in one
order. Sums of the loss and its gradient have another order there, and a spike that flips after some
steps makes another network of it. So whole trainings are compared in float64, where rounding is too
small to flip one, and float32 is held to its first step, and to losses.
"""

import io
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from rheobase.student.distill import carried_by
from rheobase.student.fit import Training, TrainingData, advance, begun, restored
from rheobase.student.gru import gru_states
from rheobase.student.inputs import SparseCounts, Windows
from rheobase.student.lif import Cells, currents_of, lif_spikes, looped_lif, smoothed
from rheobase.student.network import activity_of, features_of, simulate_session
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate, Students
from rheobase.student.surrogates import SURROGATES

pytestmark = pytest.mark.gpu
STEPS = 12
KINDS = {
    "lif": {},
    "every part of a lif neuron": {
        "tau_syn_ms": 8.0,
        "adaptation": 0.5,
        "refractory_ms": 25.0,
        "learn_tau": True,
        "surrogate": "atan",
    },
    "signed inputs and a held balance": {
        "ei_balance": 1.2,
        "input_signs": "by_unit",
        "input_sign_column": "",
        "input_prob": 0.7,
        "surrogate": "triangular",
    },
    "each neuron's balance of weights": {
        "ei_balance": 0.8,
        "ei_of": "weights",
        "ei_per": "neuron",
        "surrogate": "straight_through",
    },
    "fixed recurrence": {"recurrence": "fixed", "connection_prob": 0.5, "dale": False},
    "irregular": {"regularity_weight": 0.5, "cv_isi_band": (0.0, 0.3)},
    "readout": {"distill": "readout"},
    "procrustes": {"distill": "procrustes"},
    "cka": {"distill": "cka"},
    "rsa": {"distill": "rsa"},
    "izhikevich": {"neuron": "izhikevich", "surrogate": "triangular"},
    "gru": {"neuron": "gru"},
}
SPIKING = [kind for kind in KINDS if kind != "gru"]


@pytest.fixture(scope="module")
def session(one_segment):
    draw = np.random.default_rng(0)
    torch.set_num_threads(1)
    counts = draw.poisson(0.1, (3000, 30)).astype(np.uint8)
    line = one_segment(np.where(np.arange(3000) < 2400, 0, 1))
    latents = draw.standard_normal((3000, 3)).astype(np.float32)
    return TrainingData("s", counts, latents, line, 500.0)


def pack_of(kind, num=3):
    own = {"num_neurons": 40, "steps": STEPS, "batch_windows": 6, **KINDS[kind]}
    each = [own | {"tau_mem_ms": 20.0 + 5 * seed, "learning_rate": 0.01} for seed in range(num)]
    return [Replicate(seed, StudentSettings(**one)) for seed, one in enumerate(each)]


def moved(training, device, dtype):
    def one(tensor):
        return tensor.to(device, dtype if tensor.is_floating_point() else None)

    students = Students(**{name: one(tensor) for name, tensor in vars(training.students).items()})
    moments = (tuple(map(one, tensors)) for tensors in (training.first, training.second))
    return Training(training.replicates, training.step, students, *moments)


def losses(training, session, num_steps):
    found = []
    for step in range(1, num_steps + 1):
        training, scalars, failed = advance(training, session, step)
        assert not failed
        found.append([one["loss"] for one in scalars])
    return training, np.array(found)


def test_what_is_trained_here_is_on_the_gpu(session):
    assert begun(pack_of("lif"), session).students.bias.is_cuda


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_in_double_precision_is_that_of_the_cpu(session, kind):
    start = begun(pack_of(kind), session)
    on_gpu, theirs = losses(moved(start, "cuda", torch.float64), session, STEPS)
    on_cpu, ours = losses(moved(start, "cpu", torch.float64), session, STEPS)
    np.testing.assert_allclose(theirs, ours, rtol=1e-7)
    assert (ours[-1] != ours[0]).all()
    for field in fields(Students):
        one, other = getattr(on_gpu.students, field.name), getattr(on_cpu.students, field.name)
        torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-7, msg=field.name)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_in_single_precision_are_near_those_of_the_cpu(session, kind):
    start = begun(pack_of(kind), session)
    _, theirs = losses(moved(start, "cuda", torch.float32), session, STEPS)
    _, ours = losses(moved(start, "cpu", torch.float32), session, STEPS)
    np.testing.assert_allclose(theirs[0], ours[0], rtol=1e-4)
    # An Izhikevich neuron's upstroke multiplies a rounding by hundreds before each spike.
    np.testing.assert_allclose(theirs, ours, rtol=0.2 if kind == "izhikevich" else 0.02)


def test_no_product_of_a_gated_network_is_rounded_to_half_precision(session):
    begun(pack_of("gru"), session)  # brings cuDNN to single precision
    draw = torch.Generator().manual_seed(0)
    counts = torch.randn(1, 100, 32, 200, generator=draw, dtype=torch.float64)
    into = torch.randn(1, 200, 384, generator=draw, dtype=torch.float64) / 14
    recurrent = torch.randn(1, 128, 384, generator=draw, dtype=torch.float64) / 11
    weights = into, torch.zeros(1, 384, dtype=torch.float64), recurrent
    expected = gru_states(counts, *weights)
    found = gru_states(counts.float().cuda(), *(one.float().cuda() for one in weights))
    assert float((found.cpu() - expected).abs().max()) < 5e-5  # 1e-3 of rounded ones


@pytest.mark.parametrize("kind", SPIKING)
def test_spikes_of_the_same_weights_are_those_of_the_cpu(session, kind):
    start = begun(pack_of(kind), session)
    trained = advance(start, session, 5).training
    windows = Windows(session.sparse, np.arange(30).reshape(3, 10) * 70, 50)
    pack = trained.replicates
    with torch.no_grad():
        here = activity_of(trained.students, windows, pack, 10.0)
        there = activity_of(moved(trained, "cpu", torch.float32).students, windows, pack, 10.0)
    assert 0.01 < float(there.mean()) < 2
    if pack[0].settings.neuron == "lif":
        assert torch.equal(here.cpu(), there)
    assert float((here.cpu() != there).float().mean()) < 1e-3
    for one, other in zip(
        features_of(here, pack, 10.0, 10), features_of(here.cpu(), pack, 10.0, 10), strict=True
    ):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("kind", ["plain", "all"])
@pytest.mark.parametrize("neurons", [17, 128, 300, 600])
def test_kernels_equal_autograd(kind, surrogate, neurons):
    for dtype, nearly in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
        check_kernels(kind, surrogate, neurons, dtype, nearly)


def check_kernels(kind, surrogate, neurons, dtype, nearly):
    draw = torch.Generator().manual_seed(0)
    counts = np.random.default_rng(0).poisson(0.2, (2, 19, 40, 9)).astype(np.uint8)
    weights = (
        0.4 * torch.randn(2, 9, neurons, generator=draw, dtype=dtype),
        0.3 * torch.rand(2, neurons, generator=draw, dtype=dtype),
        torch.randn(2, neurons, neurons, generator=draw, dtype=dtype) / neurons**0.5 / 2,
    )
    windows = Windows(SparseCounts.of(counts.reshape(-1, 9)), np.arange(38).reshape(2, 19) * 40, 40)
    alpha, gain, wait = (0.4, 0.5, 1) if kind == "all" else (0.0, 0.0, 0)

    def each(value):
        return torch.full((2,), value, dtype=torch.float64)

    changing = [one.cuda().requires_grad_() for one in weights]
    beta = torch.linspace(0.3, 0.9, 2 * neurons, dtype=dtype).view(2, -1).cuda().requires_grad_()
    cells = Cells(
        beta=beta,
        threshold=each(1.0),
        alpha=each(alpha),
        adaptation=each(gain)[:, None].repeat(1, neurons),
        rho=each(0.8),
        delays=torch.ones(2, neurons, dtype=torch.int64),
        refractory=torch.full((2,), wait),
        surrogate=surrogate,
        slope=each(1.5),
    )
    fused = lif_spikes(windows, *changing, cells)
    on_cpu = replace(cells, beta=beta.detach().cpu())
    assert torch.equal(fused.detach().cpu(), lif_spikes(windows, *weights, on_cpu))
    assert 0.02 < float(fused.detach().mean()) < 0.6
    looped = looped_lif(currents_of(windows.dense(beta.device), *changing[:2]), changing[2], cells)
    if not torch.equal(fused, looped):
        # Of other sums a spike may flip; then both are other networks, and so are gradients.
        assert dtype == torch.float32
        assert float((fused != looped).float().mean()) < 1e-2
        return
    upstream = torch.randn(fused.shape, generator=draw, dtype=dtype).cuda()
    found, expected = (
        torch.autograd.grad((spikes * upstream).sum(), [*changing, beta])
        for spikes in (fused, looped)
    )
    for one, other in zip(found, expected, strict=True):
        worst = float(other.abs().max())
        assert worst > 0
        assert float((one - other).abs().max()) < nearly * worst


def test_the_readouts_filter_and_its_gradient_are_those_of_the_cpu():
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(2, 40, 3, 300, generator=draw, dtype=torch.float64)
    decay = torch.tensor([0.9, 0.5], dtype=torch.float64)
    for first in (0, 7):
        found = []
        for device in ("cpu", "cuda"):
            fed = values.to(device).requires_grad_()
            smooth, mean = smoothed(fed, decay, first)
            (pulled,) = torch.autograd.grad(smooth.square().sum() + (mean**3).sum(), fed)
            found.append([one.cpu() for one in (smooth, mean, pulled)])
        torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_networks_beside_it_change_no_spike_and_no_gradient_of_a_network(session):
    # Odd numbers, so that networks' arrays begin anywhere.
    pack = pack_of("every part of a lif neuron", num=5)
    pack = [Replicate(i, own.model_copy(update={"num_neurons": 41})) for i, own in pack]
    start = begun(pack, session)
    windows = Windows(session.sparse, np.arange(45).reshape(5, 9) * 40, 49)
    found = []
    for rows in (range(5), [3]):
        part = start.chosen(rows)
        students = part.students
        changing = students.input_weights, students.recurrent, students.bias, students.log_tau
        for tensor in changing:
            tensor.requires_grad_()
        some = Windows(windows.counts, windows.starts[list(rows)], 49)
        spikes = activity_of(students, some, part.replicates, 10.0)
        features, _ = features_of(spikes, part.replicates, 10.0, 10)
        gradients = torch.autograd.grad(features.square().sum(), changing)
        place = list(rows).index(3)
        found.append([one[place] for one in (spikes, features, *gradients)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_a_packed_network_trains_as_alone_to_rounding(session):
    start = moved(begun(pack_of("lif", num=5), session), "cuda", torch.float64)
    together, alone = advance(start, session, STEPS), advance(start.chosen([3]), session, STEPS)
    one, other = together.training.chosen([3]).students, alone.training.students
    torch.testing.assert_close(one.recurrent, other.recurrent, rtol=1e-6, atol=1e-8)


def test_a_network_that_blows_up_leaves_and_the_others_go_on(session):
    pack = pack_of("lif")
    wild = pack[1].settings.model_copy(update={"learning_rate": 1e38, "dale": False})
    found = advance(begun([pack[0], Replicate(5, wild), pack[2]], session), session, STEPS)
    assert list(found.failed) == [1]
    assert np.isfinite([list(one.values()) for one in found.scalars]).all()


def test_a_covariance_that_cannot_be_factored_costs_only_its_own_network():
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(2, 50, 4, generator=draw).cuda()
    latents = torch.randn(2, 50, 2, generator=draw).cuda()
    features[0, 0, 0] = torch.nan
    shrinkage = torch.tensor([0.1, 0.1]).double().cuda()
    for distill in ("cca", "readout", "procrustes", "cka", "rsa"):
        found = carried_by(distill, features, latents, shrinkage)
        assert found.isnan().tolist() == [True, False], distill


def test_a_session_is_run_with_the_same_numbers_wherever_its_network_was_trained(session):
    trained = advance(begun(pack_of("lif"), session), session, 5).training
    copy = moved(trained, "cpu", torch.float32)
    found, expected = (
        simulate_session(one.students, session.counts, session.timeline, one.replicates)
        for one in (trained, copy)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_of_the_gpu_goes_on_anywhere(session):
    pack = pack_of("lif")
    half = advance(begun(pack, session), session, 3).training
    content = io.BytesIO()
    torch.save(half.state(), content)
    content.seek(0)
    state = torch.load(content, map_location="cpu", weights_only=True)
    assert not state["students"]["bias"].is_cuda
    again = restored(pack, state)
    assert torch.equal(again.students.recurrent, half.students.recurrent)
    ends = [advance(one, session, STEPS) for one in (half, again)]
    assert ends[0].scalars == ends[1].scalars
    on_cpu = advance(moved(again, "cpu", torch.float32), session, STEPS)
    assert on_cpu.scalars[0]["loss"] == pytest.approx(ends[0].scalars[0]["loss"], rel=0.02)
