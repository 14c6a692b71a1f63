import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from rheobase.core.errors import DataError
from rheobase.measures.cca import (
    best_shrinkage,
    choose_shrinkage,
    heldout_cca,
    heldout_of,
    within_and_cross_state,
)
from rheobase.measures.moments import Parts
from rheobase.measures.procrustes import procrustes_of
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
    parts = Parts(y, line, valid=np.arange(4000) % 75 != 0)
    found = parts.moments(x)
    train, test = parts.pooled(found, parts.train), parts.pooled(found, ~parts.train)
    folds = [parts.pooled(found, parts.fold == fold) for fold in range(parts.fold.max() + 1)]
    shrinkage = choose_shrinkage(x[line.train], y[line.train], line.group[line.train])
    assert best_shrinkage(folds) == shrinkage
    plain = heldout_cca(x, y, line)
    np.testing.assert_allclose(heldout_of(train, test, shrinkage).pairs, plain.pairs, atol=1e-12)
    within, cross, _ = within_and_cross_state(parts, found, shrinkage)
    by_pair = {
        (fitted, scored): heldout_cca(
            x,
            y,
            line,
            shrinkage=shrinkage,
            train=line.train & (line.state == fitted),
            test=line.test & (line.state == scored),
        ).mean
        for fitted in ("active", "passive")
        for scored in ("active", "passive")
    }
    assert within == pytest.approx(
        {state: by_pair[state, state] for state in ("active", "passive")}, abs=1e-12
    )
    turned = by_pair["active", "passive"] + by_pair["passive", "active"]
    assert cross == pytest.approx(turned / 2, abs=1e-12)


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
    left, right = padded[0][line.test] @ rotation, padded[1][line.test]
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
    line.split[(line.state == "passive") & line.test] = -1
    parts = Parts(y, line)
    with pytest.raises(DataError, match="of the split and state"):
        within_and_cross_state(parts, parts.moments(x), 0.01)
