import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from rheobase.core.errors import DataError
from rheobase.measures.cca import choose_shrinkage, heldout_cca
from rheobase.measures.cca_moments import best_shrinkage, heldout_of
from rheobase.measures.moments import Parts, moments_of
from rheobase.measures.procrustes import procrustes_of
from rheobase.measures.transfer import mean_across, state_scores
from rheobase.shards.timeline import Timeline


@pytest.fixture
def line():
    index = np.arange(4000)
    zeros = np.zeros(4000, np.int32)
    state = np.where((index // 500) % 2 == 0, "active", "passive")
    split = np.where(index % 500 >= 480, -1, index % 500 >= 350).astype(np.int8)
    group = (index // 50).astype(np.int32)
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


def session(seed, num_features):
    draw = np.random.default_rng(seed)
    y = np.cumsum(draw.standard_normal((4000, 3)), axis=0).astype(np.float32)
    x = y @ draw.standard_normal((3, num_features)) + 9 * draw.standard_normal((4000, num_features))
    return x.astype(np.float32), y


@pytest.mark.parametrize("num_features", [2, 12])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_parts_say_is_what_their_samples_say(line, seed, num_features):
    x, y = session(seed, num_features)
    parts = Parts(y, line, [np.arange(4000) % 75 != 0])
    found = parts.moments(x)
    train, test = parts.pooled(found, parts.train), parts.pooled(found, ~parts.train)
    folds = [parts.pooled(found, parts.fold == fold) for fold in range(parts.fold.max() + 1)]
    shrinkage = choose_shrinkage(x[line.train], y[line.train], line.group[line.train])
    assert best_shrinkage(folds) == shrinkage
    plain = heldout_cca(x, y, line)
    np.testing.assert_allclose(heldout_of(train, test, shrinkage).pairs, plain.pairs, atol=1e-12)
    scores = state_scores(parts, found, shrinkage)
    by_pair = {
        (fitted, scored): heldout_cca(
            x,
            y,
            line,
            shrinkage=shrinkage,
            train=line.train & (line.state == fitted),
            test=line.scored & (line.state == scored),
        ).mean
        for fitted in ("active", "passive")
        for scored in ("active", "passive")
    }
    assert scores.within == pytest.approx(
        {state: by_pair[state, state] for state in ("active", "passive")}, abs=1e-12
    )
    turned = by_pair["active", "passive"] + by_pair["passive", "active"]
    assert mean_across(scores) == pytest.approx(turned / 2, abs=1e-12)


@pytest.mark.parametrize("num_features", [2, 12])
def test_procrustes_by_moments_is_that_of_the_padded_samples(line, num_features):
    x, y = session(0, num_features)
    parts = Parts(y, line)
    found = parts.moments(x)
    by_moments = procrustes_of(*(parts.pooled(found, p) for p in (parts.train, ~parts.train)))
    padded = np.zeros((2, 4000, max(num_features, 3)))
    padded[0, :, :num_features] = x - x[line.train].mean(axis=0, dtype=float)
    padded[1, :, :3] = y - y[line.train].mean(axis=0, dtype=float)
    rotation, _ = orthogonal_procrustes(padded[0][line.train], padded[1][line.train])
    left, right = padded[0][line.scored] @ rotation, padded[1][line.scored]
    plain = (left * right).sum() / np.linalg.norm(left) / np.linalg.norm(right)
    assert by_moments == pytest.approx(plain, abs=1e-10)


def test_a_latent_that_stands_still_in_what_is_fitted_is_refused(line):
    x, y = session(0, 4)
    y[line.train, 1] = 2.0
    parts = Parts(y, line)
    found = parts.moments(x)
    with pytest.raises(DataError, match="dimension 1 is constant"):
        parts.pooled(found, parts.train)


def test_a_state_that_is_never_tested_is_refused_in_one_line(line):
    x, y = session(0, 4)
    line.split[(line.state == "passive") & line.scored] = -1
    parts = Parts(y, line)
    with pytest.raises(DataError, match="of the split and state"):
        state_scores(parts, parts.moments(x), 0.01)


def test_parts_tell_their_fold_state_and_whether_their_bins_are_valid(line):
    x, y = session(0, 4)
    valid = np.arange(4000) % 75 != 0
    parts = Parts(y, line, [valid])
    by_part = parts.moments(x)
    assert sum(one.num for one in by_part) == (line.train | line.scored).sum()
    for state in ("active", "passive"):
        for is_valid in (True, False):
            for is_train in (True, False):
                chosen = (parts.state == state) & (parts.inside[0] == is_valid)
                chosen &= parts.train == is_train
                bins = (line.state == state) & (valid == is_valid)
                bins &= line.train if is_train else line.scored
                pooled, plain = parts.pooled(by_part, chosen), moments_of(x[bins], y[bins])
                assert pooled.num == plain.num
                np.testing.assert_allclose(pooled.mean_y, plain.mean_y, atol=1e-9)
                np.testing.assert_allclose(pooled.xy, plain.xy, rtol=1e-6, atol=1e-3)
    assert sorted(set(parts.fold)) == [-1, 0, 1, 2, 3, 4]
    assert not parts.train[parts.fold == -1].any()


def test_without_a_word_on_it_every_bin_is_valid(line):
    assert Parts(session(0, 4)[1], line).inside == []


def test_a_value_that_is_not_finite_is_named_by_its_side(line):
    x, y = session(0, 4)
    with pytest.raises(DataError, match="every value of x must be finite"):
        Parts(y, line).moments(np.where(np.arange(4000)[:, None] == 7, np.nan, x))
    with pytest.raises(DataError, match="every value of y must be finite"):
        Parts(np.where(np.arange(4000)[:, None] == 7, np.nan, y), line).moments(x)


def test_latents_may_stand_still_only_where_it_is_allowed(line):
    x, y = session(0, 4)
    y[:, 2] = 1.0
    parts = Parts(y, line)
    by_part = parts.moments(x)
    with pytest.raises(DataError, match="dimension 2 is constant"):
        parts.pooled(by_part, parts.train)
    assert parts.pooled(by_part, parts.train, even_constant=True).num == line.train.sum()


def test_a_fit_by_moments_keeps_its_shrinkage_and_the_mean_of_its_pairs(line):
    x, y = session(0, 6)
    parts = Parts(y, line)
    by_part = parts.moments(x)
    pooled = [parts.pooled(by_part, chosen) for chosen in (parts.train, ~parts.train)]
    for shrinkage in (1e-4, 0.3):
        held = heldout_of(*pooled, shrinkage)
        plain = heldout_cca(x, y, line, shrinkage=shrinkage)
        assert held.fit.shrinkage == plain.fit.shrinkage == shrinkage
        assert held.mean == pytest.approx(held.pairs.mean()) == pytest.approx(plain.mean)
        np.testing.assert_allclose(
            np.abs(held.fit.project_x), np.abs(plain.fit.project_x), rtol=1e-6
        )
        np.testing.assert_allclose(
            np.abs(held.fit.project_y), np.abs(plain.fit.project_y), rtol=1e-6
        )
