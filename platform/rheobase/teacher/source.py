"""What the teacher draws its batches from: stretches of a session's train bins."""

# Shape legend: T bins, N units, F filters, H horizons, Q runs of a batch, J presents of a run,
# L bins of context before them.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rheobase.core.errors import DataError
from rheobase.core.seeds import generator
from rheobase.shards.shard import TRAIN, Shard
from rheobase.shards.timeline import timeline_of
from rheobase.shards.windows import window_starts
from rheobase.teacher.features import filtered_counts, future_counts, horizon_bins
from rheobase.teacher.moments import RunningMoments
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.sizes import STRETCH_BINS
from rheobase.teacher.state_gate import StateGate, states_of
from rheobase.teacher.trunk import context_bins
from rheobase.teacher.workers import place

CHUNK_BINS = 8192  # of moments
RUN_BINS = 16
"""Presents that share a context, where the encoder takes one: reading it costs as much as they."""
HELD_OUT = 10
"""One train group of so many is held out."""
MOST_HELD_OUT = 2048
"""Presents of a session on which the held-out loss is taken."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """Runs of consecutive presents, with what lies before and after each.

    Attributes
    ----------
    filtered
        (Q, L + J, F * N) filtered counts.
    inside
        (Q, L + J, 1), zero in context that lies before the segment.
    future
        (Q, J, H, N) counts after each present.
    odds
        (Q, L + J, C) of the brain states, inferred; C is 1, and they are too, where one map serves
        all.
    """

    filtered: Tensor
    inside: Tensor
    future: Tensor
    odds: Tensor

    def runs(self, chosen: slice) -> Batch:
        """Return some of the runs."""
        return Batch(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class Stretch:
    """Consecutive bins of a session, filtered, and the runs that may be drawn from them.

    Half precision halves their memory, the largest part of training's; its error of 0.05 % is
    far below the counts' own noise. `starts` (…,) and `segment_begins` (T,) count from the
    stretch's first bin.
    """

    filtered: Tensor
    future: Tensor
    odds: Tensor
    starts: Ints
    segment_begins: Ints

    def batch(self, starts: Ints, context: int, run: int) -> Batch:
        """Return the runs that begin at `starts` (Q,)."""
        presents = starts[:, None] + np.arange(run)
        rows = starts[:, None] + np.arange(-context, run)
        begins = np.maximum(self.segment_begins[starts], 0)[:, None]
        inside = torch.from_numpy(rows >= begins)
        read = torch.from_numpy(np.maximum(rows, begins))
        future = self.future[torch.from_numpy(presents)]
        return Batch(self.filtered[read], inside[..., None], future, self.odds[read])


class Source:
    """A session to draw from.

    Parameters
    ----------
    shard
        The session, binned.
    settings
        The [teacher] table.
    window_ms
        Longest stretch that presents and their future may span.

    Attributes
    ----------
    session
        Its id.
    held_out
        A fixed batch of train groups that no other batch holds; None where the session has
        fewer than `HELD_OUT` groups, or training does not ask for it.
    """

    def __init__(self, shard: Shard, settings: TeacherSettings, window_ms: float) -> None:
        self.session = shard.session_id
        self._shard, self._settings = shard, settings
        self._context = context_bins(settings, shard.bin_ms)
        longest = longest_horizon(shard, settings, window_ms)
        room = int(window_ms / shard.bin_ms + 1e-9) - longest
        self.run = min(RUN_BINS, room) if self._context else 1
        line = timeline_of(shard)
        starts = window_starts(line, TRAIN, self.run + longest)
        first, last = line.group[starts], line.group[starts + self.run - 1 + longest]
        held = self._held_out_groups(np.unique(line.group[line.train]))
        first_held, last_held = np.isin(first, held), np.isin(last, held)
        self._starts = starts[~first_held & ~last_held]
        self._segment_begins = np.searchsorted(line.segment, line.segment).astype(np.int64)
        apart = first_held & last_held
        self._odds = _odds(shard, settings)
        self.held_out = self._held_out_batch(starts[apart], first[apart])
        self._whole: Stretch | None = None

    def stretch(self, number: int) -> Stretch:
        """Return the stretch of a turn: the session whole, or as much of it as may be held.

        Its place is drawn from the teacher's seed, the session and the number of the turn.
        """
        if self._whole is None:
            num_bins = self._shard.num_bins
            if num_bins > STRETCH_BINS:
                draw = generator(self._settings.seed, "teacher", "stretch", self.session, number)
                middle = int(draw.choice(self._starts))
                begin = min(max(0, middle - STRETCH_BINS // 2), num_bins - STRETCH_BINS)
                return self._read(begin, begin + STRETCH_BINS, self._starts)
            self._whole = self._read(0, num_bins, self._starts)
        return self._whole

    def forget(self) -> None:
        """Let go of what `stretch` keeps."""
        self._whole = None

    def _read(self, begin: int, end: int, starts: Ints) -> Stretch:
        settings, shard = self._settings, self._shard
        fits = (starts - self._context >= begin) | (self._segment_begins[starts] >= begin)
        fits &= (starts >= begin) & (starts + self.run <= end)
        future = future_counts(shard, settings.horizons_ms, begin, end).astype(np.float16)
        return Stretch(
            torch.from_numpy(
                filtered_counts(shard, settings.filters_ms, begin, end, kind=np.float16)
            ),
            torch.from_numpy(future),
            self._odds[begin:end],
            starts[fits] - begin,
            self._segment_begins[begin:end] - begin,
        )

    def _held_out_groups(self, groups: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        if not self._settings.patience or len(groups) < HELD_OUT:
            return groups[:0]
        draw = generator(self._settings.seed, "teacher", "held_out", self.session)
        return draw.choice(groups, len(groups) // HELD_OUT, replace=False)

    def _held_out_batch(self, starts: Ints, group: npt.NDArray[np.int32]) -> Batch | None:
        """Return runs of held-out groups, evenly spread, read a group at a time."""
        num_runs = MOST_HELD_OUT // self.run
        chosen = np.unique(np.linspace(0, max(0, len(starts) - 1), num_runs).round().astype(int))
        # As many for each worker, in whole groups to mix.
        unit = self._settings.workers * self._settings.sigreg_mix
        chosen = chosen[: min(len(chosen), len(starts)) // unit * unit]
        if len(chosen) == 0:
            return None
        parts = []
        for one in np.unique(group[chosen]):
            of_group = starts[chosen[group[chosen] == one]]
            begin = max(0, int(of_group[0]) - self._context)
            part = self._read(begin, int(of_group[-1]) + self.run, of_group)
            parts.append(part.batch(part.starts, self._context, self.run))
        return Batch(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Batch)))


def _odds(shard: Shard, settings: TeacherSettings) -> Tensor:
    """Return the odds of a session's states (T, C), as its teacher infers them."""
    if settings.views != "replay":
        return torch.ones(shard.num_bins, 1)
    states = states_of(shard)
    gate = StateGate(shard.num_units, len(states))
    gate.fit_(shard, states)
    return torch.from_numpy(gate.odds(shard))


def sources_of(
    shards: Sequence[Shard], settings: TeacherSettings, window_ms: float
) -> list[Source]:
    """Return what a teacher of these sessions draws from, in the order of their ids.

    Parameters
    ----------
    shards
        Binned sessions.
    settings
        The [teacher] table.
    window_ms
        Longest stretch that presents and their future may span.

    Raises
    ------
    DataError
        No window fits, or a batch cannot be shared among the workers.
    """
    shards = sorted(shards, key=lambda shard: shard.session_id)
    sources = [Source(shard, settings, window_ms) for shard in shards]
    _, world = place()
    for source in sources:
        if settings.batch_windows % (source.run * world):
            raise DataError(
                f"teacher.batch_windows must be a multiple of the {world} workers"
                + (f" times the {source.run} bins of a run" if source.run > 1 else "")
                + f", but got {settings.batch_windows}"
            )
    return sources


def longest_horizon(shard: Shard, settings: TeacherSettings, window_ms: float) -> int:
    """Return the longest horizon in bins.

    Raises
    ------
    DataError
        A window has no room for it and the present.
    """
    longest = horizon_bins(settings.horizons_ms, shard.bin_ms)[-1]
    if (longest + 1) * shard.bin_ms > window_ms:
        raise DataError(
            f"the present bin and the longest horizon span {(longest + 1) * shard.bin_ms:g} ms, "
            f"which must fit data.window_ms = {window_ms:g}; use a shorter teacher.horizons_ms"
        )
    return longest


def train_moments(
    shard: Shard, settings: TeacherSettings
) -> tuple[RunningMoments, Sequence[RunningMoments]]:
    """Return moments of filtered counts, and of the counts of each horizon, over train bins.

    Of sessions longer than `STRETCH_BINS` they are taken from as many, in chunks evenly spread.
    """
    line = timeline_of(shard)
    longest = horizon_bins(settings.horizons_ms, shard.bin_ms)[-1]
    used = np.zeros(len(line), bool)
    used[window_starts(line, TRAIN, longest + 1)] = True
    past = RunningMoments(shard.num_units * len(settings.filters_ms))
    future = [RunningMoments(shard.num_units) for _ in settings.horizons_ms]
    begins = np.unique(np.flatnonzero(used) // CHUNK_BINS) * CHUNK_BINS
    most = STRETCH_BINS // CHUNK_BINS
    if len(begins) > most:
        begins = begins[np.linspace(0, len(begins) - 1, most).round().astype(int)]
    for begin in begins.tolist():
        end = min(begin + CHUNK_BINS, len(line))
        here = used[begin:end]
        past.add(filtered_counts(shard, settings.filters_ms, begin, end)[here])
        ahead = future_counts(shard, settings.horizons_ms, begin, end)[here]
        for index, moments in enumerate(future):
            moments.add(ahead[:, index])
    return past, future
