import numpy as np
import pytest
import snntorch
import torch
from snntorch import surrogate

from rheobase.shards.timeline import Timeline
from rheobase.student.dale import dale_violations
from rheobase.student.distill import squared_canonical_correlation
from rheobase.student.fit import fit_students
from rheobase.student.lif import recurrent_lif
from rheobase.student.network import initial_students, simulate_session
from rheobase.student.rates import rate_penalty
from rheobase.student.settings import StudentSettings

SETTINGS = StudentSettings(num_neurons=20, steps=6, batch_windows=4)


@pytest.fixture(scope="module")
def session():
    draw = np.random.default_rng(0)
    counts = draw.poisson(0.1, (2000, 12)).astype(np.uint8)
    zeros = np.zeros(2000, np.int32)
    line = Timeline(
        "continuous",
        10.0,
        np.arange(2000) / 100,
        zeros,
        np.where(np.arange(2000) < 1500, 0, 1).astype(np.int8),
        zeros,
        np.full(2000, ""),
        zeros,
        zeros,
    )
    return counts, draw.standard_normal((2000, 3)).astype(np.float32), line


@pytest.mark.parametrize(
    ("name", "reference"),
    [("fast_sigmoid", surrogate.fast_sigmoid(10)), ("atan", surrogate.atan(alpha=10))],
)
def test_spikes_and_gradients_equal_a_plain_snntorch_loop(name, reference):
    draw = torch.Generator().manual_seed(0)
    currents = 0.1 + 0.4 * torch.randn(60, 2, 3, 16, generator=draw, dtype=torch.float64)
    weights = torch.randn(2, 16, 16, generator=draw, dtype=torch.float64) / 8
    upstream = torch.randn(60, 2, 3, 16, generator=draw, dtype=torch.float64)
    leaky = snntorch.Leaky(beta=0.6, spike_grad=reference, reset_mechanism="subtract")

    def loop(currents, weights):
        potential = spike = torch.zeros(2, 3, 16, dtype=torch.float64)
        spikes = []
        for current in currents:
            spike, potential = leaky(current + spike.double() @ weights, potential)
            spikes.append(spike.double())
        return torch.stack(spikes)

    def ours(currents, weights):
        return recurrent_lif(currents, weights, beta=0.6, threshold=1.0, surrogate=name, slope=10.0)

    found = []
    for run in (ours, loop):
        inputs = currents.clone().requires_grad_(), weights.clone().requires_grad_()
        spikes = run(*inputs)
        (spikes * upstream).sum().backward()
        found.append((spikes.detach(), *(tensor.grad for tensor in inputs)))
    assert found[0][0].sum() > 0
    assert torch.equal(found[0][0], found[1][0])
    # snntorch casts some constants to float32, so gradients agree to single precision.
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-5, atol=1e-5)


def test_a_packed_replicate_trains_as_it_would_alone(session):
    counts, latents, line = session
    fitted = [
        fit_students(counts, latents, line, SETTINGS, 500.0, seeds, "s") for seeds in ((4, 7), (7,))
    ]
    assert torch.equal(fitted[0].recurrent[1], fitted[1].recurrent[0])
    assert torch.equal(fitted[0].input_weights[1], fitted[1].input_weights[0])


def test_dale_holds_exactly_after_training_and_can_be_lifted(session):
    counts, latents, line = session
    obeyed = fit_students(counts, latents, line, SETTINGS, 500.0, (0,), "s")
    assert dale_violations(obeyed.recurrent, obeyed.signs).tolist() == [0]
    free = SETTINGS.model_copy(update={"dale": False, "learning_rate": 0.1})
    lifted = fit_students(counts, latents, line, free, 500.0, (0,), "s")
    assert dale_violations(lifted.recurrent, lifted.signs).item() > 0


def test_training_resumed_from_a_report_ends_as_if_never_stopped(session):
    counts, latents, line = session
    states = {}
    whole = fit_students(
        counts, latents, line, SETTINGS, 500.0, (0,), "s",
        on_report=lambda step, _, state: states.setdefault(step, state()),
    )  # fmt: skip
    again = fit_students(counts, latents, line, SETTINGS, 500.0, (0,), "s", resume=states[1])
    assert torch.equal(whole.recurrent, again.recurrent)


def test_simulation_in_pieces_gives_every_bin_a_value(session):
    counts, _, line = session
    students = initial_students(SETTINGS, counts, line.train, (0, 1), "s")
    spikes, features = simulate_session(students, counts, line, SETTINGS)
    assert spikes.shape == features.shape == (2, 2000, 20)
    assert set(np.unique(spikes)) == {0, 1}
    assert np.isfinite(features).all()


def test_half_silent_and_half_at_40_hz_pays_though_its_mean_is_in_the_band():
    spikes = torch.zeros(100, 1, 1, 2)
    spikes[::5, :, :, 1] = 1
    assert float(spikes.mean() * 1000 / 5) == pytest.approx(20.0)
    assert float(rate_penalty(spikes, 5.0, (5.0, 20.0))) == pytest.approx((25 + 400) / 2)


def test_a_linear_map_of_the_latents_has_correlation_one():
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 500, 3, generator=draw)
    features = latents @ torch.randn(3, 3, generator=draw)
    found = float(squared_canonical_correlation(features, latents, 1e-6))
    assert found == pytest.approx(1, abs=1e-3)
