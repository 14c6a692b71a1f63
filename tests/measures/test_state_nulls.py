"""Held-out CCA within and across states, its blocks and nulls, against loops that are plain."""

import numpy as np
import pytest
from scipy.signal import lfilter

from rheobase.measures.cca import heldout_cca
from rheobase.measures.moments import Parts, moments_of
from rheobase.measures.nulls import Measured, shift_rows
from rheobase.measures.state_nulls import StateNulls
from rheobase.measures.transfer import state_blocks, state_scores
from rheobase.shards.shard import TEST, TRAIN
from rheobase.shards.timeline import Timeline

HALF, BLOCK = 6_000, 600  # bins of a state, and of a block
STATES = ("active", "passive")
SHRINKAGE = 0.01


def recording(seed=0):
    """A minute of each state in blocks of 6 s, a fifth of them scored, and latents (T, 2)."""
    draw = np.random.default_rng(seed)
    num = 2 * HALF
    group = (np.arange(num) // BLOCK).astype(np.int32)
    line = Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=np.arange(num) / 100,
        segment=(np.arange(num) // HALF).astype(np.int32),
        split=np.where(np.isin(group % 5, (1, 3)), TEST, TRAIN).astype(np.int8),
        group=group,
        state=np.repeat(STATES, HALF),
        presentation=np.full(num, -1, np.int32),
        phase=np.full(num, -1, np.int32),
        scored_split=TEST,
    )
    y = lfilter([0.3], [1.0, -0.9], draw.standard_normal((num, 2)), axis=0)
    return line, y, draw


def flipped(y, line, draw, noise=0.3):
    """Features that carry the latents in one state and their negatives in the other."""
    sign = np.where(line.state == "active", 1.0, -1.0)[:, None]
    return sign * (y @ draw.standard_normal((2, 4))) + noise * draw.standard_normal((len(y), 4))


def scored(x, y, line):
    parts = Parts(y, line)
    return state_scores(parts, parts.moments(x), SHRINKAGE)


def test_a_code_that_is_flipped_is_whole_within_and_turned_across():
    line, y, draw = recording()
    found = scored(flipped(y, line, draw), y, line)
    assert min(found.within.values()) > 0.9
    assert max(found.across) < -0.9


def test_a_code_that_stays_is_as_good_across_as_within_whatever_map_features_take():
    line, y, draw = recording()
    x = y @ draw.standard_normal((2, 4)) + 0.3 * draw.standard_normal((len(y), 4))
    found = scored(x, y, line)
    assert np.mean(found.across) == pytest.approx(np.mean(list(found.within.values())), abs=0.02)
    again = scored(x * [1.0, 2.0, 5.0, 0.1] + 3.0, y, line)
    np.testing.assert_allclose(again.across, found.across, atol=1e-9)


def of_pair(x, y, line, fitted, tested, left_out=-1):
    is_left = line.group == left_out
    return heldout_cca(
        x,
        y,
        line,
        shrinkage=SHRINKAGE,
        train=line.train & (line.state == fitted),
        test=line.scored & (line.state == tested) & ~is_left,
    ).mean


def mean_of_pairs(x, y, line, across, left_out=-1):
    pairs = [(a, b) for a in STATES for b in STATES if (a != b) is across]
    return np.mean([of_pair(x, y, line, a, b, left_out) for a, b in pairs])


@pytest.mark.parametrize("across", [False, True])
def test_a_pseudo_value_is_what_leaving_the_block_out_gives(across):
    line, y, draw = recording()
    x = flipped(y, line, draw, noise=1.0)
    found = state_blocks(scored(x, y, line), x, y, line, across=across)
    blocks = np.unique(line.group[line.scored])
    whole = mean_of_pairs(x, y, line, across)
    left = [mean_of_pairs(x, y, line, across, block) for block in blocks]
    expected = len(blocks) * whole - (len(blocks) - 1) * np.array(left)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_one_block_of_a_state_tells_nothing_of_its_spread():
    line, y, draw = recording()
    one = np.isin(line.group, (1, 11, 13))
    line.split[line.scored & ~one] = -1
    x = flipped(y, line, draw)
    assert len(state_blocks(scored(x, y, line), x, y, line, across=True)) == 0


def measured(x, y, line, null):
    valid = null.valid

    def moments(part, state):
        bins = part & valid & (line.state == state)
        return moments_of(x[bins], y[bins])

    return {
        state: Measured(x, moments(line.train, state), moments(line.scored, state), SHRINKAGE)
        for state in STATES
    }


def test_draws_are_those_of_a_loop_over_shifted_teachers():
    line, y, draw = recording()
    x = flipped(y, line, draw)
    null = shift_rows(line, draw, 4)
    ((within, across),) = StateNulls(y, line, null, STATES).of([measured(x, y, line, null)])
    line.split[~null.valid] = -1
    for found, is_across in ((within, False), (across, True)):
        expected = [mean_of_pairs(x, y[row], line, is_across) for row in null.rows]
        np.testing.assert_allclose(found.draws, expected, atol=1e-9)
        assert found.own == pytest.approx(mean_of_pairs(x, y, line, is_across), abs=1e-9)


def test_features_that_know_nothing_lie_inside_the_null_and_a_code_that_stays_above():
    inside = 0
    for seed in range(10):
        line, y, draw = recording(seed)
        null = shift_rows(line, draw, 40)
        nulls = StateNulls(y, line, null, STATES)
        knows = y @ draw.standard_normal((2, 4)) + draw.standard_normal((len(y), 4))
        noise = lfilter([0.3], [1.0, -0.9], draw.standard_normal((len(y), 4)), axis=0)
        (good, of_noise) = nulls.of([measured(x, y, line, null) for x in (knows, noise)])
        for one in good:
            assert one.own > np.quantile(one.draws, 0.95) + 0.3
        inside += of_noise[1].own <= np.quantile(of_noise[1].draws, 0.95)
    assert inside >= 8  # of 10 at 95 %: fewer would be seen once in a hundred
