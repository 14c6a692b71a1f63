from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rheobase.shards.counts import SparseCounts
from rheobase.shards.references import batches_of_windows
from rheobase.shards.shard import TEST, TRAIN, Segment, Shard
from rheobase.shards.store import read_shard, write_shard
from rheobase.shards.timeline import timeline_of
from rheobase.shards.windows import window_starts

NUM_BINS, STRIDE, BATCH = 20, 10, 4


def shard_of(session_id, num_bins):
    bins = np.arange(num_bins, dtype=np.int32)
    split = np.where(bins % 150 < 120, TRAIN, TEST).astype(np.int8)
    none = np.full(num_bins, -1, np.int32)
    counts = SparseCounts.of_dense(np.ones((num_bins, 1), np.uint8))
    segment = Segment(
        counts=counts,
        start_s=0.0,
        state="",
        split=split,
        group=bins // 150,
        presentation=none,
        phase=none,
    )
    no, unit = np.zeros(0, bool), np.arange(1)
    return Shard(
        session_id=session_id,
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


@pytest.fixture(scope="module")
def locations(tmp_path_factory):
    paths = []
    for name, num_bins in (("a", 600), ("b", 900)):
        paths.append(tmp_path_factory.mktemp(name) / "shard.arrow")
        write_shard(paths[-1], shard_of(name, num_bins))
    return [str(path) for path in paths]


def test_what_is_told_of_units_is_stored_with_them(tmp_path):
    told = {
        "waveform_duration": np.array([np.nan, 0.3]),
        "kind": np.array(["", "FS"]),
        "depth": np.array([1, 2]),
    }
    shard = replace(shard_of("a", 300), unit_columns=told)
    write_shard(tmp_path / "shard.arrow", shard)
    read = read_shard(tmp_path / "shard.arrow").unit_columns
    assert read.keys() == told.keys()
    for name, values in told.items():
        np.testing.assert_array_equal(read[name], values)


def batches(locations, epoch=0, first=0, seed=0):
    item = {"locations": locations, "epoch": epoch, "first": first}
    return batches_of_windows(item, NUM_BINS, BATCH, TRAIN, STRIDE, seed)


def starts_of(rows, location):
    own = [np.frombuffer(row["starts"], np.int64) for row in rows if row["location"] == location]
    return np.concatenate(own)


def test_every_window_of_every_shard_is_in_one_batch(locations):
    rows = batches(locations)
    for location in locations:
        expected = window_starts(timeline_of(read_shard(Path(location))), TRAIN, NUM_BINS, STRIDE)
        assert sorted(starts_of(rows, location).tolist()) == expected.tolist()
        lengths = [len(row["starts"]) // 8 for row in rows if row["location"] == location]
        assert sorted(lengths)[1:] == [BATCH] * (len(lengths) - 1)
    assert {row["num_bins"] for row in rows} == {NUM_BINS}


def test_batches_of_shards_are_mixed_and_windows_shuffled(locations):
    rows = batches(locations)
    order = [row["location"] for row in rows]
    assert order not in (sorted(order), sorted(order, reverse=True))
    starts = starts_of(rows, locations[0])
    assert starts.tolist() != sorted(starts.tolist())


def test_the_order_is_its_seeds_epochs_and_first_ones(locations):
    assert batches(locations) == batches(locations)
    for other in ({"seed": 1}, {"epoch": 1}, {"first": 2}):
        assert batches(locations, **other) != batches(locations)
