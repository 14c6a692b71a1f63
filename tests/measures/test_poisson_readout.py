"""The Poisson readout of counts: another library's fit, what it is invariant to, and its limits."""

import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.poisson_readout import fit_poisson_readout


def drawn(seed, num=600, features=4, units=3):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((num, features)) @ draw.standard_normal((features, features))
    weights = draw.standard_normal((features, units)) * 0.15
    return x, draw.poisson(np.exp(x @ weights - draw.uniform(0, 2, units)))


def halves(x, y):
    half = len(x) // 2
    return (x[:half], y[:half]), (x[half:], y[half:])


@pytest.mark.parametrize("shrinkage", [1e-3, 0.3])
def test_weights_are_those_of_scikit_learn(shrinkage):
    from sklearn.linear_model import PoissonRegressor

    train, rest = halves(*drawn(0))
    found = fit_poisson_readout(train, rest, [shrinkage])
    x, y = train
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    for unit, counts in enumerate(y.T):
        # It has the mean of half deviances, and half alpha times the weights' squares.
        other = PoissonRegressor(alpha=shrinkage * counts.mean(), tol=1e-7, max_iter=1000)
        other.fit(standard, counts)
        np.testing.assert_allclose(found.weights[:, unit], other.coef_, atol=2e-4)
        assert found.bias[unit] == pytest.approx(other.intercept_, abs=2e-4)


def test_scale_and_origin_of_features_change_nothing():
    (x, y), (held_x, held_y) = halves(*drawn(1))
    scale, shift = np.array([1e3, 1e-3, 1, 7]), np.arange(4) * 100.0
    found = fit_poisson_readout((x, y), (held_x, held_y))
    other = fit_poisson_readout((x * scale + shift, y), (held_x * scale + shift, held_y))
    assert other.shrinkage == found.shrinkage
    np.testing.assert_allclose(other.rates(held_x * scale + shift), found.rates(held_x), rtol=1e-3)


def test_validation_takes_the_strongest_ridge_where_features_tell_nothing():
    x, y = drawn(2)
    noise = np.random.default_rng(3).standard_normal((len(x), 20))
    told = fit_poisson_readout(*halves(x, y))
    nothing = fit_poisson_readout(*halves(noise, y))
    assert told.shrinkage < nothing.shrinkage == 10
    rates = nothing.rates(noise[len(x) // 2 :])
    assert np.abs(rates / y[: len(x) // 2].mean(axis=0) - 1).max() < 0.5


def test_a_unit_that_is_silent_in_train_is_given_little_and_never_none():
    x, y = drawn(4)
    y[: len(y) // 2, 0] = 0
    train, held = halves(x, y)
    rates = fit_poisson_readout(train, held).rates(held[0])
    np.testing.assert_allclose(rates[:, 0], 0.5 / len(train[0]))
    assert rates[:, 1:].std() > 0.01


def test_features_that_do_not_vary_have_no_weight():
    x, y = drawn(5)
    x[:, 2] = 7.0
    train, (held_x, held_y) = halves(x, y)
    found = fit_poisson_readout(train, (held_x, held_y))
    far = held_x.copy()
    far[:, 2] = 1e6
    np.testing.assert_array_equal(found.rates(far), found.rates(held_x))


def test_no_rate_exceeds_the_highest_that_train_was_given():
    train, held = halves(*drawn(6))
    found = fit_poisson_readout(train, held, [1e-3])
    highest = found.rates(train[0]).max(axis=0)
    np.testing.assert_allclose(found.rates(held[0] * 100).max(axis=0), highest)


@pytest.mark.parametrize("where", [0, 1])
def test_what_cannot_be_fitted_is_told(where):
    parts = list(halves(*drawn(7)))
    x, y = parts[where]
    parts[where] = (x[:0], y[:0])
    with pytest.raises(DataError, match="must hold bins"):
        fit_poisson_readout(*parts)
    parts[where] = (np.full_like(x, np.nan), y)
    with pytest.raises(DataError, match="finite"):
        fit_poisson_readout(*parts)
