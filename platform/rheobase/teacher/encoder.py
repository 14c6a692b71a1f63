"""The teacher: causal filters, a linear read-in for each session, a shared predictor."""

# Shape legend: B samples, T bins, N units, F filters, D latent dimensions, L lags, H horizons.

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import lfilter
from torch import Tensor, nn

from rheobase.shards.shard import TRAIN, Shard
from rheobase.teacher.settings import TeacherSettings


def filtered_counts(shard: Shard, filters_ms: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """Return counts through causal exponential filters, (T, F * N), segment by segment.

    Each filter is ``y[t] = a y[t-1] + (1 - a) x[t]`` with ``a = exp(-bin / tau)``, started
    at rest: bin t sees bins <= t of its own segment only.
    """
    rows = []
    for segment in shard.segments:
        counts = segment.counts.dense().astype(np.float32)
        columns = []
        for tau_ms in filters_ms:
            decay = math.exp(-shard.bin_ms / tau_ms)
            b, a = np.array([[1 - decay, 0.0], [1.0, -decay]], np.float32)
            columns.append(lfilter(b, a, counts, axis=0).astype(np.float32))
        rows.append(np.concatenate(columns, axis=1))
    return np.concatenate(rows)


class Teacher(nn.Module):
    """Maps filtered counts to latents, and latents of the past to latents of the future.

    Attributes
    ----------
    read_in
        For each session a linear map (F * N -> D) of its standardised filtered counts.
    predictor
        A two-layer map (L * D -> H * D), shared by all sessions.
    """

    def __init__(
        self, settings: TeacherSettings, num_units: Mapping[str, int], seed: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.num_units = dict(num_units)
        dims = settings.latent_dim
        self.read_in = nn.ModuleDict()
        for session in sorted(num_units):
            width = num_units[session] * len(settings.filters_ms)
            layer = nn.Linear(width, dims)
            with torch.no_grad():
                layer.weight.copy_(torch.randn(dims, width, generator=seed) / math.sqrt(width))
                layer.bias.zero_()
            self.read_in[_key(session)] = layer
            self.register_buffer(f"mean_{_key(session)}", torch.zeros(width))
            self.register_buffer(f"scale_{_key(session)}", torch.ones(width))
        lags, horizons = len(settings.history_ms), len(settings.horizons_ms)
        self.predictor = nn.Sequential(
            nn.Linear(lags * dims, settings.predictor_width),
            nn.GELU(),
            nn.Linear(settings.predictor_width, horizons * dims),
        )
        with torch.no_grad():
            for part in self.predictor:
                if isinstance(part, nn.Linear):
                    start = torch.randn(part.weight.shape, generator=seed)
                    part.weight.copy_(start / math.sqrt(part.in_features))
                    part.bias.zero_()

    def standardise(self, session: str, filtered: npt.NDArray[np.float32], shard: Shard) -> None:
        """Take each filtered unit's mean and scale from the session's train bins."""
        train = np.concatenate([segment.split for segment in shard.segments]) == TRAIN
        mean, scale = filtered[train].mean(axis=0), filtered[train].std(axis=0)
        getattr(self, f"mean_{_key(session)}").copy_(torch.from_numpy(mean))
        # A unit silent in train keeps scale 1: it carries nothing and must not blow up in test.
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        getattr(self, f"scale_{_key(session)}").copy_(torch.from_numpy(scale))

    def encode(self, session: str, filtered: Tensor) -> Tensor:
        """Return latents (…, D) of filtered counts (…, F * N)."""
        key = _key(session)
        standard = (filtered - getattr(self, f"mean_{key}")) / getattr(self, f"scale_{key}")
        latents: Tensor = self.read_in[key](standard)
        return latents

    def predict(self, history: Tensor) -> Tensor:
        """Return predicted latents (B, H, D) from latents at the lags (B, L, D)."""
        dims, horizons = self.settings.latent_dim, len(self.settings.horizons_ms)
        ahead: Tensor = self.predictor(history.flatten(1))
        return ahead.view(-1, horizons, dims)

    def state(self) -> dict[str, Any]:
        """Return what `from_state` needs, in plain types and tensors."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "num_units": self.num_units,
            "weights": self.state_dict(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Teacher:
        """Return the teacher that `state` describes."""
        settings = TeacherSettings.model_validate(state["settings"])
        teacher = cls(settings, state["num_units"], torch.Generator())
        teacher.load_state_dict(state["weights"])
        return teacher


def _key(session: str) -> str:
    # Module names must hold no dot.
    return session.replace(".", "_dot_")
