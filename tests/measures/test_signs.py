import numpy as np

from rheobase.measures.cca import fit_cca
from rheobase.measures.signs import column_signs, rounded


def test_whichever_signs_vectors_come_in_they_leave_with_the_same():
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((3, 7, 4))
    flipped = vectors * draw.choice([-1.0, 1.0], (3, 1, 4))
    fixed = vectors * column_signs(vectors)
    np.testing.assert_array_equal(flipped * column_signs(flipped), fixed)
    largest = np.take_along_axis(fixed, np.abs(fixed).argmax(axis=1, keepdims=True), axis=1)
    assert (largest > 0).all()


def test_of_entries_of_one_size_the_first_decides_whatever_rounding_says():
    one = np.array([[-0.5], [0.5], [0.1]])
    for noise in ([0.0, 1e-12, 0.0], [1e-12, 0.0, 0.0]):
        wobbled = one + np.array(noise)[:, None]
        assert column_signs(wobbled).item() == -1
        assert column_signs(-wobbled).item() == 1


def test_canonical_projections_have_one_sign():
    draw = np.random.default_rng(0)
    y = draw.standard_normal((400, 3))
    x = y @ draw.standard_normal((3, 5)) + draw.standard_normal((400, 5))
    fit = fit_cca(x, y, 1e-3)
    assert (column_signs(fit.project_y) == 1).all()
    turned = fit_cca(-x, y, 1e-3)
    np.testing.assert_allclose(turned.project_y, fit.project_y, atol=1e-9)
    np.testing.assert_allclose(turned.project_x, -fit.project_x, atol=1e-9)


def test_rounding_forgets_the_last_digits_and_keeps_five():
    draw = np.random.default_rng(0)
    values = draw.standard_normal((50, 40)) * 30
    once = rounded(values)
    assert np.abs(once - values).max() < 1e-5 * np.abs(values).max()
    other = values * (1 + 1e-13 * draw.standard_normal(values.shape))
    assert (rounded(other) == once).mean() > 0.999
    np.testing.assert_array_equal(rounded(once), once)
    np.testing.assert_array_equal(rounded(np.zeros(3)), np.zeros(3))
