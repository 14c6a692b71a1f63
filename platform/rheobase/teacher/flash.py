"""Mean latents over a presentation, by what was shown and by state, for the report's figure."""

# Shape legend: T bins, D latent dimensions, O bins since an onset, C conditions.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rheobase.core.artifacts import whole_file
from rheobase.sessions.visual_behavior import STRIDE_S
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import timeline_of

Array = npt.NDArray[np.generic]
LONGEST_MS = 1000 * STRIDE_S
"""Longest time since an onset where presentations have no period; else one period is."""


def write_flash(
    path: Path, latents: Mapping[str, npt.NDArray[np.float32]], shards: Sequence[Shard]
) -> None:
    """Write `over_a_flash` of each session's latents (T, D) as ``<session>/<name>`` of an NPZ."""
    arrays: dict[str, Array] = {
        f"{shard.session_id}/{name}": array
        for shard in shards
        for name, array in over_a_flash(latents[shard.session_id], shard).items()
    }
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def over_a_flash(latents: npt.NDArray[np.float32], shard: Shard) -> dict[str, Array]:
    """Return mean latents on validation by time since onset; nothing without presentations.

    Returns
    -------
    ``phase_ms`` (O,); ``shown`` (C,) and ``by_shown`` (C, O, D), of each image, or in a recording
    by trial with contrasts of each side that the stronger one was on; ``state`` (C,) and
    ``by_state`` (C, O, D). NaN where no bin of it is.
    """
    line = timeline_of(shard)
    here = line.scored & (line.phase >= 0)
    longest_ms = LONGEST_MS if line.period_s is None else 1000 * line.period_s
    here &= line.phase * line.bin_ms < longest_ms
    if not here.any():
        return {}
    phase = line.phase[here]
    num_phases = int(phase.max()) + 1

    def means(label: Array) -> dict[str, Array]:
        names = np.unique(label)
        of_names = np.full((len(names), num_phases, latents.shape[1]), np.nan)
        for row, name in zip(of_names, names, strict=True):
            chosen = label == name
            counts = np.bincount(phase[chosen], minlength=num_phases)
            sums = np.zeros_like(row)
            np.add.at(sums, phase[chosen], latents[here][chosen])
            row[counts > 0] = sums[counts > 0] / counts[counts > 0, None]
        return {"names": names, "means": of_names.astype(np.float32)}

    shown, state = means(_shown(shard)[line.presentation[here]]), means(line.state[here])
    return {
        "phase_ms": np.arange(num_phases) * line.bin_ms,
        "shown": shown["names"],
        "by_shown": shown["means"],
        "state": state["names"],
        "by_state": state["means"],
    }


def _shown(shard: Shard) -> npt.NDArray[np.str_]:
    """Return what each presentation showed, (P,)."""
    if {"contrast_left", "contrast_right"} <= set(shard.labels):
        left, right = shard.labels["contrast_left"], shard.labels["contrast_right"]
        return np.select([left > right, right > left], ["left", "right"], "neither side")
    return shard.image
