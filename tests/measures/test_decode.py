from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score

from rheobase.core.errors import DataError
from rheobase.measures import decode as module
from rheobase.measures.decode import decode
from rheobase.measures.probes import folds, ridge_r2
from rheobase.measures.transfer import pairs_of_states
from rheobase.shards.timeline import Timeline


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def line_of(num, group=7, states=("",)):
    """Samples in groups of `group`, one group in four held out, states one after another."""
    index = np.arange(num)
    zeros = np.zeros(num, np.int32)
    number = (index // group).astype(np.int32)
    split = np.where(number % 4 == 3, 1, 0).astype(np.int8)
    state = np.array(states)[index * len(states) // num]
    return Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=index / 4,
        segment=zeros,
        split=split,
        group=number,
        state=state,
        presentation=zeros,
        phase=zeros,
    )


def test_a_planted_linear_code_is_decoded_perfectly(draw):
    label = draw.integers(8, size=800)
    code = draw.standard_normal((8, 5)) * 20
    x = code[label] + draw.standard_normal((800, 5))
    found = decode(x, label, line_of(800))
    assert found.accuracy == 1.0
    assert found.above_chance == 1.0
    assert found.chance == 1 / 8
    assert found.num_scored == line_of(800).scored.sum()


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_noise_is_decoded_at_chance_however_rare_a_class_is(draw, share):
    label = draw.random(8000) < share
    found = decode(draw.standard_normal((8000, 6)), label, line_of(8000))
    # The recall of the rarer class has the larger binomial spread.
    spread = 0.5 / np.sqrt(label[line_of(8000).scored].sum())
    assert abs(found.accuracy - 0.5) < 3 * spread
    assert found.above_chance == pytest.approx(2 * (found.accuracy - 0.5))


def test_a_rare_class_counts_as_much_as_a_common_one(draw):
    label = draw.random(4000) < 0.05
    x = label[:, None] * 2.0 + draw.standard_normal((4000, 1))
    # Two unit normals 2 apart, told by their middle: the normal integral up to 1.
    assert decode(x, label, line_of(4000)).accuracy == pytest.approx(0.841, abs=0.04)


def test_it_is_linear_discriminant_analysis_of_scikit_learn(draw, monkeypatch):
    label = draw.choice(3, 600, p=[0.6, 0.3, 0.1])
    x = draw.standard_normal((600, 12)) @ draw.standard_normal((12, 12)) + label[:, None] / 2
    line = line_of(600)
    monkeypatch.setattr(module, "SHRINKAGES", (0.2,))
    train, test = line.train, line.scored
    scaled = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2, priors=np.full(3, 1 / 3))
    model.fit(scaled[train], label[train])
    expected = balanced_accuracy_score(label[test], model.predict(scaled[test]))
    assert decode(x, label, line).accuracy == pytest.approx(expected, abs=1e-12)


def test_scale_shift_and_silent_features_change_nothing(draw):
    label = draw.integers(2, size=700)
    x = draw.standard_normal((700, 4)) + label[:, None]
    moved = np.concatenate([1000 * x[:, ::-1] - 3, np.full((700, 2), 0.1)], axis=1)
    # The silent ones lower the mean variance that shrinkage aims at, the classes stay the same.
    assert decode(moved, label, line_of(700)) == pytest.approx(
        decode(x, label, line_of(700)), abs=0.02
    )


def test_a_code_that_never_varies_is_at_chance(draw):
    label = draw.integers(4, size=400)
    assert decode(np.ones((400, 3)), label, line_of(400)).above_chance == 0


def test_shrinkage_is_chosen_inside_train(draw, monkeypatch):
    # As many features as samples: a covariance that is hardly shrunk is useless when inverted.
    label = draw.integers(2, size=400)
    x = draw.standard_normal((400, 300)) + 0.15 * label[:, None]
    chosen = decode(x, label, line_of(400)).accuracy
    monkeypatch.setattr(module, "SHRINKAGES", (1e-3,))
    assert chosen > decode(x, label, line_of(400)).accuracy + 0.1


def test_a_class_of_one_group_or_never_tested_takes_no_part(draw):
    line = line_of(280)
    label = draw.integers(2, size=280)
    label[:5] = 2  # one group
    label[np.flatnonzero(line.train)[50:90]] = 3  # several groups, none of them on test
    x = draw.standard_normal((280, 3))
    assert decode(x, label, line).chance == 0.5


@pytest.mark.parametrize("label", [np.zeros(280), np.arange(280)])
def test_fewer_than_two_classes_are_refused(draw, label):
    with pytest.raises(DataError, match="at least 2 classes must be seen in 2 groups"):
        decode(draw.standard_normal((280, 3)), label, line_of(280))


def test_a_nan_in_a_sample_that_is_used_is_refused(draw):
    x = draw.standard_normal((280, 3))
    x[5] = np.nan
    with pytest.raises(DataError, match="finite"):
        decode(x, draw.integers(2, size=280), line_of(280))


@given(st.lists(st.integers(0, 30), min_size=2, max_size=200))
def test_no_group_is_in_two_folds(group):
    group = np.array(group, np.int32)
    if len(np.unique(group)) < 2:
        with pytest.raises(DataError, match="2 groups"):
            folds(group)
        return
    fold = folds(group)
    assert all(len(set(fold[group == one])) == 1 for one in np.unique(group))
    assert len(np.unique(fold)) > 1


def test_a_block_told_by_its_offset_alone_is_not_decoded(draw):
    # Each block has a label and an offset of its own: with blocks split by bin it would be told.
    line = line_of(4000, group=50)
    label = draw.integers(2, size=80)[line.group]
    x = draw.standard_normal((80, 100))[line.group] + 0.1 * draw.standard_normal((4000, 100))
    leaking = replace(line, split=(np.arange(4000) % 4 == 3).astype(np.int8))
    assert decode(x, label, leaking).accuracy > 0.9
    assert decode(x, label, line).accuracy < 0.75


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(2, 3))
def test_whatever_the_pair_of_states_no_tested_group_is_fitted(group, num_states):
    line = line_of(300, group, [f"s{n}" for n in range(num_states)])
    pairs = pairs_of_states(line)
    assert len(pairs) == num_states**2
    for pair in pairs:
        assert not set(line.group[pair.train]) & set(line.group[pair.test])
        assert set(line.state[pair.train]) == {pair.fitted}
        assert set(line.state[pair.test]) == {pair.tested}


def across_states(score, line):
    """Return the score of every ordered pair of states."""
    return {(p.fitted, p.tested): score(p.train, p.test) for p in pairs_of_states(line)}


def test_a_code_that_holds_transfers_and_one_that_flips_does_not(draw):
    line = line_of(2000, states=("active", "passive"))
    label = draw.integers(4, size=2000)
    holds = np.eye(4)[label] * 9 + draw.standard_normal((2000, 4))
    other = np.where((line.state == "passive")[:, None], np.roll(holds, 1, axis=1), holds)
    for x, across in ((holds, 1.0), (other, -1 / 3)):  # told wrong every time: (0 - 1/4) / (3/4)
        found = across_states(
            lambda train, test, x=x: decode(x, label, line, train=train, test=test).above_chance,
            line,
        )
        assert (
            found["active", "active"] == found["passive", "passive"] == pytest.approx(1, abs=0.01)
        )
        assert found["active", "passive"] == pytest.approx(across, abs=0.01)
        assert found["passive", "active"] == pytest.approx(across, abs=0.01)


def test_a_map_to_the_truth_transfers_only_where_its_sign_holds(draw):
    line = line_of(4000, states=("active", "passive"))
    true = draw.standard_normal((4000, 1))
    for sign, across in ((1, 1.0), (-1, -3.0)):  # R² of -y for y: 1 - 4
        x = np.where(line.state == "passive", sign, 1)[:, None] * true

        def score(train, test, x=x):
            return float(ridge_r2(x, true, line, train=train, test=test)[0])

        found = across_states(score, line)
        assert found["active", "active"] == pytest.approx(1, abs=1e-6)
        assert found["active", "passive"] == pytest.approx(across, abs=0.05)


def test_one_state_has_nothing_to_transfer_to():
    with pytest.raises(DataError, match="two states must each have train and test samples"):
        pairs_of_states(line_of(100))
