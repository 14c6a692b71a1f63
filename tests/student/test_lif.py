from dataclasses import replace

import numpy as np
import pytest
import snntorch
import torch
from snntorch import surrogate

from rheobase.student.gru import gru_states
from rheobase.student.inputs import SparseCounts, Windows, counts_for
from rheobase.student.izhikevich import CURRENT, izhikevich_spikes, looped_izhikevich
from rheobase.student.lif import Cells, currents_of, lif_spikes, looped_lif, smoothed
from rheobase.student.surrogates import SURROGATES, surrogate_gradient

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def cells(shape, beta=0.6, alpha=0.0, adaptation=0.0, rho=0.9, refractory=0, **shaped):
    """Cells that adapt alike, whose spikes take a bin, or as many as `delays` says of each."""
    replicates, neurons, dtype = shape

    def each(value):
        return torch.full((replicates,), value, dtype=torch.float64)

    return Cells(
        beta=torch.full((replicates, neurons), beta, dtype=dtype),
        threshold=each(1.0),
        alpha=each(alpha),
        adaptation=each(adaptation)[:, None].repeat(1, neurons),
        rho=each(rho),
        delays=shaped.get("delays", torch.ones(replicates, neurons, dtype=torch.int64)),
        refractory=torch.full((replicates,), refractory),
        surrogate=shaped.get("surrogate", "fast_sigmoid"),
        slope=each(shaped.get("slope", 10.0)),
    )


def networks(replicates, windows, bins, units, neurons, dtype, seed=0):
    draw = torch.Generator().manual_seed(seed)
    counts = np.random.default_rng(seed).poisson(0.2, (replicates, windows, bins, units))
    weights = (
        0.4 * torch.randn(replicates, units, neurons, generator=draw, dtype=dtype),
        0.3 * torch.rand(replicates, neurons, generator=draw, dtype=dtype),
        torch.randn(replicates, neurons, neurons, generator=draw, dtype=dtype) / neurons**0.5 / 2,
    )
    # Windows laid end to end as one session.
    session = SparseCounts.of(counts.astype(np.uint8).reshape(-1, units))
    starts = np.arange(replicates * windows).reshape(replicates, windows) * bins
    return Windows(session, starts, bins), weights


def gradients(spikes, weights, upstream):
    return torch.autograd.grad((spikes * upstream).sum(), weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_thousand_steps_equal_snntorchs_leaky_spike_for_spike(dtype):
    windows, (into, bias, recurrent) = networks(1, 3, 1000, 12, 32, dtype)
    ours = lif_spikes(windows, into, bias, recurrent, cells((1, 32, dtype)))[0]
    leaky = snntorch.Leaky(beta=0.6, reset_mechanism="subtract")
    potential, fired = torch.zeros(3, 32, dtype=dtype), torch.zeros(3, 32, dtype=dtype)
    for t, counts in enumerate(windows.dense(CPU)[0].to(dtype)):
        given = counts @ into[0] + bias[0] + fired.to(dtype) @ recurrent[0]
        fired, potential = leaky(given, potential)
        assert torch.equal(ours[t], fired.to(dtype)), t
    assert 0.05 < float(ours.mean()) < 0.5


def test_a_synapse_makes_it_snntorchs_synaptic():
    dtype = torch.float64
    windows, (into, bias, recurrent) = networks(1, 2, 300, 12, 20, dtype)
    ours = lif_spikes(windows, into, bias, recurrent, cells((1, 20, dtype), alpha=0.7))[0]
    synaptic = snntorch.Synaptic(alpha=0.7, beta=0.6, reset_mechanism="subtract")
    current = potential = fired = torch.zeros(2, 20, dtype=dtype)
    theirs = []
    for counts in windows.dense(CPU)[0].to(dtype):
        given = counts @ into[0] + bias[0] + fired.to(dtype) @ recurrent[0]
        fired, current, potential = synaptic(given, current, potential)
        theirs.append(fired)
    assert torch.equal(ours, torch.stack(theirs).to(dtype))


@pytest.mark.parametrize(
    ("name", "reference"),
    [("fast_sigmoid", surrogate.fast_sigmoid(10)), ("atan", surrogate.atan(alpha=10))],
)
def test_gradients_equal_autograds_through_a_plain_snntorch_loop(name, reference):
    dtype = torch.float64
    windows, weights = networks(1, 3, 60, 12, 16, dtype)
    for tensor in weights:
        tensor.requires_grad_()
    upstream = torch.randn(60, 3, 16, generator=torch.Generator().manual_seed(1), dtype=dtype)
    ours = lif_spikes(windows, *weights, cells((1, 16, dtype), surrogate=name))[0]
    leaky = snntorch.Leaky(beta=0.6, spike_grad=reference, reset_mechanism="subtract")
    potential = fired = torch.zeros(3, 16, dtype=dtype)
    theirs = []
    for counts in windows.dense(CPU)[0].to(dtype):
        given = counts @ weights[0][0] + weights[1][0] + fired.to(dtype) @ weights[2][0]
        fired, potential = leaky(given, potential)
        theirs.append(fired.to(dtype))
    assert torch.equal(ours, torch.stack(theirs))
    found = gradients(ours, weights, upstream)
    expected = gradients(torch.stack(theirs), weights, upstream)
    for one, other in zip(found, expected, strict=True):
        assert float(other.abs().max()) > 0
        # snntorch casts some constants to float32, so gradients agree to single precision.
        assert float((one - other).abs().max()) < 1e-5 * float(other.abs().max())


DELAYS = torch.stack([1 + torch.arange(17) % 5, 1 + torch.arange(17) % 2])
KINDS = {
    "plain": {},
    "synapse": {"alpha": 0.5},
    "adaptive": {"adaptation": 0.8, "rho": 0.9},
    "refractory": {"refractory": 2},
    "all": {"alpha": 0.4, "adaptation": 0.5, "rho": 0.8, "refractory": 1},
    "delayed": {"delays": DELAYS},
    "delayed and all": {"delays": DELAYS, "alpha": 0.4, "adaptation": 0.5, "refractory": 1},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_compiled_loops_equal_autograd(kind, surrogate):
    dtype = torch.float64
    windows, weights = networks(2, 3, 50, 9, 17, dtype)
    made = cells((2, 17, dtype), surrogate=surrogate, slope=1.5, **KINDS[kind])
    beta = torch.linspace(0.3, 0.9, 34, dtype=dtype).view(2, 17)
    made = replace(made, beta=beta, adaptation=made.adaptation * torch.linspace(0, 2, 17))
    changing = [*weights, made.beta]
    for tensor in changing:
        tensor.requires_grad_()
    upstream = torch.randn(2, 50, 3, 17, generator=torch.Generator().manual_seed(1), dtype=dtype)
    compiled = lif_spikes(windows, *weights, made)
    currents = currents_of(windows.dense(CPU), weights[0], weights[1])
    looped = looped_lif(currents, weights[2], made)
    assert torch.equal(compiled, looped)
    assert 0.02 < float(compiled.detach().mean()) < 0.6
    expected = gradients(looped, changing, upstream)
    for one, other in zip(gradients(compiled, changing, upstream), expected, strict=True):
        assert float(other.abs().max()) > 0
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_neuron_waits_out_its_refractory_period():
    silence = SparseCounts.of(np.zeros((30, 1), np.uint8))
    driven = Windows(silence, np.zeros((1, 1), np.int64), 30)
    nothing = torch.zeros(1, 1, 1), torch.full((1, 1), 50.0), torch.zeros(1, 1, 1)
    for bins in range(4):
        made = cells((1, 1, torch.float32), refractory=bins)
        fired = np.flatnonzero(lif_spikes(driven, *nothing, made).flatten())
        assert set(np.diff(fired)) == {bins + 1}


def test_an_adaptive_neuron_slows_down_under_a_steady_current():
    silence = SparseCounts.of(np.zeros((200, 1), np.uint8))
    driven = Windows(silence, np.zeros((1, 1), np.int64), 200)
    nothing = torch.zeros(1, 1, 1), torch.full((1, 1), 0.9), torch.zeros(1, 1, 1)
    steady, slowed = (
        lif_spikes(driven, *nothing, cells((1, 1, torch.float32), adaptation=gain, rho=0.98))
        for gain in (0.0, 4.0)
    )
    intervals = np.diff(np.flatnonzero(slowed.flatten()))
    assert set(np.diff(np.flatnonzero(steady.flatten())[1:])) <= {1, 2, 3}
    assert intervals[-1] >= 2 * intervals[0]


def test_known_answers_of_each_surrogate():
    distance = torch.tensor([-2.0, -0.5, 0.0, 0.25], dtype=torch.float64)
    slope = torch.tensor([2.0]).double()
    expected = {
        "fast_sigmoid": [1 / 25, 1 / 4, 1, 1 / 2.25],
        "atan": 1 / (1 + (np.pi * np.array([-2.0, -0.5, 0.0, 0.25])) ** 2),
        "straight_through": [0, 1, 1, 1],
        "triangular": [0, 0, 1, 0.5],
    }
    assert set(expected) == set(SURROGATES)
    for name, values in expected.items():
        found = surrogate_gradient(distance, name, slope)
        np.testing.assert_allclose(found, values, rtol=1e-12, err_msg=name)


def test_the_readouts_filter_is_its_recursion_and_its_gradient_autograds():
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(2, 40, 3, 5, generator=draw, dtype=torch.float64).requires_grad_()
    decay = torch.tensor([0.9, 0.5], dtype=torch.float64)
    state, expected = torch.zeros(2, 3, 5, dtype=torch.float64), []
    for t in range(40):
        state = decay[:, None, None] * state + (1 - decay)[:, None, None] * values[:, t]
        expected.append(state)
    upstream = torch.randn(2, 40, 3, 5, generator=draw, dtype=torch.float64)
    for first in (0, 7):
        found = smoothed(values, decay, first)
        plain = torch.stack(expected, 1)[:, first:], values[:, first:].mean(dim=(1, 2))
        pulled = []
        for smooth, mean in (found, plain):
            whole = (smooth * upstream[:, first:]).sum() + (mean * upstream[:, 0, 0]).sum()
            pulled.append(torch.autograd.grad(whole, values, retain_graph=True)[0])
        for one, other in [*zip(found, plain, strict=True), tuple(pulled)]:
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def izhikevich_alone(current, cell, bins):
    """Integrate one neuron in plain Python; return its spike times in ms."""
    a, b, c, d = cell
    v, u, times = -65.0, -65.0 * b, []
    for ms in range(bins * 10):
        for _ in range(2):
            v = min(30.0, v + 0.5 * (0.04 * v * v + 5 * v + 140 - u + current))
        u += a * (b * v - u)
        if v >= 30:
            v, u = c, u + d
            times.append(ms)
    return times


def test_izhikevich_neurons_fire_as_the_equations_say_and_inhibitory_ones_faster():
    bins, currents = 100, torch.tensor([3.0, 6.0, 10.0, 14.0])
    fed = (currents / CURRENT).repeat(2).double().expand(1, bins, 1, 8)
    signs = torch.tensor([[1.0] * 4 + [-1.0] * 4])
    slope = torch.ones(1).double()
    none = torch.zeros(1, 8, 8, dtype=torch.float64)
    fired = izhikevich_spikes(fed, none, signs, 10.0, "fast_sigmoid", slope)[0, :, 0]
    kinds = [(0.02, 0.2, -65.0, 8.0)] * 4 + [(0.1, 0.2, -65.0, 2.0)] * 4
    for neuron, cell in enumerate(kinds):
        times = izhikevich_alone(float(currents.repeat(2)[neuron]), cell, bins)
        expected = np.bincount(np.array(times, int) // 10, minlength=bins)
        np.testing.assert_array_equal(fired[:, neuron], expected, err_msg=str(neuron))
    regular, fast = fired.sum(0)[:4], fired.sum(0)[4:]
    assert regular[0] == 0
    assert (np.diff(regular) > 0).all()
    assert (fast[1:] > 2 * regular[1:]).all()


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_compiled_izhikevich_loops_equal_autograd(surrogate):
    draw, dtype = torch.Generator().manual_seed(0), torch.float64
    currents = 2 * torch.rand(2, 20, 3, 6, generator=draw, dtype=dtype)
    recurrent = 0.3 * torch.randn(2, 6, 6, generator=draw, dtype=dtype)
    signs = torch.tensor([[1.0, 1, 1, 1, -1, -1]] * 2)
    shaped = surrogate, torch.tensor([5.0, 1.0]).double()
    changing = currents.requires_grad_(), recurrent.requires_grad_()
    upstream = torch.randn(2, 20, 3, 6, generator=draw, dtype=dtype)
    compiled = izhikevich_spikes(*changing, signs, 10.0, *shaped)
    looped = looped_izhikevich(*changing, signs, 10.0, *shaped)
    assert torch.equal(compiled, looped)
    assert float(compiled.detach().mean()) > 0.05
    expected = gradients(looped, changing, upstream)
    for one, other in zip(gradients(compiled, changing, upstream), expected, strict=True):
        assert float(other.abs().max()) > 0
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_gated_units_are_torchs_gru():
    draw = torch.Generator().manual_seed(0)
    theirs = torch.nn.GRU(5, 7)
    counts = torch.randn(30, 4, 5, generator=draw)
    with torch.no_grad():
        theirs.bias_hh_l0.zero_()
        expected, _ = theirs(counts)
        into, recurrent = theirs.weight_ih_l0.T[None], theirs.weight_hh_l0.T[None]
        ours = gru_states(counts[None], into, theirs.bias_ih_l0[None], recurrent)
    torch.testing.assert_close(ours[0], expected, rtol=1e-5, atol=1e-6)


def test_shuffled_counts_keep_each_units_counts_and_lose_what_units_share():
    draw = np.random.default_rng(0)
    common = draw.gamma(1.0, 0.5, (4000, 1))
    counts = draw.poisson(common * np.ones((1, 2))).astype(np.uint8)
    other = counts_for("shuffled", counts, "s", 1)
    np.testing.assert_array_equal(np.sort(other, axis=0), np.sort(counts, axis=0))
    assert np.corrcoef(counts.T)[0, 1] > 0.2
    assert abs(np.corrcoef(other.T)[0, 1]) < 0.06
