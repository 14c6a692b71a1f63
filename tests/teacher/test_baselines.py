import numpy as np
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA, FactorAnalysis

from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.settings import DataSettings
from rheobase.shards.timeline import timeline_of
from rheobase.teacher.axes import factor_axes
from rheobase.teacher.baselines import (
    CODES,
    codes_of,
    first_components,
    smoothed_count_code,
)
from rheobase.teacher.encode import encode
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import TeacherSettings

SETTINGS = TeacherSettings(latent_dim=3, steps=20)


@pytest.fixture(scope="module")
def shard():
    address = "synthetic:planted?seed=0&minutes=2&units=12"
    return make_shard(load_session(address), DataSettings(sessions=("x",)))


def test_factor_analysis_of_a_covariance_is_that_of_the_data():
    draw = np.random.default_rng(0)
    x = draw.standard_normal((5000, 3)) @ draw.standard_normal((3, 10))
    x += draw.standard_normal((5000, 10)) * np.linspace(0.7, 1.5, 10)
    x -= x.mean(axis=0)
    model = FactorAnalysis(3, svd_method="lapack", tol=1e-8, max_iter=10_000).fit(x)
    expected = model.transform(np.eye(10) + model.mean_)
    found = factor_axes(x.T @ x / len(x), 3)
    # Each is known up to a rotation of the factors.
    assert np.max(subspace_angles(found, expected)) < 1e-3


def test_components_are_those_of_scikit_learn_on_train(shard):
    counts, train = smoothed_count_code(shard), timeline_of(shard).train
    found = first_components(counts, train, 4)
    expected = PCA(4).fit(counts[train]).transform(counts)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-3)


def test_a_baseline_never_sees_test(shard):
    counts, line = smoothed_count_code(shard), timeline_of(shard)
    assert counts[line.train].std(axis=0) == pytest.approx(np.ones(12), abs=1e-4)
    changed = counts.copy()
    changed[line.scored] *= 7
    before, after = (first_components(x, line.train, 3)[line.train] for x in (counts, changed))
    np.testing.assert_array_equal(before, after)


def test_every_code_has_a_row_a_bin_and_the_teachers_width(shard):
    teacher = fit_teacher([shard], SETTINGS, 1000.0)
    codes = codes_of(teacher, shard, encode(teacher, shard))
    assert tuple(codes) == CODES
    widths = {name: x.shape for name, x in codes.items()}
    bins = shard.num_bins
    assert widths == dict.fromkeys(CODES, (bins, 3)) | {
        "smoothed_counts": (bins, 12),
        "true_latents": (bins, 8),
    }
    assert {x.dtype for x in codes.values()} == {np.dtype(np.float32)}


def test_the_untrained_encoder_has_the_teachers_settings_and_not_its_weights(shard):
    teacher = fit_teacher([shard], SETTINGS, 1000.0)
    codes = codes_of(teacher, shard, encode(teacher, shard))
    again = codes_of(teacher, shard, encode(teacher, shard))
    np.testing.assert_array_equal(codes["untrained_encoder"], again["untrained_encoder"])
    assert np.abs(codes["untrained_encoder"] - codes["teacher"]).max() > 0.1
