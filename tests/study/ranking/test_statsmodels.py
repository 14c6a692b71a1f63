"""Holm's correction and intervals' standard errors beside those of statsmodels.

statsmodels is in no lock: it and what it needs are five packages for these two calls. What
statsmodels 0.15.0 gave is kept here, and where it is installed it is asked again.
"""

import numpy as np
import pytest

from rheobase.study.ranking.effects import standard_error
from rheobase.study.ranking.intervals import Runs, crossed_spread, estimate_mean
from rheobase.study.ranking.resampling import holm

P = (0.011, 0.04, 0.002, 0.03, 0.2, 0.011, 0.9)
HOLM = (0.066, 0.12, 0.014, 0.12, 0.4, 0.066, 0.9)
OVER_SESSIONS = 0.0189257
"""Standard error of the mean of runs in several sessions: a random intercept of each session."""
OF_SEEDS_AND_BLOCKS = 0.0211198
"""Of the mean in one session: seeds and blocks crossed, both random."""


def sessions():
    """Return differences (sessions, seeds) that vary between sessions and between seeds."""
    draw = np.random.default_rng(3)
    return 0.02 + draw.normal(0, 0.03, (6, 1)) + draw.normal(0, 0.02, (6, 4))


def blocks():
    """Return pseudo-values (seeds, blocks) in which both vary."""
    draw = np.random.default_rng(4)
    of_seeds, of_blocks = draw.normal(0, 0.03, (8, 1)), draw.normal(0, 0.04, (1, 10))
    return 0.02 + of_seeds + of_blocks + draw.normal(0, 0.02, (8, 10))


def test_holm_is_statsmodels():
    assert holm(P) == pytest.approx(HOLM)


def test_the_interval_over_sessions_rests_on_the_mixed_models_standard_error():
    values = sessions()
    names = [name for name in "abcdef" for _ in range(4)]
    found = estimate_mean(Runs(values.ravel().tolist(), names))
    assert standard_error(found) == pytest.approx(OVER_SESSIONS, rel=1e-4)


def test_the_interval_in_a_session_rests_on_the_mixed_model_of_crossed_seeds_and_blocks():
    values = blocks()
    found = crossed_spread(values.mean(axis=1), values)
    assert np.sqrt(found.variance) == pytest.approx(OF_SEEDS_AND_BLOCKS, rel=1e-4)


@pytest.mark.filterwarnings("default")
def test_statsmodels_still_gives_what_is_kept_here():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    mixed = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    assert multitest.multipletests(P, method="holm")[1] == pytest.approx(HOLM)
    values = sessions()
    one = mixed.MixedLM(values.ravel(), np.ones(values.size), np.repeat(np.arange(6), 4)).fit()
    assert one.bse_fe[0] == pytest.approx(OVER_SESSIONS, rel=1e-4)
    values = blocks()
    rows = [np.repeat(np.eye(8), 10, axis=0), np.tile(np.eye(10), (8, 1))]
    names = [[[str(n) for n in range(each.shape[1])]] for each in rows]
    crossed = mixed.VCSpec(["seeds", "blocks"], names, [[each] for each in rows])
    whole = {"exog_re": np.zeros((80, 0)), "exog_vc": crossed}
    both = mixed.MixedLM(values.ravel(), np.ones(80), np.zeros(80), **whole).fit()
    assert both.bse_fe[0] == pytest.approx(OF_SEEDS_AND_BLOCKS, rel=1e-4)
