"""What the report's figures show of one network: stretches of spikes, latents and readout."""

# Shape legend: T bins, M neurons, D teacher dimensions, K canonical pairs, Q stretches of a second.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.artifacts import whole_file
from rheobase.measures.cca_moments import HeldoutCCA
from rheobase.measures.firing import firing_rates
from rheobase.shards.timeline import Timeline

MOST_PAIRS = 4
Currents = Mapping[str, npt.NDArray[np.float64]]
"""Mean current into a neuron at each scored bin (T,), by side."""


def write_sample(
    path: Path,
    spikes: npt.NDArray[np.uint8] | None,
    features: npt.NDArray[np.float32],
    signs: npt.NDArray[np.float32],
    timeline: Timeline,
    target: npt.NDArray[np.float32],
    held: HeldoutCCA,
    currents: Currents,
) -> None:
    """Keep what the report's figures show of a replicate of spikes and features (T, M).

    `currents` are empty of a network that does not spike.
    """
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
    sample |= {
        f"shown_{side}": values[shown].astype(np.float32) for side, values in currents.items()
    }
    if spikes is not None:
        sample["spikes"] = spikes[shown]
        sample["rate_hz"] = firing_rates(spikes[test], timeline.bin_ms)
    fit = held.fit
    pairs = min(MOST_PAIRS, fit.project_x.shape[1])
    student = (x - fit.mean_x) @ fit.project_x[:, :pairs]
    teacher = (y - fit.mean_y) @ fit.project_y[:, :pairs]
    sample["pair_student"] = student[shown].astype(np.float32)
    sample["pair_teacher"] = teacher[shown].astype(np.float32)
    sample |= _by_second(timeline, currents, student, teacher)
    if (timeline.phase[test] >= 0).any():
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


def _by_second(
    timeline: Timeline,
    currents: Currents,
    student: npt.NDArray[np.float64],
    teacher: npt.NDArray[np.float64],
) -> dict[str, npt.NDArray[Any]]:
    """Return means over each scored second (Q,) of a state, of currents and of variates (T, K)."""
    scored = np.flatnonzero(timeline.scored)
    keys = np.stack([timeline.segment[scored], np.floor(timeline.time_s[scored]).astype(int)])
    seconds, of_bin, num_bins = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
    first = scored[np.unique(of_bin, return_index=True)[1]]

    def means(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        return np.asarray(np.bincount(of_bin, values[scored]) / num_bins, np.float32)

    kept: dict[str, npt.NDArray[Any]] = {
        "second_s": seconds[1].astype(np.float32),
        "second_state": np.array([str(state) or "all" for state in timeline.state[first]]),
    }
    kept |= {f"second_{side}": means(values) for side, values in currents.items()}
    for name, variates in (("student", student), ("teacher", teacher)):
        kept[f"second_{name}"] = np.stack([means(column) for column in variates.T], axis=1)
    return kept
