import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheobase.core.errors import DataError
from rheobase.sessions.load import load_session
from rheobase.sessions.readers.npz import write_npz
from rheobase.shards.binning import make_shard
from rheobase.shards.ingest import bin_session
from rheobase.shards.settings import DataSettings
from rheobase.shards.shard import GAP, TEST, TRAIN, VALIDATION
from rheobase.shards.states import fitted_in, in_states, student_line, two_states
from rheobase.shards.timeline import SEALED, Timeline

STATES = ("active", "passive", "sleep")
LABELS = (TRAIN, VALIDATION, TEST, GAP, SEALED)


def line_of(states, split, scored=VALIDATION):
    num = len(states)
    zeros = np.zeros(num, np.int32)
    return Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=np.arange(num) / 100,
        segment=zeros,
        split=np.array(split, np.int8),
        group=zeros,
        state=np.array(states),
        presentation=zeros,
        phase=zeros,
        scored_split=scored,
    )


EVERY = [(state, label) for state in STATES for label in LABELS]
WHOLE = line_of(*zip(*EVERY, strict=True))
some_states = st.lists(st.sampled_from(STATES), unique=True).map(tuple)


@given(some_states, some_states, st.sampled_from([VALIDATION, TEST]))
def test_a_bin_keeps_its_part_or_is_set_aside(fit, score, scored):
    line = line_of(*zip(*EVERY, strict=True), scored=scored)
    found = in_states(line, "s", fit=fit, score=score)
    for (state, before), after in zip(EVERY, found.split.tolist(), strict=True):
        is_out = (before == TRAIN and fit and state not in fit) or (
            before in (VALIDATION, TEST) and score and state not in score
        )
        assert after == (GAP if is_out else before)
    assert line.split.tolist() == [label for _, label in EVERY]


def test_nothing_is_copied_where_all_states_are_fitted_and_scored():
    assert in_states(WHOLE, "s") is WHOLE


@pytest.mark.parametrize("key", ["fit", "score"])
def test_a_state_that_the_session_lacks_is_told_with_the_nearest_name(key):
    with pytest.raises(DataError) as caught:
        in_states(WHOLE, "mouse", **{key: ("pasive",)})
    assert str(caught.value) == (
        f"mouse: data.{key}_states must name states that the session has, but it lacks 'pasive'. "
        "Did you mean 'passive'? It has: active, passive, sleep"
    )


def test_a_recording_without_states_says_so():
    with pytest.raises(DataError, match=r"It has: one without a name$"):
        in_states(line_of(["", ""], [TRAIN, VALIDATION]), "s", fit=("active",))


def test_a_state_without_bins_to_fit_or_to_score_is_refused():
    line = line_of(["active", "passive"], [TRAIN, VALIDATION])
    assert in_states(line, "s", fit=("active",), score=("passive",)).split.tolist() == [
        TRAIN,
        VALIDATION,
    ]
    with pytest.raises(DataError, match="state 'passive' must have train bins, but has none"):
        in_states(line, "s", fit=("passive",))
    with pytest.raises(DataError, match="state 'active' must have held-out bins, but has none"):
        in_states(line, "s", score=("active",))
    assert not two_states(line)
    assert two_states(WHOLE)


@pytest.mark.parametrize(
    ("whom", "student", "teacher"),
    [
        ("both", ("active",), ("active",)),
        ("student", ("active",), ()),
        ("teacher", (), ("active",)),
    ],
)
def test_fit_states_bind_whom_the_study_says(whom, student, teacher):
    data = DataSettings(sessions=("x",), fit_states=("active",), fit_states_of=whom)
    assert data.fit_states_for("student") == student
    assert data.fit_states_for("teacher") == teacher
    fitted = student_line(WHOLE, "s", data)
    assert {*fitted.state[fitted.train].tolist()} == {*(student or STATES)}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"fit_states_of": "student"}, "fit_states names no state"),
        ({"fit_states": ["a", "a"]}, "name each state once"),
        ({"score_states": [""]}, "none without a name"),
    ],
)
def test_settings_that_mean_nothing_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        DataSettings(sessions=("x",), **table)


def test_a_teacher_of_one_state_sees_neither_train_nor_validation_of_another(planted_shard):
    found = fitted_in(planted_shard, ["active"])
    assert fitted_in(planted_shard, []) is planted_shard
    for before, after in zip(planted_shard.segments, found.segments, strict=True):
        if before.state == "active":
            assert after is before
            continue
        assert not np.isin(after.split, (TRAIN, VALIDATION)).any()
        np.testing.assert_array_equal(after.split == TEST, before.split == TEST)
    with pytest.raises(DataError, match=r"lacks 'sleep'\. It has: active, passive$"):
        fitted_in(planted_shard, ["sleep"])


@pytest.fixture(scope="module")
def planted_shard():
    address = "synthetic:planted?seed=0&minutes=1&units=8"
    return make_shard(load_session(address), DataSettings(sessions=(address,), quality="none"))


def test_which_states_are_fitted_makes_no_other_shard(tmp_path):
    draw = np.random.default_rng(0)
    trains = [np.sort(draw.uniform(0, 120, 500)) for _ in range(4)]
    write_npz(tmp_path / "mine.npz", trains, duration_s=120.0)
    plain = DataSettings(sessions=("x",), quality="none")
    of_states = plain.model_copy(update={"fit_states": ("active",), "score_states": ("passive",)})
    made = [
        bin_session(str(tmp_path / "mine.npz"), one, tmp_path / "shards")
        for one in (plain, of_states)
    ]
    assert made[0] == made[1]
