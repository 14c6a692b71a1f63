from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import ray
import torch

from rheobase.core.errors import DataError
from rheobase.distributed.reader import MIXED_SESSIONS, read_windows, window_references
from rheobase.shards.counts import SparseCounts
from rheobase.shards.shard import TEST, TRAIN, Segment, Shard
from rheobase.shards.store import read_shard, write_shard
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.shards.windows import window_starts

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Ten shards of different units, longer than a chunk."""
    folder, draw = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    found = []
    for number in range(MIXED_SESSIONS + 2):
        bins, units = 7000, 3 + number
        counts = SparseCounts.of_dense(draw.poisson(0.1, (bins, units)).astype(np.uint8))
        split = np.where(np.arange(bins) < 5000 + 300 * (number % 3), TRAIN, TEST).astype(np.int8)
        none = np.full(bins, -1, np.int32)
        segment = Segment(
            counts=counts,
            start_s=0.0,
            state="",
            split=split,
            group=none,
            presentation=none,
            phase=none,
        )
        no, unit = np.zeros(0, bool), np.arange(units)
        shard = Shard(
            session_id=f"s{number}",
            data_digest="d",
            kind="continuous",
            bin_ms=10.0,
            unit_id=unit,
            area=unit.astype(str),
            segments=(segment,),
            image=np.zeros(0, "U1"),
            is_change=no,
            omitted=no,
        )
        found.append(folder / f"{number}.arrow")
        write_shard(found[-1], replace(shard, session_id=f"s{number}"))
    return found


@pytest.mark.parametrize("split", [TRAIN, TEST])
def test_every_window_comes_once_an_epoch_with_its_own_counts(ray_with_two_cpus, paths, split):
    came = defaultdict(list)
    for batch in read_windows(window_references(paths, 100, 7, split=split, epochs=2)):
        assert len(batch.starts) <= 7
        came[batch.session_id].append((batch.starts, batch.counts))
    for path in paths:
        shard = read_shard(path)
        expected = window_starts(timeline_of(shard, open_test=True), split, 100, 100)
        starts = np.concatenate([found for found, _ in came[shard.session_id]])
        np.testing.assert_array_equal(np.sort(starts), np.repeat(expected, 2))
        dense = stacked_counts(shard)
        for found, counts in came[shard.session_id]:
            assert counts.dtype == torch.float32
            for start, window in zip(found, counts.numpy(), strict=True):
                np.testing.assert_array_equal(window, dense[start : start + 100])


def _order(references):
    return [(row["location"], row["starts"]) for row in references.iter_rows()]


def test_the_order_depends_on_the_seed_alone(ray_with_two_cpus, paths):
    first = _order(window_references(paths, 100, 7, seed=3))
    assert _order(window_references(paths, 100, 7, seed=3)) == first
    assert _order(window_references(paths, 100, 7, seed=4)) != first
    names = [location for location, _ in first]
    assert names != sorted(names)
    assert len(set(names[: len(names) // 2])) <= MIXED_SESSIONS


def test_workers_share_the_windows_between_them(ray_with_two_cpus, paths):
    @ray.remote(num_cpus=0.25)
    def read(share):
        return [(b.session_id, int(start)) for b in read_windows(share) for start in b.starts]

    shares = window_references(paths, 100, 7).streaming_split(2)
    parts = ray.get([read.remote(share) for share in shares], timeout=90)
    together = [one for part in parts for one in part]
    assert all(parts)
    assert len(set(together)) == len(together)
    lines = [timeline_of(read_shard(path)) for path in paths]
    assert len(together) == sum(len(window_starts(line, TRAIN, 100, 100)) for line in lines)


def test_a_length_of_no_bins_is_refused(paths):
    with pytest.raises(DataError, match="must be at least 1, but one is 0"):
        window_references(paths, 0, 7)
