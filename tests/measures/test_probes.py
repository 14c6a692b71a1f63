import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from rheobase.core.errors import DataError
from rheobase.measures import probes
from rheobase.measures.probes import ridge_map, ridge_r2
from rheobase.shards.timeline import Timeline


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def line_of(num_bins, group_bins=50):
    index = np.arange(num_bins)
    zeros = np.zeros(num_bins, np.int32)
    split = np.where(index < 0.75 * num_bins, 0, 1).astype(np.int8)
    state = np.full(num_bins, "")
    group = index // group_bins
    return Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=index / 100,
        segment=zeros,
        split=split,
        group=group,
        state=state,
        presentation=zeros,
        phase=zeros,
    )


def test_a_linear_target_is_read_out_and_noise_is_not(draw):
    x = draw.standard_normal((4000, 6))
    y = np.stack([x @ draw.standard_normal(6) + 3, draw.standard_normal(4000)], axis=1)
    found = ridge_r2(x, y, line_of(4000))
    assert found[0] == pytest.approx(1, abs=1e-6)
    assert found[1] == pytest.approx(0, abs=0.02)


def test_planted_noise_leaves_the_planted_share(draw):
    x = draw.standard_normal((20_000, 4))
    y = x[:, :1] + draw.standard_normal((20_000, 1)) / 2
    assert ridge_r2(x, y, line_of(20_000))[0] == pytest.approx(1 / 1.25, abs=0.01)


def test_with_one_penalty_it_is_ridge_regression_of_scikit_learn(draw, monkeypatch):
    x, y = draw.standard_normal((800, 9)) * np.arange(1, 10), draw.standard_normal((800, 2))
    y += x[:, :2]
    line = line_of(800)
    monkeypatch.setattr(probes, "PENALTIES", (0.3,))
    scaled = x / x[line.train].std(axis=0)
    model = Ridge(alpha=0.3 * line.train.sum()).fit(scaled[line.train], y[line.train])
    expected = r2_score(
        y[line.scored], model.predict(scaled[line.scored]), multioutput="raw_values"
    )
    np.testing.assert_allclose(ridge_r2(x, y, line), expected, rtol=1e-9)


def test_the_map_is_the_one_whose_r2_is_told(draw):
    x = draw.standard_normal((800, 9)) * np.arange(1, 10) + 4
    y = x[:, :2] + draw.standard_normal((800, 2)) - 7
    line = line_of(800)
    weights, offsets = ridge_map(x, y, line)
    found = r2_score(y[line.scored], (x @ weights + offsets)[line.scored], multioutput="raw_values")
    np.testing.assert_allclose(found, ridge_r2(x, y, line), rtol=1e-9)
    assert (found > 0.3).all()
    x[line.scored] = np.nan
    np.testing.assert_array_equal(ridge_map(x, y, line)[0], weights)


def test_the_penalty_is_chosen_for_each_target(draw, monkeypatch):
    # One target is a weak sum of many features, the other one feature without noise.
    x = draw.standard_normal((400, 100))
    y = np.stack([x.sum(axis=1) / 10 + 5 * draw.standard_normal(400), x[:, 0]], axis=1)
    line = line_of(400, 20)
    both = ridge_r2(x, y, line)
    monkeypatch.setattr(probes, "PENALTIES", (1e-6,))
    assert both[0] > ridge_r2(x, y, line)[0] + 0.1
    assert both[1] == pytest.approx(1, abs=1e-4)


def test_scale_shift_and_silent_features_change_nothing(draw):
    x, y = draw.standard_normal((2000, 5)), draw.standard_normal((2000, 2))
    y += x[:, :2]
    line = line_of(2000)
    moved = np.concatenate([100 * x[:, ::-1] + 7, np.full((2000, 1), 0.1)], axis=1)
    np.testing.assert_allclose(ridge_r2(moved, 3 * y - 1, line), ridge_r2(x, y, line), rtol=1e-9)


def test_a_target_that_stands_still_on_test_is_zero(draw):
    line = line_of(400)
    y = np.where(line.train, draw.standard_normal(400), 0.1)[:, None]
    assert ridge_r2(draw.standard_normal((400, 3)), y, line)[0] == 0


def test_one_group_or_a_nan_is_refused(draw):
    x, y = draw.standard_normal((2, 400, 3))
    with pytest.raises(DataError, match="at least 2 groups"):
        ridge_r2(x, y, line_of(400, 400))
    x[0, 0] = np.nan
    with pytest.raises(DataError, match="finite"):
        ridge_r2(x, y, line_of(400))
