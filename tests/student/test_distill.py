import math

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard, orthogonal_procrustes
from scipy.spatial.distance import pdist

from rheobase.student.distill import (
    MOST_RSA_SAMPLES,
    carried_by,
    procrustes_cosine,
    rsa_correlation,
)
from rheobase.student.fit import TrainingData, advance, begun
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate

KINDS = ("cca", "readout", "procrustes", "cka", "rsa")
TO_ROTATION = ("procrustes", "cka", "rsa")
HARDLY = 1e-9  # shrinkage


def pair(num_samples=300, neurons=7, dims=3, replicates=1, seed=0):
    """Features that carry the latents in part."""
    draw = torch.Generator().manual_seed(seed)
    latents = torch.randn(replicates, num_samples, dims, generator=draw).double()
    features = torch.randn(replicates, num_samples, neurons, generator=draw).double()
    features[..., :dims] += latents * torch.tensor([2.0, 1.0, 0.5])[:dims]
    return 0.3 + features, latents


def of_one(kind, features, latents, shrinkage=HARDLY):
    share = torch.full((len(features),), shrinkage, dtype=torch.float64)
    return carried_by(kind, features, latents, share)


def turned(size, seed=1):
    draw = np.random.default_rng(seed).standard_normal((size, size))
    return torch.from_numpy(np.linalg.qr(draw)[0])


def stretched(size):
    return torch.diag(torch.linspace(0.2, 5, size).double()) @ turned(size)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_the_latents_carries_all(kind):
    _, latents = pair()
    assert float(of_one(kind, 3 * latents @ turned(3) + 1, latents)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_features_that_never_vary_carry_nothing_and_leave_a_finite_gradient(kind):
    features, latents = torch.zeros(1, 300, 7, requires_grad=True), pair()[1].float()
    found = of_one(kind, features, latents, 0.01)
    (gradient,) = torch.autograd.grad(found.sum(), features)
    assert float(found.detach()) == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rotation_shift_and_scale_of_the_features_change_nothing(kind):
    features, latents = pair()
    whole = of_one(kind, features, latents)
    torch.testing.assert_close(of_one(kind, 4 * features @ turned(7) - 2, latents), whole)


@pytest.mark.parametrize("kind", ["cca", "readout"])
def test_any_invertible_map_of_the_features_changes_nothing_where_a_readout_may_be_any(kind):
    features, latents = pair()
    found = of_one(kind, features @ stretched(7), latents)
    torch.testing.assert_close(found, of_one(kind, features, latents), rtol=1e-4, atol=1e-4)


def test_a_mixture_of_the_latents_changes_a_readout_and_not_cca():
    features, latents = pair()
    mixed = latents @ stretched(3)
    torch.testing.assert_close(
        of_one("cca", features, mixed), of_one("cca", features, latents), rtol=1e-4, atol=1e-4
    )
    change = of_one("readout", features, mixed) - of_one("readout", features, latents)
    assert abs(float(change)) > 0.02


@pytest.mark.parametrize("kind", TO_ROTATION)
def test_stretching_changes_what_asks_for_the_same_shape(kind):
    features, latents = pair()
    changed = float(of_one(kind, features @ stretched(7), latents))
    assert abs(changed - float(of_one(kind, features, latents))) > 0.02
    assert float(of_one(kind, latents @ stretched(3), latents)) < 0.98
    assert float(of_one("cca", latents @ stretched(3), latents)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_each_equals_its_formula_in_numpy(kind):
    features, latents = pair(neurons=5)
    x, y = (side[0].numpy() - side[0].numpy().mean(axis=0) for side in (features, latents))
    if kind == "cca":
        left, right = (np.linalg.qr(side)[0] for side in (x, y))
        expected = np.mean(np.linalg.svd(left.T @ right, compute_uv=False) ** 2)
    elif kind == "readout":
        left_over = y - x @ np.linalg.lstsq(x, y)[0]
        expected = np.mean(1 - (left_over**2).sum(axis=0) / (y**2).sum(axis=0))
    elif kind == "procrustes":
        wide = np.pad(y, ((0, 0), (0, 2)))
        rotation, _ = orthogonal_procrustes(x, wide)
        expected = (x @ rotation * wide).sum() / np.linalg.norm(x) / np.linalg.norm(y)
    elif kind == "cka":
        expected = np.linalg.norm(x.T @ y) ** 2
        expected /= np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    else:
        chosen = [i * 300 // MOST_RSA_SAMPLES for i in range(MOST_RSA_SAMPLES)]
        distances = [pdist(side[chosen], "sqeuclidean") for side in (x, y)]
        expected = np.corrcoef(*distances)[0, 1]
    assert 0.1 < expected < 0.95
    assert float(of_one(kind, features, latents)) == pytest.approx(expected, abs=1e-6)


def test_shrinkage_costs_a_readout_what_the_ridge_costs():
    features, latents = pair()
    x, y = (side[0].numpy() - side[0].numpy().mean(axis=0) for side in (features, latents))
    covariance = x.T @ x / 300
    ridge = 0.7 * covariance + 0.3 * np.trace(covariance) / 7 * np.eye(7)
    left_over = y - x @ np.linalg.solve(ridge, x.T @ y / 300)
    expected = np.mean(1 - (left_over**2).sum(axis=0) / (y**2).sum(axis=0))
    found = float(of_one("readout", features, latents, 0.3))
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_number(kind):
    features, latents = pair(num_samples=12, neurons=4, dims=2, replicates=2)
    shrinkage = torch.tensor([0.1, 0.3], dtype=torch.float64)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: carried_by(kind, x, latents, shrinkage), (features,))


def test_a_latent_that_never_varies_counts_nothing_for_a_readout():
    features, latents = pair()
    latents[..., 0] = 2.0
    left = of_one("readout", features, latents[..., 1:])
    torch.testing.assert_close(of_one("readout", features, latents), left * 2 / 3)


def test_procrustes_has_a_gradient_where_singular_values_coincide_or_vanish():
    white = torch.from_numpy(hadamard(8)[None, :, 1:]).double()  # exactly, for rounding hides it
    latents = white[..., :3]
    nothing_shared = torch.cat([latents[..., :1], white[..., 3:5]], dim=2)
    for features, expected in ((latents + 0, 1.0), (nothing_shared, 1 / 3)):
        features.requires_grad_()
        cosine = procrustes_cosine(features, latents)
        (gradient,) = torch.autograd.grad(cosine.sum(), features)
        assert float(cosine.detach()) == pytest.approx(expected)
        assert torch.isfinite(gradient).all()
        # Scale is free, so that the gradient has no part along the features.
        assert abs(float((gradient * features.detach()).sum())) < 1e-9
    equal = (latents + 0.5 * white[..., 3:6]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: procrustes_cosine(x, latents), (equal,))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("neurons", [13, 64])
def test_a_packed_number_and_its_gradient_are_those_alone(kind, neurons):
    torch.set_num_threads(1)  # as in a trial
    features, latents = (side.float() for side in pair(1000, neurons, 3, replicates=4))
    shrinkage = torch.tensor([0.01, 0.1, 0.2, 0.3], dtype=torch.float64)

    def found(rows):
        own = features[rows].clone().requires_grad_()
        carried = carried_by(kind, own, latents[rows], shrinkage[rows])
        return carried.detach(), torch.autograd.grad(carried.sum(), own)[0]

    together = found([0, 1, 2, 3])
    for rows in ([0], [2], [3, 1]):
        for packed, alone in zip(together, found(rows), strict=True):
            assert torch.equal(packed[rows], alone)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_is_not_finite_costs_only_itself(kind):
    features, latents = pair(replicates=2)
    whole = of_one(kind, features, latents, 0.1)
    for bad in (math.nan, math.inf):
        features[0, 0, 0] = bad
        found = of_one(kind, features, latents, 0.1)
        assert torch.isnan(found[0])
        assert torch.equal(found[1], whole[1])


def test_rsa_looks_at_a_bounded_number_of_samples_from_end_to_end():
    features, latents = pair(num_samples=5120)
    chosen = torch.arange(0, 5120, 20)
    assert len(chosen) == MOST_RSA_SAMPLES
    found = rsa_correlation(features, latents)
    torch.testing.assert_close(found, rsa_correlation(features[:, chosen], latents[:, chosen]))


@pytest.fixture(scope="module")
def session(one_segment):
    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    slow = np.cumsum(draw.standard_normal((2000, 2)), axis=0)
    slow = np.tanh((slow - slow.mean(axis=0)) / slow.std(axis=0))
    rates = 0.15 * np.exp(slow @ draw.standard_normal((2, 12)))
    counts = draw.poisson(np.minimum(rates, 2)).astype(np.uint8)
    line = one_segment(np.zeros(2000))
    return TrainingData("s", counts, slow.astype(np.float32), line, 500.0)


@pytest.mark.parametrize("kind", KINDS)
def test_training_raises_the_similarity_that_it_names(kind, session):
    own = StudentSettings(
        num_neurons=24, steps=60, batch_windows=8, learning_rate=0.03, distill=kind, rate_weight=0
    )
    still = own.model_copy(update={"learning_rate": 1e-12})
    begin = begun([Replicate(0, own), Replicate(0, still)], session)
    late = advance(advance(begin, session, 54).training, session, 60)
    trained, untrained = late.scalars  # on the same batches
    assert trained["train_cca2"] == pytest.approx(1 - trained["loss"], abs=1e-6)
    assert trained["loss"] < 0.8 * untrained["loss"]
