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
    """Return a row for each batch of one shard's windows in one epoch, in a random order.

    Parameters
    ----------
    item
        `location` of a shard, `epoch`, and `round`, the whole part of the rows' order.
    num_bins, batch_windows, split, stride_bins, seed
        As `window_references` takes them.

    Returns
    -------
    Rows of `order`, a number to sort by; `location`; `num_bins`; `starts`, the batch's first bins
    as the bytes of int64.
    """
    shard = read_shard(located(item["location"]))
    starts = window_starts(timeline_of(shard), split, num_bins, stride_bins)
    draw = generator(seed, "windows", shard.session_id, item["epoch"])
    draw.shuffle(starts)
    return [
        {
            "order": item["round"] + float(draw.random()),
            "location": item["location"],
            "num_bins": num_bins,
            "starts": starts[begin : begin + batch_windows].tobytes(),
        }
        for begin in range(0, len(starts), batch_windows)
    ]
