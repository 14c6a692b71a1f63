"""Optuna's importances of searched settings, of searches whose answer is known."""

import numpy as np
import pytest

from rheobase.core.errors import StudyError
from rheobase.study.file.spec import parse_study
from rheobase.study.search.importance import importances_of

MATTERS, IDLE = "student.rate_weight", "student.recurrent_gain"
SPACE = {MATTERS: {"low": 0.0, "high": 1.0}, IDLE: {"low": 0.0, "high": 1.0}}


def study(space):
    table = {"name": "x", "data": {"sessions": ["a.nwb"]}, "search": {"trials": 60}}
    table["search"]["space"] = space
    return parse_study(table)


@pytest.fixture
def records(trial_of, replicate_of):
    """Sixty trials whose held-out CCA is told by one of two settings alone."""
    draw = np.random.default_rng(0)
    found = []
    for number in range(60):
        params = {MATTERS: draw.uniform(), IDLE: draw.uniform()}
        one = trial_of(number, (replicate_of(0, 0.5 + 0.3 * params[MATTERS]),))
        found.append(one.model_copy(
            update={"request": one.request.model_copy(update={"params": params})}
        ))  # fmt: skip
    return found


def test_the_setting_that_alone_matters_has_most_of_both(records):
    found = importances_of(study(SPACE), records)
    assert (found.num_trials, found.num_best) == (60, 6)
    first, second = found.settings
    assert first.setting == MATTERS
    assert first.ped_anova > 0.8
    assert first.fanova > 0.9
    assert first.ped_anova + second.ped_anova == pytest.approx(1)
    assert "descriptive" in found.caveat
    assert importances_of(study(SPACE), records) == found


def test_a_setting_searched_under_a_condition_has_no_share_of_the_forest(records):
    choice = {"choices": ["lif", "izhikevich"]}
    space = {"student.neuron": choice, IDLE: SPACE[IDLE],
             MATTERS: {**SPACE[MATTERS], "when": {"student.neuron": "lif"}}}  # fmt: skip
    for at, one in enumerate(records):
        is_lif = at % 2 == 0
        one.request.params["student.neuron"] = "lif" if is_lif else "izhikevich"
    found = {one.setting: one for one in importances_of(study(space), records).settings}
    assert found[MATTERS].fanova is None
    assert found[IDLE].fanova is not None


@pytest.mark.parametrize(
    ("space", "num", "told"), [(SPACE, 3, "but 3 are"), ({}, 60, "but nothing is searched")]
)
def test_too_few_trials_and_no_search_are_refused(records, space, num, told):
    with pytest.raises(StudyError, match=told):
        importances_of(study(space), records[:num])
