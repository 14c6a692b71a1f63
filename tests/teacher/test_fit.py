import numpy as np
import pytest
import torch

from rheobase.core.errors import DataError
from rheobase.shards.counts import Counts
from rheobase.shards.shard import Segment, Shard
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import ReadIn, Teacher
from rheobase.teacher.features import future_counts
from rheobase.teacher.fit import TrainingFailed, fit_teacher
from rheobase.teacher.moments import Moments
from rheobase.teacher.settings import TeacherSettings

SETTINGS = TeacherSettings(latent_dim=3, steps=600, batch_windows=32, sigreg_slices=16)


def shard_of(counts):
    zeros = np.zeros(len(counts), np.int32)
    split = np.where(np.arange(len(counts)) < 3000, 0, 1).astype(np.int8)
    segment = Segment(Counts.of_dense(counts), 0.0, "", split, zeros, zeros - 1, zeros - 1)
    no = np.zeros(0, bool)
    units = counts.shape[1]
    return Shard(
        "s.1", "d", "continuous", 10.0, np.arange(units), np.full(units, "VISp"), (segment,),
        np.zeros(0, "U1"), no, no,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shard():
    return shard_of(np.random.default_rng(0).poisson(0.2, (4000, 8)).astype(np.uint8))


def test_training_resumed_from_a_report_ends_as_if_never_stopped(shard):
    states = {}
    whole = fit_teacher(
        [shard], SETTINGS, 1000.0, on_report=lambda at, _, state: states.setdefault(at, state())
    )
    again = fit_teacher([shard], SETTINGS, 1000.0, resume=states[500])
    np.testing.assert_array_equal(encode(whole, shard), encode(again, shard))
    stored = Teacher.from_state(whole.state())
    np.testing.assert_array_equal(encode(stored, shard), encode(whole, shard))


def test_a_latent_sees_no_bin_after_its_own(shard):
    teacher = Teacher(SETTINGS, {"s.1": 8}, 10.0, torch.Generator().manual_seed(0))
    later = shard.segments[0].counts.dense()
    later[2000:] += 1
    before, after = encode(teacher, shard), encode(teacher, shard_of(later))
    np.testing.assert_array_equal(before[:2000], after[:2000])
    assert (before[2000] != after[2000]).any()


def test_past_and_future_share_no_spike_and_miss_none(shard):
    counts = shard.segments[0].counts.dense().astype(int)
    future = future_counts(shard, (40.0, 10.0))
    np.testing.assert_array_equal(future[:-1, 0], counts[1:])
    np.testing.assert_array_equal(future[100, 1], counts[101:105].sum(0))
    np.testing.assert_array_equal(future[-1], np.zeros((2, 8)))
    earlier = counts.copy()
    earlier[:101] += 1
    changed = future_counts(shard_of(earlier.astype(np.uint8)), (40.0, 10.0))
    np.testing.assert_array_equal(changed[100:], future[100:])


def test_more_dimensions_than_units_are_refused(shard):
    with pytest.raises(DataError, match="at most its 8 units"):
        fit_teacher([shard], TeacherSettings(latent_dim=9), 1000.0)


def test_a_horizon_longer_than_a_window_is_refused(shard):
    with pytest.raises(DataError, match=r"span 110 ms, which must fit data.window_ms = 100;"):
        fit_teacher([shard], SETTINGS.model_copy(update={"horizons_ms": (40.0, 100.0)}), 100.0)


def test_a_loss_that_is_not_finite_stops_training(shard):
    wild = SETTINGS.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingFailed, match="must stay finite, but step"):
        fit_teacher([shard], wild, 1000.0)


def moments_of(inputs):
    found = Moments(inputs.shape[1])
    found.add(inputs)
    return found


def test_a_read_in_has_a_component_for_each_second_of_train_at_most():
    inputs = np.random.default_rng(0).standard_normal((1000, 20))
    layer = ReadIn(20, 4, torch.Generator())
    layer.prepare(moments_of(inputs), bin_ms=10.0)  # ten seconds
    assert torch.linalg.matrix_rank(layer.components) == 10
    layer.prepare(moments_of(inputs[:200]), bin_ms=10.0)  # two, for four outputs
    assert torch.linalg.matrix_rank(layer.components) == 4
