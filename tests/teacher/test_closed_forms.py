import numpy as np
import pytest
import torch

from listeners import Silent
from rheobase.core.errors import DataError
from rheobase.distributed.train import train_teacher
from rheobase.measures.probes import ridge_r2
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.covariates import true_latents_of
from rheobase.shards.settings import DataSettings
from rheobase.shards.store import write_shard
from rheobase.shards.timeline import timeline_of
from rheobase.teacher.baselines import COUNTS, FACTORS, PCA, codes_of
from rheobase.teacher.closed_forms import (
    PastAndFutureMoments,
    best_shrinkage,
    cva,
    reduced_rank,
)
from rheobase.teacher.encode import encode, foretold
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.evaluate import _prediction
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.predictability import ordered
from rheobase.teacher.settings import TeacherSettings

KINDS = ("cva", "reduced_rank", "pca", "factor_analysis")


def of(kind, **changes):
    return TeacherSettings(kind=kind, latent_dim=4, **changes)


@pytest.fixture(scope="module")
def shard():
    address = "synthetic:planted?seed=0&minutes=4&units=30&nuisance=1"
    return make_shard(load_session(address), DataSettings(sessions=("x",)))


@pytest.fixture(scope="module")
def latents(shard):
    return {kind: encode(fit_teacher([shard], of(kind), 1000.0), shard) for kind in KINDS}


def moments(x, y):
    """Moments of standardised signals whose components are themselves."""
    both = np.cov(np.hstack([x, y]), rowvar=False, bias=True)
    num = x.shape[1]
    return PastAndFutureMoments(
        both[:num, :num], both[num:, num:], both[:num, num:], np.ones(num), np.ones(y.shape[1])
    )


def related(seed, num=20_000):
    """Six signals of which two, mixed, correlate by 0.9 and 0.5 with two of five others."""
    random = np.random.default_rng(seed)
    x, y = random.standard_normal((num, 6)), random.standard_normal((num, 5))
    for index, rho in enumerate((0.9, 0.5)):
        y[:, index] = rho * x[:, index] + np.sqrt(1 - rho**2) * y[:, index]
    fixed = np.random.default_rng(9)
    return x, y, fixed.standard_normal((6, 6)), fixed.standard_normal((5, 5))


def explained(code, counts):
    """Share of the variance of counts that the best linear map of a code holds."""
    code, counts = code - code.mean(0), counts - counts.mean(0)
    made = code @ np.linalg.lstsq(code, counts, rcond=None)[0]
    return (made**2).sum() / (counts**2).sum()


def test_canonical_variates_are_found_through_any_mixing():
    x, y, mix_x, mix_y = related(0)
    found = x @ mix_x @ cva(moments(x @ mix_x, y @ mix_y), 1e-6, 2)
    assert np.abs(np.corrcoef(found.T, x[:, :2].T)[:2, 2:]).round(1).tolist() == [[1, 0], [0, 1]]
    np.testing.assert_allclose(np.cov(found.T), np.eye(2), atol=0.01)


def test_reduced_rank_predicts_as_the_best_map_of_its_rank():
    x, y, mix_x, mix_y = related(1)
    x, y = x @ mix_x, y @ mix_y
    x, y = x - x.mean(0), y - y.mean(0)
    whole = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    best = np.linalg.svd(whole, full_matrices=False)[2][:1]
    code = x @ reduced_rank(moments(x, y), 1e-9, 1)
    found = code @ np.linalg.lstsq(code, y, rcond=None)[0]
    np.testing.assert_allclose(found, whole @ best.T @ best, atol=1e-4)


def test_the_ridge_is_chosen_by_what_holds_in_the_other_fold():
    few = [moments(*(one[:60] for one in related(seed)[:2])) for seed in (2, 3)]
    many = []
    for seed in (4, 5):  # of signals that lie in directions of little variance
        x, y, mix_x, mix_y = related(seed)
        many.append(moments(x @ mix_x, y @ mix_y))
    assert best_shrinkage(few, 2) > best_shrinkage(many, 2)


def test_a_closed_form_foretells_a_linear_map_of_its_latents(shard, latents):
    teacher = fit_teacher([shard], of("cva", horizons_ms=(20.0, 80.0)), 1000.0)
    now = encode(teacher, shard)
    ahead = foretold(teacher, now)
    with torch.no_grad():
        whole = teacher.order(teacher.predict(torch.from_numpy(now))[:, -1])
    np.testing.assert_allclose(ahead, whole.numpy(), atol=1e-5)
    assert np.abs(ahead - now).max() > 0.1
    assert explained(now, ahead) == pytest.approx(1, abs=1e-4)
    assert explained(ahead, now) == pytest.approx(1, abs=1e-4)


def test_principal_components_and_factors_are_those_that_the_report_compares_with(shard, latents):
    teacher = fit_teacher([shard], of("cva"), 1000.0)
    beside = codes_of(teacher, shard, latents["cva"])
    train = timeline_of(shard).train
    counts = beside[COUNTS][train]
    for kind, name in (("pca", PCA), ("factor_analysis", FACTORS)):
        # Components of like variance may change places with the bins that are taken.
        held = [explained(code[train], counts) for code in (latents[kind], beside[name])]
        assert held[0] == pytest.approx(held[1], rel=0.005)
        assert held[0] > 1.05 * explained(latents["cva"][train], counts) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_latents_are_uncorrelated_with_variance_one_and_some_predict(shard, latents, kind):
    train = timeline_of(shard).train
    np.testing.assert_allclose(np.cov(latents[kind][train].T), np.eye(4), atol=0.1)
    _, told = ordered(fit_teacher([shard], of(kind), 1000.0), [shard])
    assert told["dims"] >= 2


def test_what_predicts_holds_more_of_the_truth_than_what_varies(shard, latents):
    line, (_, true) = timeline_of(shard), true_latents_of(shard)
    r2 = {kind: ridge_r2(latents[kind], true, line).mean() for kind in KINDS}
    assert min(r2["cva"], r2["reduced_rank"]) > max(r2["pca"], r2["factor_analysis"]) + 0.01


def test_the_predictor_of_a_closed_form_tells_the_future(shard):
    teacher = fit_teacher([shard], of("cva", horizons_ms=(20.0, 80.0)), 1000.0)
    code = encode(teacher, shard).astype(np.float64)
    for row in _prediction(teacher, shard, code, timeline_of(shard)):
        assert row["predictor"] < min(0.95, row["persistence"])


def test_neither_seed_nor_settings_of_training_change_a_closed_form(shard, latents):
    other = of("cva", seed=5, steps=1, workers=1, sigreg_weight=0.5)
    np.testing.assert_array_equal(
        encode(fit_teacher([shard], other, 1000.0), shard), latents["cva"]
    )


def test_a_closed_form_is_stored_and_read_as_any_teacher(shard, latents):
    teacher = fit_teacher([shard], of("cva"), 1000.0)
    again = Teacher.from_state(teacher.state())
    np.testing.assert_array_equal(encode(again, shard), latents["cva"])


def test_a_study_needs_no_workers_for_it(shard, latents, tmp_path):
    write_shard(tmp_path / "shard.arrow", shard)
    paths = [tmp_path / "shard.arrow"]
    teacher = train_teacher(paths, of("cva", workers=3), 1000.0, tmp_path, Silent())
    np.testing.assert_array_equal(encode(teacher, shard), latents["cva"])


def test_a_nonlinear_encoder_and_a_shared_trunk_are_refused_in_one_line(shard):
    with pytest.raises(DataError, match="encoder must be linear"):
        fit_teacher([shard], of("cva", encoder="mlp"), 1000.0)
    teacher = fit_teacher([shard], of("cva"), 1000.0)
    with pytest.raises(DataError, match="kind must be lejepa"):
        fit_teacher([shard], of("cva"), 1000.0, shared=teacher)
