from dataclasses import replace

import numpy as np
import pytest
import torch

from rheobase.shards.counts import SparseCounts
from rheobase.shards.shard import Segment, Shard
from rheobase.teacher import source as sources
from rheobase.teacher.features import filtered_counts, future_counts
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.source import Source, train_moments

LENGTHS, UNITS = (700, 40, 1300), 5


@pytest.fixture(scope="module")
def shard():
    """Three segments; groups of 50 bins, of which every fifth is test."""
    draw, segments, first = np.random.default_rng(0), [], 0
    for length in LENGTHS:
        group = ((first + np.arange(length)) // 50).astype(np.int32)
        none = np.full(length, -1, np.int32)
        counts = SparseCounts.of_dense(draw.poisson(0.2, (length, UNITS)).astype(np.uint8))
        split = (group % 5 == 4).astype(np.int8)
        segments.append(
            Segment(
                counts=counts,
                start_s=0.0,
                state="",
                split=split,
                group=group,
                presentation=none,
                phase=none,
            )
        )
        first += length
    no, area = np.zeros(0, bool), np.full(UNITS, "VISp")
    return Shard(
        session_id="s",
        data_digest="d",
        kind="continuous",
        bin_ms=10.0,
        unit_id=np.arange(UNITS),
        area=area,
        segments=tuple(segments),
        image=np.zeros(0, "U1"),
        is_change=no,
        omitted=no,
    )


def source_of(shard, **changes):
    table = {"latent_dim": 2, "context_ms": 60.0, "encoder_width": 4, "sigreg_mix": 1, "workers": 1}
    settings = TeacherSettings(**{**table, **changes})
    return Source(shard, settings, 300.0)


def test_part_of_a_recording_is_filtered_as_the_whole_is(shard):
    whole, ahead = filtered_counts(shard, (40.0, 160.0)), future_counts(shard, (20.0, 80.0))
    for begin, end in ((0, 2040), (650, 760), (1500, 1510)):
        part = filtered_counts(shard, (40.0, 160.0), begin, end)
        np.testing.assert_allclose(part, whole[begin:end], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(
            future_counts(shard, (20.0, 80.0), begin, end), ahead[begin:end]
        )


@pytest.mark.parametrize("encoder", ["linear", "gru"])
def test_a_batch_holds_presents_their_context_and_their_future(shard, encoder):
    source = source_of(shard, encoder=encoder)
    context, run = (6, 16) if encoder == "gru" else (0, 1)
    stretch = source.stretch(0)
    assert stretch.starts.min() == 0
    chosen = np.concatenate([stretch.starts[[0]], stretch.starts[stretch.starts > 740][[0, 90]]])
    batch = stretch.batch(chosen, context, run)
    filtered = filtered_counts(shard, source._settings.filters_ms, kind=np.float16)
    for row, start in enumerate(chosen):
        begin = 0 if start < 740 else 740
        for place in range(context + run):
            bin_ = start - context + place
            assert batch.inside[row, place, 0] == (bin_ >= begin)
            if bin_ >= begin:
                np.testing.assert_array_equal(batch.filtered[row, place], filtered[bin_])
        ahead = future_counts(shard, source._settings.horizons_ms)[start : start + run]
        np.testing.assert_array_equal(batch.future[row], ahead)


def test_held_out_groups_are_a_tenth_and_no_batch_holds_them(shard):
    source = source_of(shard, patience=2)
    groups = np.concatenate([s.group[s.split == 0] for s in shard.segments])
    group = np.concatenate([s.group for s in shard.segments])
    held = np.setdiff1d(groups, group[source.stretch(0).starts])
    assert len(held) == len(np.unique(groups)) // 10
    # Presents whose 40 ms of future are held out too.
    segment = np.repeat(np.arange(3), LENGTHS)
    first, last = np.arange(len(group) - 4), np.arange(4, len(group))
    asked = np.isin(group[first], held) & np.isin(group[last], held)
    expected = future_counts(shard, (40.0,))[first[asked & (segment[first] == segment[last])]]
    np.testing.assert_array_equal(source.held_out.future[:, 0].numpy(), expected)
    assert source_of(shard).held_out is None
    first = shard.segments[0]
    few = replace(first, split=np.where(first.group < 11, first.split, -1))  # nine train groups
    assert source_of(replace(shard, segments=(few,)), patience=2).held_out is None


def test_a_long_session_is_read_a_stretch_at_a_time(shard, monkeypatch):
    whole = source_of(shard, encoder="gru")
    all_starts = whole.stretch(0).starts
    filtered = filtered_counts(shard, whole._settings.filters_ms, kind=np.float16)
    monkeypatch.setattr(sources, "STRETCH_BINS", 256)
    monkeypatch.setattr(sources, "CHUNK_BINS", 64)
    source = source_of(shard, encoder="gru")
    found = set()
    for number in range(60):
        stretch = source.stretch(number)
        assert len(stretch.filtered) == 256
        batch = stretch.batch(stretch.starts, 6, 16)
        assert torch.isfinite(batch.filtered).all()
        # Where it lies is told by what one of its bins holds.
        apart = np.abs(filtered - stretch.filtered[200].numpy()).max(axis=1)
        begin = int(apart.argmin()) - 200
        assert apart.min() < 1e-3
        assert set(stretch.starts + begin) <= set(all_starts)
        found |= set((stretch.starts + begin).tolist())
    again = source.stretch(3)
    assert torch.equal(again.filtered, source_of(shard, encoder="gru").stretch(3).filtered)
    assert len(found) > 0.95 * len(all_starts)


def test_moments_of_train_are_those_of_its_bins(shard, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_BINS", 100)
    settings = TeacherSettings(latent_dim=2, horizons_ms=(40.0, 20.0))
    past, (near, far) = train_moments(shard, settings)
    starts = source_of(shard).stretch(0).starts
    filtered = filtered_counts(shard, settings.filters_ms)[starts]
    ahead = future_counts(shard, settings.horizons_ms)[starts]
    assert past.count == len(starts)
    np.testing.assert_allclose(past.mean, filtered.mean(0), atol=1e-6)
    np.testing.assert_allclose(past.covariance, np.cov(filtered.T, bias=True), atol=1e-6)
    np.testing.assert_allclose(near.mean, ahead[:, 0].mean(0))
    np.testing.assert_allclose(far.covariance, np.cov(ahead[:, 1].T, bias=True), atol=1e-9)
