"""States that a study names and a session lacks: told before anything is binned or trained."""

import numpy as np
import pytest

from rheobase.core.errors import DataError, StudyError
from rheobase.sessions.readers.npz import write_npz
from rheobase.study.file.spec import parse_study
from rheobase.study.planning.estimate import estimate

PLANTED = "synthetic:planted?seed=0&minutes=2&units=20"
STUDY = """
name = "x"
[data]
sessions = ["{session}"]
{states}
[teacher]
latent_dim = 4
[student]
num_neurons = 8
[seeds]
report = [10]
"""


def table(data=None, **tables):
    return {
        "name": "x",
        "data": {"sessions": [PLANTED], **(data or {})},
        "teacher": {"latent_dim": 4, **tables.pop("teacher", {})},
        "student": {"num_neurons": 8},
        **tables,
    }


@pytest.mark.parametrize("key", ["fit_states", "score_states"])
def test_plan_refuses_a_state_that_the_session_lacks(cli, tmp_path, key):
    text = STUDY.format(session=PLANTED, states=f'{key} = ["sleep"]')
    (tmp_path / "x.toml").write_text(text)
    done = cli("plan", "x.toml")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == (
        f"DataError: {PLANTED}: data.{key} must name states that the session has, but it lacks "
        "'sleep'. It has: active, passive"
    )


def test_train_windows_are_counted_in_the_states_that_are_fitted():
    whole = estimate(parse_study(table()))
    part = estimate(parse_study(table({"fit_states": ["active"], "score_states": ["passive"]})))
    assert 0.3 < part.train_windows / whole.train_windows < 0.7
    assert part.validation_windows < whole.validation_windows
    assert part.sessions[0].num_bins == whole.sessions[0].num_bins


@pytest.mark.parametrize(
    ("tables", "named"),
    [
        ({"require": {"cca_cross_state": 0.5}}, "require.cca_cross_state"),
        (
            {"search": {"objectives": ["cca_heldout", "state_cost"]}},
            "search.objectives state_cost",
        ),
    ],
)
def test_what_compares_states_refuses_a_session_of_one(tables, named, tmp_path):
    estimate(parse_study(table(**tables)))
    draw = np.random.default_rng(0)
    trains = [np.sort(draw.uniform(0, 120, 300)) for _ in range(8)]
    write_npz(tmp_path / "one.npz", trains, duration_s=120.0)
    data = {"sessions": [str(tmp_path / "one.npz")], "quality": "none"}
    with pytest.raises(DataError, match=f"{named} needs two states"):
        estimate(parse_study(table(data, **tables)))


def test_a_teacher_that_pairs_states_must_learn_in_both():
    teacher = {"kind": "cva", "views": "replay"}
    with pytest.raises(StudyError, match="fit_states must name two states at least"):
        parse_study(table({"fit_states": ["active"]}, teacher=teacher))
    parse_study(table({"fit_states": ["active"], "fit_states_of": "student"}, teacher=teacher))
