from dataclasses import replace

import numpy as np
import pytest

from bare_shards import bare_shard
from rheobase.core.errors import DataError
from rheobase.shards.carried import carried_of, target_series
from rheobase.shards.counts import SparseCounts
from rheobase.shards.latents import Latents
from rheobase.shards.shard import GAP, TEST, TRAIN, Segment

NAMES = ("position_0", "position_1", "positions", "true:a", "true:b")
LATENTS = Latents("d", {"s": np.ones((40, 3), np.float32)}, dims=2)


def shard_of(values):
    none = np.full(40, -1, np.int32)
    split = np.repeat(np.array([TRAIN, GAP, TEST], np.int8), [20, 5, 15])
    segment = Segment(
        counts=SparseCounts.of_dense(np.zeros((40, 2), np.uint8)),
        start_s=0.0,
        state="",
        split=split,
        group=np.zeros(40, np.int32),
        presentation=none,
        phase=none,
        covariates=(values.astype(np.float32),),
    )
    return bare_shard(segment, covariate_names=NAMES)


@pytest.fixture
def values():
    return 5 + 3 * np.random.default_rng(0).standard_normal((5, 40))


def test_a_series_is_standardised_on_train_and_all_of_it_counts(values):
    found, dims = carried_of(shard_of(values), LATENTS, "series:position")
    assert dims is None
    assert found.shape == (40, 2)
    inside = values[:2, :20].T
    expected = (values[:2].T - inside.mean(axis=0)) / inside.std(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_true_names_all_true_latents_and_a_name_no_longer_one(values):
    shard = shard_of(values)
    assert target_series(shard, "series:true").shape == (40, 2)
    assert target_series(shard, "series:positions").shape == (40, 1)
    assert target_series(shard, "series:position_1").shape == (40, 1)


def test_latents_are_those_of_the_teacher_and_those_that_predict_count(values):
    found, dims = carried_of(shard_of(values), LATENTS, "latents")
    np.testing.assert_array_equal(found, LATENTS.by_session["s"])
    assert dims == 2


def test_what_is_not_there_or_not_known_throughout_is_told_in_one_line(values):
    shard = shard_of(values)
    with pytest.raises(DataError, match=r"position_0, position_1, positions, true\. Did you mean"):
        target_series(shard, "series:positon_0")
    with pytest.raises(DataError, match="which has none"):
        target_series(replace(shard, covariate_names=()), "series:position")
    lost = values.copy()
    lost[1, 22] = np.nan  # a gap, which nobody reads
    target_series(shard_of(lost), "series:position")
    lost[1, 30:32] = np.nan
    with pytest.raises(DataError, match="is not in 2 of 35; fill its gaps"):
        target_series(shard_of(lost), "series:position")
    still = values.copy()
    still[2, :20] = 1.0
    with pytest.raises(DataError, match="must vary on train"):
        target_series(shard_of(still), "series:positions")
