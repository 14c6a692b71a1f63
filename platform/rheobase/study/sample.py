"""What the report's figures show of one network: stretches of spikes, latents and readout."""

# Shape legend: T bins, M neurons, D teacher dimensions.

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.artifacts import whole_file
from rheobase.measures.cca_moments import HeldoutCCA
from rheobase.measures.firing import firing_rates
from rheobase.shards.timeline import Timeline


def write_sample(
    path: Path,
    spikes: npt.NDArray[np.uint8] | None,
    features: npt.NDArray[np.float32],
    signs: npt.NDArray[np.float32],
    timeline: Timeline,
    target: npt.NDArray[np.float32],
    held: HeldoutCCA,
) -> None:
    """Keep what the report's figures show of a replicate of spikes and features (T, M)."""
    x, y = features.astype(np.float64), target.astype(np.float64)
    train, test = timeline.train, timeline.scored
    centre = x[train].mean(axis=0)
    gram = (x[train] - centre).T @ (x[train] - centre)
    gram += 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.solve(gram, (x[train] - centre).T @ (y[train] - y[train].mean(axis=0)))
    readout = (x - centre) @ weights + y[train].mean(axis=0)
    shown = max(timeline.runs(timeline.scored_split), key=len)[:400]
    sample: dict[str, npt.NDArray[Any]] = {
        "features": features[shown],
        "latents": target[shown],
        "readout": readout[shown].astype(np.float32),
        "time_s": timeline.time_s[shown],
        "dale_sign": signs.astype(np.int8),
        "pairs": held.pairs,
    }
    if spikes is not None:
        sample["spikes"] = spikes[shown]
        sample["rate_hz"] = firing_rates(spikes[test], timeline.bin_ms)
    if (timeline.phase[test] >= 0).any():
        fit = held.fit
        pairs = min(4, fit.project_x.shape[1])
        student = (x - fit.mean_x) @ fit.project_x[:, :pairs]
        teacher = (y - fit.mean_y) @ fit.project_y[:, :pairs]
        num_phases = min(75, int(timeline.phase[test].max()) + 1)
        states = sorted(set(timeline.state[test].tolist()))
        sample["flash_phase_ms"] = np.arange(num_phases) * timeline.bin_ms
        sample["flash_state"] = np.array([state or "all" for state in states])
        for name, variates in (("flash_student", student), ("flash_teacher", teacher)):
            means = np.full((len(states), num_phases, pairs), np.nan)
            for row, state in enumerate(states):
                for phase in range(num_phases):
                    here = test & (timeline.state == state) & (timeline.phase == phase)
                    if here.any():
                        means[row, phase] = variates[here].mean(axis=0)
            sample[name] = means
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **sample)  # type: ignore[arg-type]
