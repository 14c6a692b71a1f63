"""Simulated Visual Behavior recordings whose latents are known."""

# Shape legend: T bins of 10 ms, N units, P presentations, K latents, S spikes.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from rheobase.core.artifacts import whole_file
from rheobase.core.errors import SessionError
from rheobase.core.seeds import generator
from rheobase.sessions.nwb import STRIDE_S

Floats = npt.NDArray[np.float64]

NAMES = (
    "image_1",
    "image_2",
    "image_3",
    "onset",
    "rotation_1",
    "rotation_2",
    "drift",
    "state",
)
IMAGES = tuple(
    f"{name}_r" for name in ("im005", "im024", "im034", "im083", "im087", "im104", "im111", "im114")
)
STIMULUS = "Natural_Images_Lum_Matched_set_ophys_G_2019"
BIN_S, FLASH_S = 0.01, 0.25
LEAD_S, PAUSE_S = 5.0, 10.0
ACTIVE_BLOCK, PASSIVE_BLOCK = 0, 5
REPEATS = 8  # flashes of an image before it may change
OMITTED_SHARE = 0.05

AREAS = ("VISp", "VISl", "VISal", "VISrl", "VISam", "VISpm", "LGd", "CA1")
AREA_SHARES = (0.2, 0.15, 0.15, 0.1, 0.1, 0.1, 0.1, 0.1)
MEDIAN_RATE_HZ, RATE_SPREAD = 6.0, 0.7
GAIN = 0.7
"""Standard deviation of the latents' part of a unit's log rate."""
NUM_NUISANCE, NUISANCE_TAU_S, NUISANCE_GAIN = 8, 0.03, 1.2
REFRACTORY_S = 0.0015
CHUNK_BINS = 20_000


@dataclass(frozen=True)
class _Plan:
    """Presentations in order of time, each (P,), and the recording's length in seconds."""

    start_s: Floats
    image: npt.NDArray[np.int64]
    is_change: npt.NDArray[np.bool_]
    omitted: npt.NDArray[np.bool_]
    active: npt.NDArray[np.bool_]
    duration_s: float


def simulate(
    path: Path,
    seed: int = 0,
    minutes: float = 20.0,
    num_units: int = 200,
    nuisance: float = 1.0,
) -> None:
    """Write a planted session in the layout of a Visual Behavior Neuropixels NWB file.

    Half of `minutes` is an active block of 8 images flashed for 250 ms every 750 ms, half its
    passive replay. Units are Poisson with log-normal base rates and log rates linear in 8
    latents, each standardised over the recording: image drive (3), onset transient, a damped
    3 Hz rotation (2), an Ornstein-Uhlenbeck process of 0.5 s and a slow state. On top lie 8
    Ornstein-Uhlenbeck dimensions of 30 ms, shared by the units and unpredictable beyond that,
    which add `nuisance` times 1.2 times the latents' standard deviation to each log rate.

    Parameters
    ----------
    path
        ``OUT.nwb``; ``OUT.latents.npz`` is written beside it: ``latents`` (T, 8) float32,
        ``names`` (8,), ``time_s`` (T,) when each 10 ms bin opens.
    seed
        Root seed; the same arguments write the same bytes.
    minutes
        Length of the two blocks together.
    num_units
        Number of units, all areas together (about 80 % visual cortex).
    nuisance
        Gain G of the shared nuisance; 0 for a clean session.

    Raises
    ------
    SessionError
        `minutes`, `num_units` or `nuisance` is out of range.
    """
    path = Path(path)
    _refuse(path, minutes, num_units, nuisance)
    plan = _plan(seed, minutes)
    latents = _latents(seed, plan)
    units = _units(seed, num_units)
    spikes, offsets = _spikes(seed, latents, units["rate_hz"], nuisance)
    metrics = _metrics(seed, offsets, plan.duration_s)
    with whole_file(path) as partial, h5py.File(partial, "w") as file:
        name = f"planted-s{seed}-m{minutes:g}-u{num_units}-g{nuisance:g}"
        _write_nwb(file, name, plan, units["area"], metrics, spikes, offsets)
    with whole_file(path.with_suffix(".latents.npz")) as partial, partial.open("wb") as beside:
        np.savez(
            beside,
            latents=latents.astype(np.float32),
            names=np.array(NAMES),
            time_s=np.arange(len(latents)) * BIN_S,
        )


def _refuse(path: Path, minutes: float, num_units: int, nuisance: float) -> None:
    least = 2 * REPEATS * STRIDE_S / 60
    for name, value, holds, must in (
        ("minutes", minutes, least <= minutes <= 600, f"from {least:g} to 600"),
        ("units", num_units, 1 <= num_units <= 20_000, "from 1 to 20000"),
        ("nuisance", nuisance, 0 <= nuisance <= 10, "from 0 to 10"),
    ):
        if not holds:
            raise SessionError(
                f"{path}: {name} of a planted session must be {must}, but got {value:g}; change it"
            )


def _plan(seed: int, minutes: float) -> _Plan:
    draw = generator(seed, "planted", "plan")
    num_flashes = int(minutes * 60 / 2 / STRIDE_S)
    index = np.arange(num_flashes)
    # Every REPEATS flashes another image is drawn, one in eight times the same: a catch.
    drawn = draw.integers(len(IMAGES), size=num_flashes // REPEATS + 1)
    image = drawn[index // REPEATS]
    is_change = np.concatenate([[False], image[1:] != image[:-1]])
    may_omit = (index % REPEATS != 0) & (index % REPEATS != REPEATS - 1)
    chance = OMITTED_SHARE * REPEATS / (REPEATS - 2)
    omitted = may_omit & (draw.random(num_flashes) < chance)
    block_s = num_flashes * STRIDE_S
    start_s = LEAD_S + index * STRIDE_S
    replay_s = LEAD_S + block_s + PAUSE_S + index * STRIDE_S
    return _Plan(
        np.concatenate([start_s, replay_s]),
        np.tile(image, 2),
        np.tile(is_change, 2),
        np.tile(omitted, 2),
        np.repeat([True, False], num_flashes),
        LEAD_S + PAUSE_S + 2 * block_s + LEAD_S,
    )


def _ornstein_uhlenbeck(draw: np.random.Generator, num_bins: int, num: int, tau_s: float) -> Floats:
    """Return stationary processes (T, num) of unit variance and correlation time `tau_s`."""
    decay = np.exp(-BIN_S / tau_s)
    noise = draw.standard_normal((num_bins, num)) * np.sqrt(1 - decay**2)
    noise[0] /= np.sqrt(1 - decay**2)
    return np.asarray(lfilter([1.0], [1.0, -decay], noise, axis=0))


def _latents(seed: int, plan: _Plan) -> Floats:
    """Return the standardised latents (T, 8), in the order of `NAMES`."""
    draw = generator(seed, "planted", "latents")
    num_bins = round(plan.duration_s / BIN_S)
    onset_bin = np.round(plan.start_s[~plan.omitted] / BIN_S).astype(int)
    image = plan.image[~plan.omitted]

    codes = draw.standard_normal((len(IMAGES), 3))
    codes = (codes - codes.mean(0)) / codes.std(0)
    held = np.zeros((num_bins, 3))
    kicks = np.zeros(num_bins)
    for begin, which in zip(onset_bin + 4, image, strict=True):  # 40 ms to reach cortex
        held[begin : begin + round(FLASH_S / BIN_S)] = codes[which]
        kicks[begin] = 1.0
    smooth = np.exp(-BIN_S / 0.05)
    drive = lfilter([1 - smooth], [1.0, -smooth], held, axis=0)

    transient = lfilter([1.0], [1.0, -smooth], lfilter([1.0], [1.0, -smooth], kicks))
    transient = transient / transient.max()

    # A noisy planar rotation at 3 Hz, damped over 0.4 s, kicked by each onset.
    step = np.exp((-1 / 0.4 + 2j * np.pi * 3.0) * BIN_S)
    driven = draw.standard_normal((num_bins, 2)) @ [1, 1j] * 0.12 + kicks * 1.0
    rotation = lfilter([1.0], [1.0, -step], driven)

    drift = _ornstein_uhlenbeck(draw, num_bins, 1, 0.5)[:, 0]
    passive_from_s = plan.start_s[~plan.active][0] - PAUSE_S / 2
    level = np.where(np.arange(num_bins) * BIN_S < passive_from_s, 1.0, -1.0)
    state = level + 0.5 * _ornstein_uhlenbeck(draw, num_bins, 1, 20.0)[:, 0]

    columns = [*drive.T, transient, rotation.real, rotation.imag, drift, state]
    latents = np.stack(columns, axis=1)
    return np.asarray((latents - latents.mean(0)) / latents.std(0))


def _units(seed: int, num_units: int) -> dict[str, Any]:
    draw = generator(seed, "planted", "units")
    rate_hz = MEDIAN_RATE_HZ * np.exp(RATE_SPREAD * draw.standard_normal(num_units))
    return {
        "rate_hz": np.clip(rate_hz, 0.3, 40.0),
        "area": draw.choice(AREAS, size=num_units, p=AREA_SHARES),
    }


def _weights(draw: np.random.Generator, num_inputs: int, num_units: int, std: float) -> Floats:
    """Return (num_inputs, N) weights whose columns have the norm `std`."""
    weights = draw.standard_normal((num_inputs, num_units))
    return np.asarray(std * weights / np.linalg.norm(weights, axis=0))


def _spikes(
    seed: int, latents: Floats, rate_hz: Floats, nuisance: float
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return spike times (S,) in seconds, unit after unit, and their offsets (N + 1,)."""
    num_bins, num_units = len(latents), len(rate_hz)
    draw = generator(seed, "planted", "weights")
    signal = latents @ _weights(draw, latents.shape[1], num_units, 1.0)
    signal *= GAIN / signal.std(0)
    shared = _ornstein_uhlenbeck(
        generator(seed, "planted", "nuisance"), num_bins, NUM_NUISANCE, NUISANCE_TAU_S
    )
    noise = shared @ _weights(draw, NUM_NUISANCE, num_units, 1.0)
    noise *= nuisance * NUISANCE_GAIN * GAIN / noise.std(0)
    log_rate = signal
    log_rate += noise
    # Half the variance off keeps the mean rate at the base rate.
    log_rate += np.log(rate_hz * BIN_S) - log_rate.var(0) / 2

    spiking = generator(seed, "planted", "spikes")
    trains: list[list[Floats]] = [[] for _ in range(num_units)]
    for begin in range(0, num_bins, CHUNK_BINS):
        expected = np.exp(log_rate[begin : begin + CHUNK_BINS])
        counts = spiking.poisson(expected)
        for unit in range(num_units):
            bins = np.repeat(np.arange(begin, begin + len(counts)), counts[:, unit])
            trains[unit].append((bins + spiking.random(len(bins))) * BIN_S)
    spikes = [_refractory(np.sort(np.concatenate(train))) for train in trains]
    offsets = np.concatenate([[0], np.cumsum([len(train) for train in spikes])])
    return np.concatenate(spikes), offsets.astype(np.int64)


def _refractory(spikes_s: Floats) -> Floats:
    """Drop every spike closer than `REFRACTORY_S` to the one before it."""
    return spikes_s[np.diff(spikes_s, prepend=-np.inf) >= REFRACTORY_S]


def _metrics(
    seed: int, offsets: npt.NDArray[np.int64], duration_s: float
) -> dict[str, npt.NDArray[Any]]:
    """Return quality metrics (N,) each; about 85 % of units pass the `allen` preset."""
    draw = generator(seed, "planted", "metrics")
    num_units = len(offsets) - 1
    cutoff = np.where(
        draw.random(num_units) < 0.92,
        draw.uniform(0.0005, 0.09, num_units),
        draw.uniform(0.12, 0.5, num_units),
    )
    cutoff[draw.random(num_units) < 0.01] = np.nan
    return {
        "firing_rate": np.diff(offsets) / duration_s,
        "isi_violations": np.where(
            draw.random(num_units) < 0.95,
            draw.uniform(0, 0.3, num_units),
            draw.uniform(0.6, 2.0, num_units),
        ),
        "amplitude_cutoff": cutoff,
        "presence_ratio": np.where(
            draw.random(num_units) < 0.97,
            draw.uniform(0.95, 1.0, num_units),
            draw.uniform(0.3, 0.85, num_units),
        ),
        "snr": draw.uniform(1.5, 6.0, num_units),
    }


def _write_nwb(
    file: h5py.File,
    name: str,
    plan: _Plan,
    area: npt.NDArray[np.str_],
    metrics: dict[str, npt.NDArray[Any]],
    spikes_s: Floats,
    offsets: npt.NDArray[np.int64],
) -> None:
    """Write NWB 2.6 with h5py: unlike pynwb's, these bytes depend on the arguments alone."""
    text = h5py.string_dtype()
    moment = "2020-01-01T00:00:00+00:00"
    file.attrs.update({"nwb_version": "2.6.0", "neurodata_type": "NWBFile", "namespace": "core"})
    file.attrs["object_id"] = name
    for key, value in (
        ("identifier", name),
        ("session_description", "simulated by rheobase; true latents lie beside this file"),
        ("session_start_time", moment),
        ("timestamps_reference_time", moment),
    ):
        file.create_dataset(key, data=value, dtype=text)
    file.create_dataset("file_create_date", data=[moment], dtype=text)
    for key in ("acquisition", "analysis", "processing", "stimulus/presentation", "general"):
        file.create_group(key)
    file.create_group("stimulus/templates")

    def table(
        where: str,
        kind: str,
        namespace: str,
        about: str,
        ids: npt.NDArray[np.int64],
        columns: dict[str, Any],
    ) -> h5py.Group:
        group = file.create_group(where)
        group.attrs.update(
            {
                "neurodata_type": kind,
                "namespace": namespace,
                "description": about,
                "object_id": f"{name}/{where}",
            }
        )
        own = [key for key in columns if not key.endswith("_index")]
        group.attrs.create("colnames", own, dtype=text)
        typed(group.create_dataset("id", data=ids), "ElementIdentifiers", f"{where}/id")
        for key, values in columns.items():
            if np.asarray(values).dtype.kind == "U":
                made = group.create_dataset(key, data=np.asarray(values, object), dtype=text)
            else:
                made = group.create_dataset(key, data=values)
            if key.endswith("_index"):
                typed(made, "VectorIndex", f"{where}/{key}")
                made.attrs["description"] = f"index of {key.removesuffix('_index')}"
                made.attrs["target"] = group[key.removesuffix("_index")].ref
            else:
                typed(made, "VectorData", f"{where}/{key}")
                made.attrs["description"] = key.replace("_", " ")
        return group

    def typed(made: h5py.Dataset, kind: str, where: str) -> None:
        made.attrs.update(
            {
                "neurodata_type": kind,
                "namespace": "hdmf-common",
                "object_id": f"{name}/{where}",
            }
        )

    for where, kind, about in (
        ("general/devices/probe", "Device", {"description": "simulated probe"}),
        (
            "general/extracellular_ephys/probeA",
            "ElectrodeGroup",
            {"description": "simulated channels", "location": "mouse visual system"},
        ),
    ):
        made = file.create_group(where)
        made.attrs.update({"neurodata_type": kind, "namespace": "core", **about})
        made.attrs["object_id"] = f"{name}/{where}"
    probe = file["general/extracellular_ephys/probeA"]
    probe["device"] = h5py.SoftLink("/general/devices/probe")
    channels = np.arange(len(area)) + 1000
    table(
        "general/extracellular_ephys/electrodes",
        "DynamicTable",
        "hdmf-common",
        "one channel a unit",
        channels,
        {
            "location": area,
            "group": np.full(len(area), probe.ref, dtype=h5py.ref_dtype),
            "group_name": np.full(len(area), "probeA"),
        },
    )
    table(
        "units",
        "Units",
        "core",
        "simulated units",
        np.arange(len(area)) + 1,
        {
            "spike_times": spikes_s,
            "spike_times_index": offsets[1:].astype(np.uint64),
            "peak_channel_id": channels,
            "quality": np.full(len(area), "good"),
            **metrics,
        },
    )
    num = len(plan.start_s)
    table(
        f"intervals/{STIMULUS}_presentations",
        "TimeIntervals",
        "core",
        "flashes and omissions",
        np.arange(num),
        {
            "start_time": plan.start_s,
            "stop_time": plan.start_s + FLASH_S,
            "stimulus_name": np.full(num, STIMULUS),
            "stimulus_block": np.where(plan.active, ACTIVE_BLOCK, PASSIVE_BLOCK),
            "image_name": np.where(plan.omitted, "omitted", np.array(IMAGES)[plan.image]),
            "is_change": plan.is_change.astype(np.uint8),
            "omitted": plan.omitted.astype(np.uint8),
            "active": plan.active.astype(np.uint8),
        },
    )
