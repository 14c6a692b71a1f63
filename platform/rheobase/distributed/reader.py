"""Ray Data hands out references to windows; each reader maps the shards that they lie in."""

# Shape legend: B windows of a batch, T bins of a window, N units of its session.

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import ray.data
import torch
from ray.data import DataIterator, Dataset

from rheobase.core.errors import DataError
from rheobase.core.seeds import generator
from rheobase.core.storage import Location, located
from rheobase.shards.references import batches_of_windows
from rheobase.shards.shard import TRAIN, Shard
from rheobase.shards.store import read_shard
from rheobase.shards.windows import window_counts

MIXED_SESSIONS = 8
"""Sessions whose batches are mixed with each other, and shards that a reader keeps open."""


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """Windows of one session: `starts` (B,) bins of its timeline, `counts` (B, T, N) float32."""

    session_id: str
    starts: npt.NDArray[np.int64]
    counts: torch.Tensor


def window_references(
    locations: Sequence[Location],
    num_bins: int,
    batch_windows: int,
    *,
    split: int = TRAIN,
    stride_bins: int | None = None,
    epochs: int = 1,
    seed: int = 0,
) -> Dataset:
    """Return a dataset of references to batches of windows, for `read_windows`.

    Parameters
    ----------
    locations
        Shards, as `bin_sessions` returns them.
    num_bins
        Length of a window in bins (T).
    batch_windows
        Windows of a batch (B); the last one of a session and epoch may be smaller.
    split
        ``TRAIN`` or ``TEST``.
    stride_bins
        From one window to the next; `num_bins`, side by side, by default.
    epochs
        How often every window comes.
    seed
        Root seed of the order.

    Returns
    -------
    Rows of one batch each: location, starts and length of its windows. In an epoch every window
    comes once, in an order drawn from the seed alone: sessions in a random order, the batches of
    `MIXED_SESSIONS` of them mixed. Split it among workers with ``streaming_split``, or give it to
    Ray Train; counts never pass through Ray.

    Raises
    ------
    DataError
        A setting is not positive.
    """
    stride_bins = num_bins if stride_bins is None else stride_bins
    least = min(num_bins, batch_windows, stride_bins, epochs)
    if least < 1:
        raise DataError(
            "num_bins, batch_windows, stride_bins and epochs must be at least 1, but one is "
            f"{least}; name a positive number"
        )
    items = []
    for epoch in range(epochs):
        order = generator(seed, "windows", "sessions", epoch).permutation(len(locations)).tolist()
        for first in range(0, len(order), MIXED_SESSIONS):
            mixed = [str(locations[index]) for index in order[first : first + MIXED_SESSIONS]]
            items.append({"epoch": epoch, "first": first, "locations": mixed})
    refer = partial(
        batches_of_windows,
        num_bins=num_bins,
        batch_windows=batch_windows,
        split=split,
        stride_bins=stride_bins,
        seed=seed,
    )
    references = ray.data.from_items(items, override_num_blocks=len(items)).flat_map(refer)
    # Of this dataset alone: its context is a copy.
    references.context.execution_options.preserve_order = True
    return references


def read_windows(references: Dataset | DataIterator) -> Iterator[WindowBatch]:
    """Yield the batches that references name, reading each shard where it lies.

    Parameters
    ----------
    references
        What `window_references` returned, or a worker's share of it: one of
        ``streaming_split``, or ``ray.train.get_dataset_shard``.

    Notes
    -----
    At most `MIXED_SESSIONS` shards are open at a time: memory does not grow with their number.
    """
    opened: OrderedDict[str, Shard] = OrderedDict()
    for row in references.iter_rows():
        place = row["location"]
        if place not in opened and len(opened) == MIXED_SESSIONS:
            opened.popitem(last=False)
        shard = opened.pop(place) if place in opened else read_shard(located(place))
        opened[place] = shard  # the latest used is the last to go
        starts = np.frombuffer(row["starts"], np.int64)
        counts = window_counts(shard, starts, row["num_bins"], np.float32)
        yield WindowBatch(shard.session_id, starts, torch.from_numpy(counts))
