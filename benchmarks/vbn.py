"""Sessions of a stated size in the layout of Visual Behavior Neuropixels NWB files."""

# Shape legend: N units, S spikes, P presentations, C channels.

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rheobase.core.seeds import generator
from rheobase.sessions.visual_behavior import STRIDE_S

METRICS = (
    *("amplitude", "cumulative_drift", "d_prime", "isolation_distance", "l_ratio", "max_drift"),
    *("nn_hit_rate", "nn_miss_rate", "PT_ratio", "recovery_slope", "repolarization_slope"),
    *("silhouette_score", "snr", "spread", "velocity_above", "velocity_below"),
    "waveform_duration",
)
IMAGES = [f"im{number:03d}_r" for number in (5, 24, 34, 83, 87, 104, 111, 114)]
AREAS = ("VISp", "VISl", "VISal", "VISrl", "VISam", "VISpm", "LGd", "CA1", "LP", "APN")
PROBES, CHANNELS = 6, 384
PASSING = 0.38  # 785 of 2,085 units pass Allen's default filter


def write_session(
    path: Path, num_units: int, num_spikes: int, duration_s: float, seed: int = 0
) -> None:
    """Write a session whose spikes are Poisson with log-normal rates; little is held in memory."""
    draw = generator(seed, "benchmark", "vbn")
    share = draw.lognormal(0.0, 1.0, num_units)
    lengths = np.maximum(1, np.floor(share / share.sum() * num_spikes)).astype(np.int64)
    lengths[-1] += num_spikes - lengths.sum()
    ends = np.cumsum(lengths)
    with h5py.File(path, "w") as file:
        file["identifier"] = f"vbn-{num_units}-{num_spikes}-{seed}"
        units = file.create_group("units")
        times = units.create_dataset("spike_times", (num_spikes,), "f8")
        amplitudes = units.create_dataset("spike_amplitudes", (num_spikes,), "f8")
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True):
            gaps = draw.standard_exponential(length + 1)
            rising = np.cumsum(gaps)
            times[end - length : end] = rising[:-1] * (duration_s / rising[-1])
            amplitudes[end - length : end] = gaps[:-1] * 1e-4
        units["spike_times_index"] = ends.astype(np.uint64)
        units["spike_amplitudes_index"] = ends.astype(np.uint64)
        for name, column in _units(draw, lengths, duration_s).items():
            units[name] = column
        _electrodes(file, draw)
        _presentations(file, draw, duration_s)


def _units(
    draw: np.random.Generator, lengths: np.ndarray[Any, Any], duration_s: float
) -> dict[str, Any]:
    num = len(lengths)
    good = draw.random(num) < PASSING
    return {
        "id": np.arange(num) + 1_000_000,
        "peak_channel_id": np.sort(draw.integers(PROBES * CHANNELS, size=num)),
        "firing_rate": lengths / duration_s,
        "isi_violations": np.where(good, draw.uniform(0, 0.4, num), draw.uniform(0.6, 5, num)),
        "amplitude_cutoff": draw.uniform(0, 0.09, num),
        "presence_ratio": draw.uniform(0.92, 1.0, num),
        **{name: draw.standard_normal(num) for name in METRICS},
    }


def _electrodes(file: h5py.File, draw: np.random.Generator) -> None:
    table = file.create_group("general/extracellular_ephys/electrodes")
    num = PROBES * CHANNELS
    table["id"] = np.arange(num)
    table["location"] = np.repeat(draw.choice(AREAS, num // 32), 32).astype(object)
    table["group_name"] = np.repeat([f"probe{letter}" for letter in "ABCDEF"], CHANNELS).astype(
        object
    )
    for name in ("x", "y", "z", "probe_vertical_position", "probe_horizontal_position"):
        table[name] = draw.uniform(0, 4000, num)


def _presentations(file: h5py.File, draw: np.random.Generator, duration_s: float) -> None:
    """Write an active block and its passive replay, each 5/11 of the recording."""
    block_s = duration_s * 5 / 11
    num = int(block_s / STRIDE_S)
    image = draw.integers(len(IMAGES), size=num // 8 + 1).repeat(8)[:num]
    onset_s = np.arange(num) * STRIDE_S
    start_s = np.concatenate([onset_s, onset_s + duration_s - block_s])
    table = file.create_group("intervals/Natural_Images_Lum_Matched_set_ophys_G_2019_presentations")
    change = np.concatenate([[False], image[1:] != image[:-1]])
    columns = {
        "id": np.arange(2 * num),
        "start_time": start_s,
        "stop_time": start_s + 0.25,
        "duration": np.full(2 * num, 0.25),
        "start_frame": (start_s * 60).astype(int),
        "stop_frame": (start_s * 60).astype(int) + 15,
        "image_name": np.array(IMAGES, object)[np.tile(image, 2)],
        "is_change": np.tile(change, 2).astype(float),
        "omitted": np.zeros(2 * num),
        "active": np.repeat([1, 0], num),
        "stimulus_block": np.repeat([0, 5], num),
        "rewarded": np.zeros(2 * num),
    }
    for name, column in columns.items():
        table[name] = column
