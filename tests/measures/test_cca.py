import numpy as np
import pytest
from scipy.linalg import qr
from scipy.signal import lfilter

from rheobase.core.errors import DataError
from rheobase.measures.cca import choose_shrinkage, fit_cca, heldout_cca, score_cca
from rheobase.measures.cca_moments import SHRINKAGES, heldout_of
from rheobase.measures.moments import moments_of
from rheobase.measures.probes import NUM_FOLDS
from rheobase.shards.timeline import Timeline


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def line_of(num_bins):
    index = np.arange(num_bins)
    zeros = np.zeros(num_bins, np.int32)
    split = np.where(index < 0.7 * num_bins, 0, 1).astype(np.int8)
    group = (index // 100).astype(np.int32)
    state = np.full(num_bins, "")
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


def test_any_invertible_map_has_correlation_one(draw):
    x = draw.standard_normal((2000, 6))
    y = x @ draw.standard_normal((6, 6))
    assert heldout_cca(x, y, line_of(2000), shrinkage=1e-12).pairs == pytest.approx(np.ones(6))


def test_in_sample_correlations_equal_the_qr_formula(draw):
    x, y = draw.standard_normal((300, 5)), draw.standard_normal((300, 3))
    y[:, 0] += x[:, 0]
    q_x, q_y = (qr(a - a.mean(axis=0), mode="economic")[0] for a in (x, y))
    expected = np.linalg.svd(q_x.T @ q_y, compute_uv=False)
    np.testing.assert_allclose(score_cca(fit_cca(x, y, 1e-13), x, y), expected, atol=1e-9)


def test_planted_correlations_come_back(draw):
    planted = np.array([0.9, 0.6, 0.3])
    y = draw.standard_normal((60_000, 3))
    x = planted * y + np.sqrt(1 - planted**2) * draw.standard_normal(y.shape)
    mixed = x @ draw.standard_normal((3, 3))
    found = heldout_cca(mixed, y @ draw.standard_normal((3, 3)), line_of(60_000), shrinkage=1e-9)
    np.testing.assert_allclose(found.pairs, planted, atol=0.02)


def test_independent_slow_signals_correlate_in_sample_and_not_held_out(draw):
    noise = draw.standard_normal((2, 4000, 64))
    x, y = lfilter([1.0], [1.0, -0.9], noise, axis=1)
    line = line_of(4000)
    in_sample = score_cca(fit_cca(x[:2000], y[:2000], 1e-9), x[:2000], y[:2000]).mean()
    assert in_sample > 0.4
    assert abs(heldout_cca(x, y, line).mean) < 0.1


def test_a_sign_that_flips_between_train_and_test_scores_negative(draw):
    y = draw.standard_normal((2000, 2))
    line = line_of(2000)
    x = np.where(line.train[:, None], y, -y)
    assert heldout_cca(x, y, line, shrinkage=1e-6).mean < -0.99


def test_fewer_neurons_than_dimensions_leave_the_rest_at_zero(draw):
    y = draw.standard_normal((2000, 4))
    assert heldout_cca(y[:, :1], y, line_of(2000), shrinkage=1e-9).mean == pytest.approx(0.25)


def test_the_order_of_units_changes_nothing(draw):
    x, y = draw.standard_normal((2000, 8)), draw.standard_normal((2000, 3))
    y += x[:, :3]
    line = line_of(2000)
    shuffled = heldout_cca(x[:, ::-1], y, line).mean
    assert heldout_cca(x, y, line).mean == pytest.approx(shuffled, abs=1e-10)


def test_many_noisy_features_ask_for_shrinkage(draw):
    y = draw.standard_normal((200, 1))
    x = np.concatenate(
        [y + draw.standard_normal((200, 40)), 0.01 * draw.standard_normal((200, 60))], 1
    )
    assert choose_shrinkage(x, y, np.arange(200) // 10) >= 1e-3


def refitted_scores(x, y, groups):
    """Score every shrinkage the plain way: each fold fitted from its samples."""
    fold = np.unique(groups, return_inverse=True)[1] % NUM_FOLDS
    scores = np.zeros(len(SHRINKAGES))
    for held in range(NUM_FOLDS):
        for index, shrinkage in enumerate(SHRINKAGES):
            fit = fit_cca(x[fold != held], y[fold != held], shrinkage)
            scores[index] += score_cca(fit, x[fold == held], y[fold == held]).mean()
    return scores


@pytest.mark.parametrize("seed", range(6))
def test_shrinkage_chosen_by_moments_is_that_of_refitting_every_fold(seed):
    draw = np.random.default_rng(seed)
    y = draw.standard_normal((400, 3)) + 5
    x = y @ draw.standard_normal((3, 30)) + 10.0 ** (seed - 2) * draw.standard_normal((400, 30))
    groups = draw.permutation(np.arange(400) // 20)
    # Folds differ in their means, of x and of y, as blocks of a drifting recording do.
    x += 3 * draw.standard_normal((NUM_FOLDS, 30))[groups % NUM_FOLDS]
    y += 3 * draw.standard_normal((NUM_FOLDS, 3))[groups % NUM_FOLDS]
    x[:, 7] = 0.0
    scores = refitted_scores(x, y, groups)
    for index, shrinkage in enumerate(SHRINKAGES):
        others = SHRINKAGES[:index] + SHRINKAGES[index + 1 :]
        for other, score in zip(others, np.delete(scores, index), strict=True):
            if abs(scores[index] - score) > 1e-8:
                better = shrinkage if scores[index] > score else other
                assert choose_shrinkage(x, y, groups, (shrinkage, other)) == better
    assert choose_shrinkage(x, y, groups) == SHRINKAGES[int(scores.argmax())]


def test_a_fold_in_which_a_dimension_stands_still_is_no_error(draw):
    x, y = draw.standard_normal((2, 400, 4))
    y[:80, 1] = 0.3
    assert choose_shrinkage(x, y, np.arange(400) // 80) in SHRINKAGES


@pytest.mark.parametrize("side", [0, 1])
def test_a_pair_of_which_one_side_stands_still_on_test_is_zero(draw, side):
    y = draw.standard_normal((1000, 1))
    fit = fit_cca(y, y, 1e-6)
    sides = [y[:99].copy(), y[:99].copy()]
    sides[side][:] = 0.1
    assert score_cca(fit, *sides) == 0


@pytest.mark.parametrize("bad", ["constant", "nan", "dependent", "few"])
def test_what_cannot_be_measured_is_refused_in_one_line(draw, bad):
    x, y = draw.standard_normal((100, 4)), draw.standard_normal((100, 3))
    if bad == "constant":
        y[:, 1] = 2.0
    if bad == "nan":
        x[3, 2] = np.nan
    if bad == "dependent":
        y[:, 2] = y[:, 0] + y[:, 1]
    if bad == "few":
        x, y = x[:8], y[:8]
    with pytest.raises(DataError) as caught:
        fit_cca(x, y, 0.01)
    assert "\n" not in str(caught.value)


def test_of_shrinkages_whose_scores_tie_the_largest_is_chosen(draw):
    # A single feature correlates the same however its variance is shrunk.
    y = draw.standard_normal((400, 2))
    x = y[:, :1] + draw.standard_normal((400, 1))
    groups = np.arange(400) // 20
    assert choose_shrinkage(x, y, groups) == max(SHRINKAGES)
    assert choose_shrinkage(x, y, groups, (1e-3, 1e-2)) == 1e-2


def test_two_samples_are_too_few_to_score_and_three_are_not(draw):
    # Of two samples every correlation is 1 or -1, whatever they are.
    x, y = draw.standard_normal((2, 300, 2))
    line = line_of(300)
    test = np.flatnonzero(line.scored)
    for num in (2, 3):
        few = np.isin(np.arange(300), test[:num])
        parts = [moments_of(x[part], y[part]) for part in (line.train, few)]
        ways = (
            lambda few=few: heldout_cca(x, y, line, shrinkage=0.1, test=few),
            lambda parts=parts: heldout_of(*parts, 0.1),
        )
        for measured in ways:
            if num == 2:
                with pytest.raises(DataError, match="at least 3 samples must hold"):
                    measured()
            else:
                assert -1 <= measured().mean <= 1


def test_a_fit_needs_two_samples_more_than_features_and_latents_together(draw):
    x, y = draw.standard_normal((9, 4)), draw.standard_normal((9, 3))
    fit_cca(x, y, 0.1)
    with pytest.raises(DataError, match="at least 9 samples must hold for 4 features and 3"):
        fit_cca(x[:8], y[:8], 0.1)


def test_samples_of_different_number_and_infinite_latents_are_refused(draw):
    x, y = draw.standard_normal((2, 100, 3))
    with pytest.raises(DataError, match="as many samples, but got 100 and 99"):
        fit_cca(x, y[:99], 0.1)
    y[4, 1] = np.inf
    with pytest.raises(DataError, match="every value of y must be finite"):
        fit_cca(x, y, 0.1)


def test_projections_make_variates_of_variance_one_on_train(draw):
    x, y = draw.standard_normal((500, 3)) * [1, 9, 0.1] + 4, draw.standard_normal((500, 2)) * 7 - 2
    fit = fit_cca(x, y, 1e-12)
    for values, mean, project in ((x, fit.mean_x, fit.project_x), (y, fit.mean_y, fit.project_y)):
        variates = (values - mean) @ project
        np.testing.assert_allclose(variates.mean(axis=0), 0, atol=1e-9)
        covariance = variates.T @ variates / 500
        np.testing.assert_allclose(covariance, np.eye(len(covariance)), atol=1e-6)


def test_shrinkage_moves_the_correlations_of_x_towards_none_whatever_their_units(draw):
    # Two features that correlate by 0.8: of their sum the variance 1.8 becomes 1.4 at s = 0.5.
    x = draw.standard_normal((400, 2))
    x = np.linalg.qr(x - x.mean(axis=0))[0] * np.sqrt(400) @ np.array([[1, 0.8], [0, 0.6]])
    y = x @ np.array([[1.0], [1.0]])
    expected = np.array([1, 1]) / np.sqrt(2) / np.sqrt(1.4)
    np.testing.assert_allclose(fit_cca(x, y, 0.5).project_x[:, 0], expected)
    units = np.array([3.0, 1e6])
    np.testing.assert_allclose(fit_cca(x * units, y, 0.5).project_x[:, 0], expected / units)


def test_held_out_cca_and_its_shrinkage_are_the_same_in_any_units_of_the_features(draw):
    y = draw.standard_normal((600, 3))
    x = y @ draw.standard_normal((3, 20)) + 2 * draw.standard_normal((600, 20))
    one = heldout_cca(x, y, line_of(600))
    other = heldout_cca(x * 10.0 ** draw.integers(-6, 7, 20), y, line_of(600))
    assert other.fit.shrinkage == one.fit.shrinkage
    np.testing.assert_allclose(other.pairs, one.pairs, atol=1e-9)


def test_what_is_no_number_or_no_shrinkage_is_refused(draw):
    x, y = draw.standard_normal((60, 4)), draw.standard_normal((60, 2))
    fit = fit_cca(x, y, 0.1)
    for bad in (np.nan, np.inf):
        with pytest.raises(DataError, match="every value of y must be finite"):
            score_cca(fit, x, np.where(np.arange(60)[:, None] == 3, bad, y))
    with pytest.raises(
        DataError, match=r"every value of x must lie within 1e\+140 .* one is 1e\+200"
    ):
        fit_cca(np.where(np.arange(60)[:, None] == 3, 1e200, x), y, 0.1)
    for shrinkage in (0.0, 1.0, -0.1, np.nan):
        with pytest.raises(DataError, match="0 < shrinkage < 1 must hold"):
            fit_cca(x, y, shrinkage)


def test_features_that_never_vary_carry_nothing(draw):
    y = draw.standard_normal((500, 2))
    assert heldout_cca(np.ones((500, 3)), y, line_of(500), shrinkage=0.1).pairs.tolist() == [0, 0]
