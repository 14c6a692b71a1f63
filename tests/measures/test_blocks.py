"""Pseudo-values against leaving each block out by hand."""

import numpy as np
import pytest

from rheobase.measures.blocks import block_values
from rheobase.measures.cca import fit_cca, score_cca


@pytest.fixture
def scored():
    """A fit, and other samples in five blocks of unequal size, out of order."""
    draw = np.random.default_rng(0)
    mix = draw.standard_normal((3, 6))

    def signals(num):
        y = draw.standard_normal((num, 3)) + 5
        return y @ mix + 2 * draw.standard_normal((num, 6)) - 100, y

    fit = fit_cca(*signals(400), 0.01)
    group = np.repeat([7, 2, 9, 4, 3], [30, 80, 45, 60, 25])
    return fit, *signals(len(group)), group


def by_hand(fit, x, y, group):
    """Return the pseudo-value of each block, the score without it taken anew."""
    blocks = np.unique(group)
    whole = score_cca(fit, x, y).mean()
    without = [score_cca(fit, x[group != one], y[group != one]).mean() for one in blocks]
    return len(blocks) * whole - (len(blocks) - 1) * np.array(without)


def test_each_blocks_pseudo_value_is_what_leaving_it_out_by_hand_gives(scored):
    values = block_values(*scored)
    assert values.shape == (5,)
    np.testing.assert_allclose(values, by_hand(*scored), atol=1e-10)
    assert np.ptp(values) > 0.01


def test_pairs_that_a_narrow_student_lacks_count_as_nothing(scored):
    _, x, y, group = scored
    fit = fit_cca(x[:, :2], y, 0.01)
    values = block_values(fit, x[:, :2], y, group)
    np.testing.assert_allclose(values, by_hand(fit, x[:, :2], y, group), atol=1e-10)
    assert values.mean() < 2 / 3


def test_their_mean_is_the_score_but_for_a_bias_that_falls_with_the_number_of_blocks(scored):
    fit, x, y, _ = scored
    whole = score_cca(fit, x, y).mean()
    for num, most in ((4, 0.02), (40, 0.005)):
        group = np.arange(len(x)) * num // len(x)
        assert block_values(fit, x, y, group).mean() == pytest.approx(whole, abs=most)


def test_one_block_alone_has_none(scored):
    fit, x, y, group = scored
    assert block_values(fit, x, y, np.zeros_like(group)).tolist() == []


def test_a_pair_that_stands_still_without_a_block_is_0_there(scored):
    fit, x, y, group = scored
    still = np.where((group == 9)[:, None], x, x[0])
    values = block_values(fit, still, y, group)
    np.testing.assert_allclose(values, by_hand(fit, still, y, group), atol=1e-8)
    assert np.argmax(values) == 4
