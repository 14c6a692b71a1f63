import numpy as np
import pytest
from scipy.stats import ortho_group

from rheobase.measures.cca import heldout_cca
from rheobase.measures.firing import ei_weight_balance
from rheobase.measures.moments import Parts
from rheobase.measures.procrustes import heldout_procrustes
from rheobase.measures.transfer import mean_across, state_scores
from rheobase.shards.timeline import Timeline


@pytest.fixture
def line():
    index = np.arange(4000)
    state = np.where(index < 2000, "active", "passive")
    return Timeline.of(index % 500 >= 350, group=index // 50, state=state)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_rotation_scores_one_and_another_linear_map_only_by_cca(line, seed):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((4000, 5))
    rotated = 3 * x @ ortho_group.rvs(5, random_state=draw) + 1
    skewed = x @ np.diag([10.0, 5, 1, 0.5, 0.1]) @ draw.standard_normal((5, 5))
    assert heldout_procrustes(x, rotated, line) == pytest.approx(1, abs=1e-3)
    assert heldout_procrustes(x, skewed, line) < 0.9
    assert heldout_cca(x, skewed, line, shrinkage=1e-12).mean == pytest.approx(1)


def test_a_code_that_turns_with_state_holds_within_and_fails_across(line):
    draw = np.random.default_rng(0)
    y = draw.standard_normal((4000, 2))
    x = np.where((line.state == "active")[:, None], y, y[:, ::-1] * [1, -1])
    parts = Parts(y, line)
    scores = state_scores(parts, parts.moments(x), 1e-6)
    assert scores is not None
    assert scores.within == pytest.approx({"active": 1.0, "passive": 1.0})
    assert abs(mean_across(scores)) < 0.2


def test_balance_counts_what_each_presynaptic_kind_sends():
    recurrent = np.array([[0.0, 2.0, -1.0], [2.0, 0.0, -1.0], [1.0, 1.0, 0.0]])
    signs = np.array([1, 1, -1])
    assert ei_weight_balance(recurrent, signs) == pytest.approx(2 / 6)


def test_what_never_varies_is_like_nothing_and_scale_changes_nothing(line):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((4000, 3))
    y = x + draw.standard_normal((4000, 3))
    assert heldout_procrustes(np.ones((4000, 3)), y, line) == 0.0
    plain = heldout_procrustes(x, y, line)
    assert heldout_procrustes(1e-5 * x, 1e-3 * y, line) == pytest.approx(plain)
    assert 0.5 < plain < 0.9
