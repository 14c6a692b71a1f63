import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.state_geometry import condition_means, geometry


@pytest.fixture
def means():
    """Sixty conditions in three of ten dimensions."""
    random = np.random.default_rng(0)
    return random.standard_normal((60, 3)) @ np.eye(3, 10)


def turned(angle):
    """Return a rotation of the first two of ten dimensions into the last two."""
    matrix = np.eye(10)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    for one, other in ((0, 8), (1, 9)):
        matrix[one, one] = matrix[other, other] = cos
        matrix[one, other], matrix[other, one] = sin, -sin
    return matrix


def test_the_same_means_have_no_angle_and_a_cosine_of_one(means):
    found = geometry(means, means + 5)
    assert found.angle_deg == pytest.approx(0, abs=1e-5)
    assert found.cosine == pytest.approx(1)
    assert found.dims == 3


@pytest.mark.parametrize("angle", [10.0, 45.0, 90.0])
def test_a_turn_out_of_the_subspace_is_its_principal_angle(means, angle):
    # Two of three dimensions turn.
    assert geometry(means, means @ turned(angle)).angle_deg == pytest.approx(angle * 2 / 3)


def test_a_turn_within_the_subspace_leaves_the_angle_and_changes_the_cosine(means):
    turn = np.eye(10)
    turn[:2, :2] = [[0, 1], [-1, 0]]
    found = geometry(means, means @ turn)
    assert found.angle_deg == pytest.approx(0, abs=1e-5)
    assert found.cosine < 0.6
    assert geometry(means, -means).cosine == pytest.approx(-1)


def test_a_rotation_common_to_both_changes_nothing(means):
    random = np.random.default_rng(1)
    other = means + random.standard_normal(means.shape)
    common, _ = np.linalg.qr(random.standard_normal((10, 10)))
    np.testing.assert_allclose(
        geometry(means @ common, other @ common), geometry(means, other), rtol=1e-6
    )


def test_unrelated_means_share_nothing(means):
    other = np.random.default_rng(2).standard_normal(means.shape)
    assert abs(geometry(means, other).cosine) < 0.2
    assert geometry(means, other).angle_deg > 30


def test_too_few_conditions_and_a_constant_code_are_named(means):
    with pytest.raises(DataError, match="3 conditions"):
        geometry(means[:2], means[:2])
    with pytest.raises(DataError, match="constant"):
        geometry(means, np.ones_like(means))


def test_means_are_of_the_chosen_bins_of_a_condition():
    x = np.arange(12.0).reshape(6, 2)
    chosen = np.array([True, True, True, True, False, True])
    found = condition_means(x, np.array([0, 0, 1, -1, 1, 2]), chosen, 4)
    np.testing.assert_array_equal(found, [[1, 2], [4, 5], [10, 11], [np.nan, np.nan]])
