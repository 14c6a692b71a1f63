import numpy as np
import pytest
import torch

from rheobase.core.seeds import generator
from rheobase.measures.probes import ridge_r2
from rheobase.measures.shares import effective_rank
from rheobase.sessions.load import load_session
from rheobase.sessions.planted.simulate import simulate
from rheobase.shards.binning import make_shard
from rheobase.shards.settings import DataSettings
from rheobase.shards.timeline import timeline_of
from rheobase.teacher.encode import encode
from rheobase.teacher.features import filtered_counts, future_counts
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.objective import lejepa_loss, mixed_samples, view_masks
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.sigreg import random_slices, sigreg
from rheobase.teacher.vicreg import VARIANCE_WEIGHT, vicreg

SETTINGS = TeacherSettings(
    latent_dim=8, steps=600, batch_windows=2048, start="random", encoder="linear"
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A shard with nuisance, its true latents (T, 8) and its timeline."""
    path = tmp_path_factory.mktemp("planted") / "planted.nwb"
    simulate(path, seed=3, minutes=9, num_units=80, nuisance=1)
    shard = make_shard(load_session(str(path)), DataSettings(sessions=(str(path),)))
    line = timeline_of(shard)
    with np.load(path.with_suffix(".latents.npz")) as true:
        return shard, true["latents"][np.round(line.time_s * 100).astype(int)], line


def fitted(shard, **changes):
    return encode(fit_teacher([shard], SETTINGS.model_copy(update=changes), 1000.0), shard)


@pytest.fixture(scope="module")
def teacher(planted):
    return fit_teacher([planted[0]], SETTINGS, 1000.0)


def principal_components(shard, train, num):
    smooth = filtered_counts(shard, (80.0,)).astype(np.float64)
    smooth /= smooth[train].std(axis=0)
    smooth -= smooth[train].mean(axis=0)
    return smooth @ np.linalg.svd(smooth[train], full_matrices=False)[2][:num].T


def test_the_teacher_holds_more_of_the_true_latents_than_principal_components(planted, teacher):
    shard, true, line = planted
    latents = encode(teacher, shard)
    found = ridge_r2(latents, true, line).mean()
    assert effective_rank(latents[line.scored]) > 7
    assert found > ridge_r2(principal_components(shard, line.train, 8), true, line).mean() + 0.1


def test_without_a_regulariser_the_future_collapses_and_the_past_learns_nothing(planted, teacher):
    shard, true, line = planted
    future = torch.from_numpy(future_counts(shard, SETTINGS.horizons_ms).astype(np.float32))
    none = SETTINGS.model_copy(update={"regulariser": "none"})
    collapsed = fit_teacher([shard], none, 1000.0)
    with torch.no_grad():
        spread = [
            float(each.encode_future(shard.session_id, future).std(0).max())
            for each in (teacher, collapsed)
        ]
    assert spread[0] > 0.5
    assert spread[1] < 0.05
    gain = ridge_r2(encode(teacher, shard), true, line) - ridge_r2(
        encode(collapsed, shard), true, line
    )
    assert gain.mean() > 0.1


def test_vicreg_keeps_the_teacher_alive_too(planted):
    alive = fitted(planted[0], regulariser="vicreg", sigreg_weight=0.5)
    assert effective_rank(alive[planted[2].scored]) > 6


@pytest.mark.parametrize("views", ["unit_dropout", "half_units"])
def test_views_of_some_units_find_true_latents(planted, views):
    shard, true, line = planted
    untrained = fitted(shard, steps=1)
    found = fitted(shard, views=views)
    gain = ridge_r2(found, true, line).mean() - ridge_r2(untrained, true, line).mean()
    assert gain > 0.1


def test_half_views_share_no_unit_and_keep_the_mean():
    past, future = view_masks("half_units", generator(0, "views"), (4000, 6))
    assert ((past == 0) ^ (future == 0)).all()
    for views in ("half_units", "unit_dropout"):
        for mask in view_masks(views, generator(0, "views"), (4000, 6)):
            np.testing.assert_allclose(mask.mean(0), 1, atol=0.06)


def test_vicreg_is_zero_for_white_latents_and_its_closed_form_for_collapsed_ones():
    white = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) * 1.01
    assert float(vicreg(white)) == pytest.approx(0, abs=1e-6)
    assert float(vicreg(torch.zeros(9, 3))) == pytest.approx(VARIANCE_WEIGHT * 0.99, rel=1e-5)
    copies = torch.randn(500, 1, generator=torch.Generator().manual_seed(0)).repeat(1, 2)
    copies = 2 * (copies - copies.mean(0)) / copies.std(0, correction=0)
    assert float(vicreg(copies)) == pytest.approx(2 * 4.0**2 / 2, rel=1e-5)


def test_the_weight_of_sigreg_means_the_same_at_any_batch():
    draw = torch.Generator().manual_seed(0)
    slices = random_slices(4, 64, draw)
    terms = []
    for num in (256, 1024, 8192):
        flat = torch.zeros(num, 4)
        nothing = torch.zeros(num, 1, 4)
        terms.append(float(lejepa_loss(SETTINGS, flat, nothing, nothing, slices, num)[0]))
    assert terms[0] > 0
    np.testing.assert_allclose(terms, terms[0], rtol=1e-5)


def test_latents_that_tell_the_session_cost_the_regulariser_more():
    """A step's batch is of one session, so that a session's own mean is seen as what it is."""
    draw = torch.Generator().manual_seed(0)
    latents, targets = (torch.randn(2048, *one, generator=draw) for one in ((4,), (1, 4)))
    slices = random_slices(4, 16, draw)
    costs = [
        float(
            lejepa_loss(SETTINGS, latents + shift, targets, targets, slices, 2048)[1]["regulariser"]
        )
        for shift in (0.0, 0.5, 1.0)
    ]
    assert costs[0] * 2 < costs[1] < costs[2]


def test_mixing_keeps_second_moments_and_takes_the_tails_off():
    skewed = torch.distributions.Exponential(1.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        samples = skewed.sample((4096, 3)) - 1
    mixed = mixed_samples(samples, 16)
    assert mixed.shape == samples.shape
    torch.testing.assert_close(mixed.T @ mixed, samples.T @ samples, rtol=1e-4, atol=1e-2)
    slices = torch.eye(3)
    assert float(sigreg(mixed, slices)) < 0.1 * float(sigreg(samples, slices))
    assert torch.equal(mixed_samples(samples, 1), samples)
