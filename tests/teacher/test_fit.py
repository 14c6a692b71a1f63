import copy
import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from rheobase.core.errors import DataError
from rheobase.shards.counts import SparseCounts
from rheobase.shards.shard import Segment, Shard
from rheobase.teacher import training
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import ReadIn, Teacher
from rheobase.teacher.features import future_counts
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.moments import RunningMoments
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.source import sources_of
from rheobase.teacher.start import start_teacher
from rheobase.teacher.training import TrainingFailed, advance, begun, restored

SETTINGS = TeacherSettings(latent_dim=3, steps=200, batch_windows=32, sigreg_slices=16)


def shard_of(counts):
    zeros = np.zeros(len(counts), np.int32)
    split = np.where(np.arange(len(counts)) < 3000, 0, 1).astype(np.int8)
    group = (np.arange(len(counts)) // 100).astype(np.int32)
    segment = Segment(
        counts=SparseCounts.of_dense(counts),
        start_s=0.0,
        state="",
        split=split,
        group=group,
        presentation=zeros - 1,
        phase=zeros - 1,
    )
    no = np.zeros(0, bool)
    units = counts.shape[1]
    return Shard(
        session_id="s.1",
        data_digest="d",
        kind="continuous",
        bin_ms=10.0,
        unit_id=np.arange(units),
        area=np.full(units, "VISp"),
        segments=(segment,),
        image=np.zeros(0, "U1"),
        is_change=no,
        omitted=no,
    )


@pytest.fixture(scope="module")
def shard():
    return shard_of(np.random.default_rng(0).poisson(0.2, (4000, 8)).astype(np.uint8))


@pytest.fixture(scope="module")
def others(shard):
    """Five more sessions of other units."""
    draw = np.random.default_rng(1)
    return [
        replace(shard_of(draw.poisson(0.2, (4000, units)).astype(np.uint8)), session_id=f"o{units}")
        for units in range(4, 9)
    ]


@pytest.mark.parametrize("changes", [{}, {"patience": 1}, {"encoder": "gru", "context_ms": 80.0}])
def test_training_resumed_from_a_report_ends_as_if_never_stopped(
    shard, others, changes, monkeypatch
):
    monkeypatch.setattr(training, "VISIT_STEPS", 10)
    settings = SETTINGS.model_copy(update={"workers": 1, "steps": 20, **changes})
    sessions = [shard, *others]
    half, _ = advance(begun(sessions, settings), sources_of(sessions, settings, 1000.0))
    stored = io.BytesIO()
    torch.save(half.state(), stored)
    stored.seek(0)
    again = restored(torch.load(stored, weights_only=True))
    assert half.step == again.step == 60  # of six sessions, ten steps each
    end, losses = advance(half, sources_of(sessions, settings, 1000.0))
    end_again, losses_again = advance(again, sources_of(sessions, settings, 1000.0))
    assert losses == losses_again
    assert end.is_over
    whole = fit_teacher(sessions, settings, 1000.0)
    copied = Teacher.from_state(whole.state())
    for one in sessions:
        for other in (end.finished(), end_again.finished(), copied):
            np.testing.assert_array_equal(encode(whole, one), encode(other, one))


def assert_same(state, other):
    """Compare two nested states; tensors bit for bit."""
    assert type(state) is type(other)
    if isinstance(state, dict):
        assert state.keys() == other.keys()
        for name in state:
            assert_same(state[name], other[name])
    elif isinstance(state, list | tuple):
        for one, another in zip(state, other, strict=True):
            assert_same(one, another)
    elif isinstance(state, torch.Tensor):
        torch.testing.assert_close(state, other, rtol=0, atol=0, equal_nan=True)
    else:
        assert state == other


def test_training_on_leaves_what_it_began_from_as_it_was(shard, monkeypatch):
    monkeypatch.setattr(training, "VISIT_STEPS", 10)
    settings = SETTINGS.model_copy(update={"workers": 1, "patience": 3})
    sources = sources_of([shard], settings, 1000.0)
    first, _ = advance(begun([shard], settings), sources)
    kept = copy.deepcopy(first.state())
    second, losses = advance(first, sources)
    assert_same(first.state(), kept)
    again, losses_again = advance(first, sources)
    assert losses == losses_again
    assert_same(second.state(), again.state())
    assert not torch.equal(second.teacher.reader("s.1").weight, first.teacher.reader("s.1").weight)


def test_training_ends_at_the_patience_and_keeps_the_best(shard):
    settings = SETTINGS.model_copy(update={"patience": 2, "steps": 1000, "workers": 1})
    sources, passed, held_out = (
        sources_of([shard], settings, 1000.0),
        [begun([shard], settings)],
        [],
    )
    while not passed[-1].is_over:
        after, losses = advance(passed[-1], sources)
        passed.append(after)
        held_out.append(losses["held_out"])
    best = int(np.argmin(held_out))
    assert len(held_out) == best + 3 < 10  # noise: nothing to learn
    kept = encode(passed[best + 1].teacher, shard)
    for teacher in (
        fit_teacher([shard], settings, 1000.0),
        passed[-1].finished(),
        restored(passed[-1].state()).finished(),
    ):
        np.testing.assert_array_equal(encode(teacher, shard), kept)
    assert (encode(passed[-1].teacher, shard) != kept).any()


def test_every_session_is_trained(shard, others):
    settings = SETTINGS.model_copy(update={"steps": 5})
    start = start_teacher([shard, *others], settings)
    teacher = fit_teacher([shard, *others], settings, 1000.0)
    for one in (shard, *others):
        moved = encode(teacher, one) - encode(start, one)
        assert np.abs(moved).max() > 0.1


def test_a_shared_trunk_and_predictor_stay_and_the_read_in_learns(shard, others):
    settings = SETTINGS.model_copy(update={"encoder": "tcn", "encoder_width": 8})
    teacher = fit_teacher([shard], settings, 1000.0)
    adapted = fit_teacher(others[:1], settings, 1000.0, shared=teacher)
    for name in ("trunk", "predictor"):
        for one, other in zip(
            getattr(teacher, name).parameters(), getattr(adapted, name).parameters(), strict=True
        ):
            assert torch.equal(one, other)
    start = start_teacher(others[:1], settings)
    key = others[0].session_id
    assert not torch.equal(adapted.reader(key).weight, start.reader(key).weight)


@pytest.mark.parametrize("encoder", ["linear", "transformer"])
def test_training_in_bfloat16_follows_that_in_float32(shard, encoder):
    found = {}
    for precision in ("float32", "bfloat16"):
        settings = SETTINGS.model_copy(
            update={"precision": precision, "encoder": encoder, "steps": 20, "context_ms": 80.0}
        )
        teacher = fit_teacher([shard], settings, 1000.0)
        assert next(teacher.parameters()).dtype == torch.float32
        found[precision] = encode(teacher, shard)
    apart = np.abs(found["float32"] - found["bfloat16"]).mean(axis=0)
    assert (apart > 0).all()
    assert (apart < 0.2 * found["float32"].std(axis=0)).all()


def test_sessions_without_a_common_state_are_refused(shard, others):
    def in_state(one, state):
        return replace(one, segments=tuple(replace(s, state=state) for s in one.segments))

    with pytest.raises(DataError, match=r"in common.*o4: passive; s\.1: active; train on"):
        fit_teacher([in_state(shard, "active"), in_state(others[0], "passive")], SETTINGS, 1000.0)


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
    found = RunningMoments(inputs.shape[1])
    found.add(inputs)
    return found


def test_a_read_in_has_so_many_components_for_each_second_of_train_at_most(shard):
    for rate, expected in ((0.2, 6), (0.4, 12), (1.0, 16)):  # of 30 s and two filters of 8 units
        made = start_teacher([shard], SETTINGS.model_copy(update={"components_per_s": rate}))
        assert torch.linalg.matrix_rank(made.reader("s.1").components) == expected


def test_a_read_in_has_as_many_components_as_outputs_at_least():
    inputs = np.random.default_rng(0).standard_normal((1000, 20))
    layer = ReadIn(20, 4, torch.Generator())
    for asked, found in ((10, 10), (2, 4)):
        layer.prepare(moments_of(inputs), asked)
        assert torch.linalg.matrix_rank(layer.components) == found
