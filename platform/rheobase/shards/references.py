"""Batches of windows by reference: what Ray Data carries in place of counts."""

# torch is not imported here: Ray's workers would each spend seconds on it.

from __future__ import annotations

from typing import Any

from rheobase.core.seeds import generator
from rheobase.core.storage import located
from rheobase.shards.store import read_shard
from rheobase.shards.timeline import timeline_of
from rheobase.shards.windows import window_starts


def batches_of_windows(
    item: dict[str, Any],
    num_bins: int,
    batch_windows: int,
    split: int,
    stride_bins: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return a row for each batch of the windows of some shards in one epoch.

    Parameters
    ----------
    item
        `locations` of the shards, whose batches are mixed; `epoch` and `first`, which name the
        generator of their order.
    num_bins, batch_windows, split, stride_bins, seed
        As `window_references` takes them.

    Returns
    -------
    Rows of `location`, `num_bins`, and `starts`, the batch's first bins as the bytes of int64.
    """
    rows = []
    for location in item["locations"]:
        shard = read_shard(located(location))
        starts = window_starts(timeline_of(shard, open_test=True), split, num_bins, stride_bins)
        generator(seed, "windows", shard.session_id, item["epoch"]).shuffle(starts)
        rows += [
            {
                "location": location,
                "num_bins": num_bins,
                "starts": starts[begin : begin + batch_windows].tobytes(),
            }
            for begin in range(0, len(starts), batch_windows)
        ]
    draw = generator(seed, "windows", "batches", item["epoch"], item["first"])
    return [rows[index] for index in draw.permutation(len(rows))]
