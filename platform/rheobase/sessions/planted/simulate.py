"""Simulated Visual Behavior recordings whose latents are known."""

# Shape legend: T bins of 10 ms, N units, P presentations, K true latents, S spikes.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy  # which loads `signal`, a second of CPU, where a session is simulated

from rheobase.core.artifacts import whole_file
from rheobase.core.errors import SessionError
from rheobase.core.seeds import generator
from rheobase.sessions.planted.code import SAME, PlantedCode, drive, state_loadings
from rheobase.sessions.planted.file import IMAGES, Behaviour, Plan, write_planted
from rheobase.sessions.records.true_latents import beside
from rheobase.sessions.visual_behavior import FLASH_S, STRIDE_S

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
BIN_S = 0.01
LEAD_S, PAUSE_S = 5.0, 10.0
REPEATS = 8  # flashes of an image before it may change
OMITTED_SHARE = 0.05

AREAS = ("VISp", "VISl", "VISal", "VISrl", "VISam", "VISpm", "LGd", "CA1")
AREA_SHARES = (0.2, 0.15, 0.15, 0.1, 0.1, 0.1, 0.1, 0.1)
MEDIAN_RATE_HZ, RATE_SPREAD = 6.0, 0.7
GAIN = 0.7
"""Standard deviation of the latents' part of a unit's log rate."""
NUM_NUISANCE, NUISANCE_TAU_S, NUISANCE_GAIN = 8, 0.03, 1.2
REFRACTORY_S = 0.0015
PASSING = 0.92 * 0.99 * 0.95 * 0.97
"""Share of units that pass the `allen` preset, by the metrics that `_metrics` draws for them."""
WHEEL_HZ, CAMERA_HZ = 60.0, 30.0
RUNNING_CM_S, PUPIL_AREA = 20.0, 2000.0
BLINKS_HZ, BLINK_S = 0.05, 0.2
CHUNK_BINS = 20_000


def simulate(
    path: Path,
    seed: int = 0,
    minutes: float = 20.0,
    num_units: int = 200,
    nuisance: float = 1.0,
    code: PlantedCode = SAME,
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
        ``names`` (8,), ``time_s`` (T,) when each 10 ms bin opens, ``about`` a sentence on the
        code; and, unless that is nonlinear, ``loadings`` (2, 8, N) of log rates on the latents in
        the active and in the passive state.
    seed
        Root seed; the same arguments write the same bytes.
    minutes
        Length of the two blocks together.
    num_units
        Number of units, all areas together (about 80 % visual cortex).
    nuisance
        Gain G of the shared nuisance; 0 for a clean session.
    code
        What the passive state changes in how units carry the latents.

    Raises
    ------
    SessionError
        `minutes`, `num_units`, `nuisance` or `code` is out of range.
    """
    path = Path(path)
    if path.suffix.lower() != ".nwb" and not path.is_dir():
        raise SessionError(f"{path}: a planted session must be named .nwb; write OUT.nwb")
    refuse_out_of_range(str(path), minutes, num_units, nuisance)
    code.refuse(str(path))
    plan = _plan(seed, minutes)
    latents = _latents(seed, plan)
    units = _units(seed, num_units)
    passive = np.arange(len(latents)) * BIN_S >= _passive_from_s(plan)
    spikes, offsets, loadings = _spikes(seed, latents, units["rate_hz"], nuisance, code, passive)
    metrics = _metrics(seed, offsets, plan.duration_s)
    behaviour = _behaviour(seed, latents)
    with whole_file(path) as partial, h5py.File(partial, "w") as file:
        name = name_of(seed, minutes, num_units, nuisance, code)
        write_planted(file, name, plan, units["area"], metrics, spikes, offsets, behaviour)
    arrays = {
        "latents": latents.astype(np.float32),
        "names": np.array(NAMES),
        "time_s": np.arange(len(latents)) * BIN_S,
        "about": np.array(code.told),
    }
    if code.kind != "nonlinear":
        arrays["loadings"] = loadings.astype(np.float32)
    with whole_file(beside(path)) as partial, partial.open("wb") as archive:
        np.savez(archive, **arrays)  # type: ignore[arg-type]


def name_of(seed: int, minutes: float, num_units: int, nuisance: float, code: PlantedCode) -> str:
    """Return what a session that `simulate` makes of these arguments calls itself."""
    changed = f"-{code.name}" if code.name else ""
    return f"planted-s{seed}-m{minutes:g}-u{num_units}-g{nuisance:g}{changed}"


@dataclass(frozen=True)
class Blocks:
    """The active block and its replay: flashes in each, its length, when they start, the end."""

    num_flashes: int
    length_s: float
    active_s: float
    replay_s: float
    stop_s: float


def blocks_of(minutes: float) -> Blocks:
    """Return where the blocks of a recording lie that last `minutes` together."""
    num_flashes = int(minutes * 60 / 2 / STRIDE_S)
    length_s = num_flashes * STRIDE_S
    replay_s = LEAD_S + length_s + PAUSE_S
    return Blocks(num_flashes, length_s, LEAD_S, replay_s, replay_s + length_s + LEAD_S)


def refuse_out_of_range(where: str, minutes: float, num_units: float, nuisance: float) -> None:
    """Refuse what no planted session can be made of.

    Parameters
    ----------
    where
        The file or address, for the error.
    minutes, num_units, nuisance
        As `simulate` takes them.

    Raises
    ------
    SessionError
        One of them is out of range.
    """
    least = 2 * REPEATS * STRIDE_S / 60
    for name, value, holds, must in (
        ("minutes", minutes, least <= minutes <= 600, f"from {least:g} to 600"),
        ("units", num_units, 1 <= num_units <= 20_000, "from 1 to 20000"),
        ("nuisance", nuisance, 0 <= nuisance <= 10, "from 0 to 10"),
    ):
        if not holds:
            raise SessionError(
                f"{where}: {name} of a planted session must be {must}, but got {value:g}; change it"
            )


def _plan(seed: int, minutes: float) -> Plan:
    draw = generator(seed, "planted", "plan")
    blocks = blocks_of(minutes)
    num_flashes = blocks.num_flashes
    index = np.arange(num_flashes)
    # Every REPEATS flashes another image is drawn, one in eight times the same: a catch.
    drawn = draw.integers(len(IMAGES), size=num_flashes // REPEATS + 1)
    image = drawn[index // REPEATS]
    is_change = np.concatenate([[False], image[1:] != image[:-1]])
    may_omit = (index % REPEATS != 0) & (index % REPEATS != REPEATS - 1)
    chance = OMITTED_SHARE * REPEATS / (REPEATS - 2)
    omitted = may_omit & (draw.random(num_flashes) < chance)
    since_s = index * STRIDE_S
    return Plan(
        start_s=np.concatenate([blocks.active_s + since_s, blocks.replay_s + since_s]),
        image=np.tile(image, 2),
        is_change=np.tile(is_change, 2),
        omitted=np.tile(omitted, 2),
        active=np.repeat([True, False], num_flashes),
        duration_s=blocks.stop_s,
    )


def _ornstein_uhlenbeck(draw: np.random.Generator, num_bins: int, num: int, tau_s: float) -> Floats:
    """Return stationary processes (T, num) of unit variance and correlation time `tau_s`."""
    decay = np.exp(-BIN_S / tau_s)
    noise = draw.standard_normal((num_bins, num)) * np.sqrt(1 - decay**2)
    noise[0] /= np.sqrt(1 - decay**2)
    return np.asarray(scipy.signal.lfilter([1.0], [1.0, -decay], noise, axis=0))


def _latents(seed: int, plan: Plan) -> Floats:
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
    drive = scipy.signal.lfilter([1 - smooth], [1.0, -smooth], held, axis=0)

    transient = scipy.signal.lfilter(
        [1.0], [1.0, -smooth], scipy.signal.lfilter([1.0], [1.0, -smooth], kicks)
    )
    transient = transient / transient.max()

    # A noisy planar rotation at 3 Hz, damped over 0.4 s, kicked by each onset.
    step = np.exp((-1 / 0.4 + 2j * np.pi * 3.0) * BIN_S)
    driven = draw.standard_normal((num_bins, 2)) @ [1, 1j] * 0.12 + kicks * 1.0
    rotation = scipy.signal.lfilter([1.0], [1.0, -step], driven)

    drift = _ornstein_uhlenbeck(draw, num_bins, 1, 0.5)[:, 0]
    level = np.where(np.arange(num_bins) * BIN_S < _passive_from_s(plan), 1.0, -1.0)
    state = level + 0.5 * _ornstein_uhlenbeck(draw, num_bins, 1, 20.0)[:, 0]

    columns = [*drive.T, transient, rotation.real, rotation.imag, drift, state]
    latents = np.stack(columns, axis=1)
    return np.asarray((latents - latents.mean(0)) / latents.std(0))


def _passive_from_s(plan: Plan) -> float:
    """Return when the state changes: amid the pause between the blocks."""
    return float(plan.start_s[~plan.active][0]) - PAUSE_S / 2


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
    seed: int,
    latents: Floats,
    rate_hz: Floats,
    nuisance: float,
    code: PlantedCode,
    passive: npt.NDArray[np.bool_],
) -> tuple[Floats, npt.NDArray[np.int64], Floats]:
    """Return spike times (S,) in seconds, unit after unit, and their offsets (N + 1,).

    And the loadings (2, K, N) of log rates on the latents in each state.
    """
    num_bins, num_units = len(latents), len(rate_hz)
    draw = generator(seed, "planted", "weights")
    active = _weights(draw, latents.shape[1], num_units, 1.0)
    changing = generator(seed, "planted", "code")
    loadings = state_loadings(code, active, changing)
    second = _weights(changing, latents.shape[1], num_units, 1.0)
    signal = drive(code, latents, loadings, passive, second)
    loadings *= GAIN / signal.std(0)
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
    return np.concatenate(spikes), offsets.astype(np.int64), loadings


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


def _behaviour(seed: int, latents: Floats) -> Behaviour:
    """Return a mouse that runs and opens its pupil with the slow state, and blinks."""
    draw = generator(seed, "planted", "behaviour")
    num_bins = len(latents)
    bin_s = np.arange(num_bins) * BIN_S
    state = latents[:, NAMES.index("state")]
    stride = _ornstein_uhlenbeck(draw, num_bins, 1, 2.0)[:, 0]
    width = _ornstein_uhlenbeck(draw, num_bins, 1, 5.0)[:, 0]
    wheel_s = np.arange(0, num_bins * BIN_S, 1 / WHEEL_HZ)
    camera_s = np.arange(0, num_bins * BIN_S, 1 / CAMERA_HZ)
    speed = RUNNING_CM_S * np.maximum(0, 1 + 0.5 * state + 0.5 * stride)
    area = PUPIL_AREA * np.exp(0.1 * state + 0.1 * width)
    blinks_s = np.cumsum(draw.exponential(1 / BLINKS_HZ, size=1 + num_bins // 100))
    last = np.searchsorted(blinks_s, camera_s, side="right") - 1
    return Behaviour(
        wheel_s,
        np.interp(wheel_s, bin_s, speed),
        camera_s,
        np.interp(camera_s, bin_s, area),
        (last >= 0) & (camera_s - blinks_s[last] < BLINK_S),
    )
