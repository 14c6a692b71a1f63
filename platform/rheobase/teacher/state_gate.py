"""Which brain state a population is in, inferred from its slow spike counts."""

# Shape legend: T bins, N units, C states, B samples.

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import lfilter
from torch import Tensor, nn

from rheobase.core.errors import DataError
from rheobase.shards.shard import TRAIN, Shard
from rheobase.shards.timeline import timeline_of
from rheobase.teacher.features import filtered_counts

Floats = npt.NDArray[np.float64]
GATE_MS = 8000.0
"""Time constant of the counts that tell the state: of 1 to 8 s, the one that tells it best on a
planted session whose passive code is the active one with all signs turned."""
RIDGE = 1.0
"""Of the discriminant's covariance, as a share of a unit's variance: slow counts are few."""
EVERY = 50
"""Of so many bins one is fitted on: slow counts hardly change between."""
CHUNK_BINS = 32_768


def states_of(shard: Shard) -> tuple[str, ...]:
    """Return the states that have train bins, that of most bins first.

    Raises
    ------
    DataError
        There is one alone.
    """
    line = timeline_of(shard)
    names, counts = np.unique(line.state[line.train], return_counts=True)
    if len(names) < 2:
        found = ", ".join(str(name) or "one without a name" for name in names) or "none"
        raise DataError(
            f"{shard.session_id}: teacher.views = 'replay' needs train bins of two brain states, "
            f"but got {found}; leave views out"
        )
    return tuple(str(name) for name in names[np.argsort(-counts, kind="stable")])


class StateGate(nn.Module):
    """Linear discriminants of slow counts, one for each state.

    Attributes
    ----------
    weight
        (N, C) on each unit's counts through a causal exponential of `GATE_MS`.
    bias
        (C,).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, num_units: int, num_states: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(num_units, num_states))
        self.register_buffer("bias", torch.zeros(num_states))

    def fit_(self, shard: Shard, states: tuple[str, ...]) -> None:
        """Fit the discriminants on train bins of a session, whose states are known there."""
        line = timeline_of(shard)
        counts, state = [], []
        for begin in range(0, shard.num_bins, CHUNK_BINS):
            end = min(begin + CHUNK_BINS, shard.num_bins)
            here = np.flatnonzero(line.split[begin:end] == TRAIN)[::EVERY]
            slow = filtered_counts(shard, (GATE_MS,), begin, end)[here].astype(np.float64)
            counts.append(slow / self._filled(shard, begin, end)[here, None])
            state.append(line.state[begin + here])
        x, label = np.concatenate(counts), np.concatenate(state)
        scale = x.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        means = np.stack([(x[label == one] / scale).mean(axis=0) for one in states])
        within = sum(np.cov((x[label == one] / scale).T, bias=True) for one in states)
        within = np.atleast_2d(within) / len(states)
        ridge = RIDGE * max(float(np.trace(within)) / len(within), 1e-12)
        weight = np.linalg.solve(within + ridge * np.eye(len(within)), means.T)
        self.weight.copy_(torch.from_numpy(weight / scale[:, None]))
        self.bias.copy_(torch.from_numpy(-np.einsum("cn,nc->c", means, weight) / 2))

    def odds(self, shard: Shard) -> npt.NDArray[np.float32]:
        """Return the probability of each state at every bin (T, C), from the bins up to it."""
        parts = []
        decay = math.exp(-shard.bin_ms / GATE_MS)
        for segment in shard.segments:
            drive = np.concatenate(
                [
                    segment.counts.dense(begin, min(begin + CHUNK_BINS, len(segment)))
                    @ self.weight.numpy().astype(np.float64)
                    for begin in range(0, len(segment), CHUNK_BINS)
                ]
            )
            slow = lfilter([1 - decay], [1.0, -decay], drive, axis=0)
            filled = 1 - decay ** np.arange(1, len(segment) + 1)
            score = slow / filled[:, None] + self.bias.numpy()
            score -= score.max(axis=1, keepdims=True)
            odds = np.exp(score)
            parts.append((odds / odds.sum(axis=1, keepdims=True)).astype(np.float32))
        return np.concatenate(parts)

    @staticmethod
    def _filled(shard: Shard, begin: int, end: int) -> Floats:
        """Return how far the filter of each bin has filled since its segment began."""
        bins = np.concatenate([np.arange(1, len(one) + 1) for one in shard.segments])
        return np.asarray(1 - math.exp(-shard.bin_ms / GATE_MS) ** bins[begin:end])
