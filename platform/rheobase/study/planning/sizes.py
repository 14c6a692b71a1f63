"""How large the recordings of a study are, told without reading them."""

# Shape legend: T bins, N units, P presentations or trials.

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import h5py
import numpy as np

from rheobase.core.errors import SessionError
from rheobase.sessions.load import PLANTED, PLANTED_DEFAULTS, resolve_sessions
from rheobase.sessions.planted.simulate import (
    AREA_SHARES,
    AREAS,
    BIN_S,
    LEAD_S,
    MEDIAN_RATE_HZ,
    NAMES,
    PAUSE_S,
    RATE_SPREAD,
)
from rheobase.sessions.readers.allen import ALLEN
from rheobase.sessions.readers.npz import SIGNALS
from rheobase.sessions.readers.nwb import EYE, RUNNING, STRIDE_S
from rheobase.sessions.records.session import (
    ACTIVE,
    PASSIVE,
    Intervals,
    Presentations,
    Session,
    Signal,
    TrialSession,
    TrueLatents,
    Units,
)
from rheobase.sessions.records.true_latents import beside
from rheobase.shards.settings import DataSettings

ALLEN_SESSIONS, ALLEN_NORMAL_SESSIONS = 153, 103
"""Sessions of the Visual Behavior Neuropixels release, and those without abnormalities."""
ALLEN_UNITS, ALLEN_GOOD_UNITS = 2_085, 785
"""Units of a session, and those that pass the `allen` preset: means over that release."""
ALLEN_DURATION_S = 2.6 * 3600
"""Length of one of its sessions."""
ALLEN_BLOCK_S = 3600.0
"""Length of its active block, and of the passive replay: an hour each."""
ALLEN_NWB_BYTES = 2_000_000_000
"""Size of one of its NWB files."""
ALLEN_SPIKES = ALLEN_NWB_BYTES // 16
"""Most spikes that such a file can hold: each has a time and an amplitude of 8 bytes."""
PLANTED_PASSING = 0.92 * 0.99 * 0.95 * 0.97
"""Share of planted units that pass the `allen` preset, by the metrics that are drawn for them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SessionSize:
    """What is known of a recording, or of several alike, before it is read.

    Attributes
    ----------
    address
        As the study names it.
    num_sessions
        Recordings of this size that the address stands for.
    outline
        The recording with one unit that never fires: what may be binned, and how it is split.
    num_units, num_kept
        Units in the file (N), and those that quality and areas leave.
    num_spikes
        Spikes of all units in the file.
    duration_s
        Length of the file, which the outline's intervals need not cover.
    download_bytes, session_bytes
        What is fetched, and what is written below ``$RHEOBASE_HOME/sessions``.
    simulated_counts
        Bins of 10 ms times units of a session that is simulated first, else 0.
    basis
        Where these numbers come from.
    """

    address: str
    num_sessions: int
    outline: Session | TrialSession
    num_units: int
    num_kept: int
    num_spikes: int
    duration_s: float
    download_bytes: int
    session_bytes: int
    basis: str
    simulated_counts: int = 0


def sizes_of(data: DataSettings) -> tuple[list[SessionSize], list[str]]:
    """Return the sizes of a study's recordings, and the addresses of which nothing is known.

    Of a file that is here, only the shapes of its arrays and single numbers are read; no spike
    is. A file that is absent or damaged is among the unknown: saying so is left to the run.
    """
    found: list[SessionSize] = []
    unknown: list[str] = []
    resolved: dict[str, None] = {}
    # Which sessions of the release pass a filter is known to its tables alone: they are not asked.
    allen = [address for address in dict.fromkeys(data.sessions) if address.startswith(ALLEN)]
    if allen:
        found.append(_allen(allen, data))
    for address in dict.fromkeys(data.sessions):
        if address in allen:
            continue
        try:
            resolved |= dict.fromkeys(resolve_sessions([address]))
        except SessionError:
            unknown.append(address)
    for address in resolved:
        try:
            found.append(_size(address, data))
        except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile):
            unknown.append(address)
    return found, unknown


def _size(address: str, data: DataSettings) -> SessionSize:
    if address.startswith("synthetic:"):
        return _planted(address, data)
    readers = {".nwb": _nwb, ".npz": _npz}
    return readers[Path(address).suffix](Path(address))


def _outline(
    name: str,
    source: str,
    stretches: Sequence[tuple[float, float, str]],
    num_presentations: int,
    signals: Sequence[str] = SIGNALS,
    latents: Sequence[str] = (),
) -> Session:
    starts, stops, states = zip(*stretches, strict=True)
    none = Presentations.none()
    num = num_presentations
    shown = Presentations(
        np.full(num, np.inf),  # none begins inside: which bin it falls in decides no size
        np.full(num, np.inf),
        np.full(num, "image"),
        np.zeros(num, bool),
        np.zeros(num, bool),
        np.zeros(num, np.int64),
        np.zeros(num, bool),
    )
    return Session(
        name,
        source,
        "",
        _silent_unit(),
        np.zeros(0),
        np.zeros(2, np.int64),
        Intervals(np.array(starts), np.array(stops), np.array(states)),
        shown if num else none,
        {name: Signal(np.zeros(0), np.zeros(0)) for name in signals},
        TrueLatents(np.array(latents), np.zeros(0), np.zeros((0, len(latents)), np.float32), "")
        if latents
        else None,
    )


def _silent_unit() -> Units:
    return Units(np.zeros(1, np.int64), np.zeros(1, "U1"), np.zeros(1, "U1"))


def _allen(addresses: Sequence[str], data: DataSettings) -> SessionSize:
    """Return one size for all sessions of the release: only their means are known."""
    queries = [address.partition("?") for address in addresses]
    wholes = [query for name, _, query in queries if name == f"{ALLEN}all"]
    num_sessions = len(addresses) - len(wholes)
    if wholes:
        # Filters other than this one can only leave fewer; sessions named beside are among all.
        includes = any(("abnormal", "include") in parse_qsl(query) for query in wholes)
        num_sessions = ALLEN_SESSIONS if includes else ALLEN_NORMAL_SESSIONS
    kept = ALLEN_UNITS if data.quality == "none" else ALLEN_GOOD_UNITS
    passive_s = ALLEN_DURATION_S - ALLEN_BLOCK_S
    stretches = [(0.0, ALLEN_BLOCK_S, ACTIVE), (passive_s, ALLEN_DURATION_S, PASSIVE)]
    num_presentations = round(2 * ALLEN_BLOCK_S / STRIDE_S)
    return SessionSize(
        address=", ".join(addresses),
        num_sessions=num_sessions,
        outline=_outline("allen", addresses[0], stretches, num_presentations),
        num_units=ALLEN_UNITS,
        num_kept=kept,
        num_spikes=ALLEN_SPIKES,
        duration_s=ALLEN_DURATION_S,
        download_bytes=ALLEN_NWB_BYTES,
        session_bytes=8 * ALLEN_SPIKES,
        basis="typical of the release, at most",
    )


def _planted(address: str, data: DataSettings) -> SessionSize:
    kind, _, query = address.partition("?")
    given = dict(parse_qsl(query))
    if kind != PLANTED or given.keys() - PLANTED_DEFAULTS.keys():
        raise ValueError(f"{address} is no planted session")
    values = PLANTED_DEFAULTS | {name: float(text) for name, text in given.items()}
    minutes, num_units = values["minutes"], int(values["units"])
    num_flashes = int(minutes * 60 / 2 / STRIDE_S)
    block_s = num_flashes * STRIDE_S
    passive_s = LEAD_S + block_s + PAUSE_S
    duration_s = passive_s + block_s + LEAD_S
    name = f"planted-s{int(values['seed'])}-m{minutes:g}-u{num_units}-g{values['nuisance']:g}"
    outline = _outline(
        name,
        address,
        [(LEAD_S, LEAD_S + block_s, ACTIVE), (passive_s, passive_s + block_s, PASSIVE)],
        2 * num_flashes,
        latents=NAMES,
    )
    in_area = sum(
        share
        for area, share in zip(AREAS, AREA_SHARES, strict=True)
        if not data.areas or area.startswith(data.areas)
    )
    passing = PLANTED_PASSING if data.quality == "allen" else 1.0
    # The mean of a log-normal rate.
    rate_hz = MEDIAN_RATE_HZ * math.exp(RATE_SPREAD**2 / 2)
    num_spikes = round(num_units * rate_hz * duration_s)
    # Spike times of 8 bytes; true latents, 8 of 4 bytes and the bin's time of 8.
    num_bytes = 8 * num_spikes + round(duration_s / BIN_S) * (8 * 4 + 8)
    return SessionSize(
        address=address,
        num_sessions=1,
        outline=outline,
        num_units=num_units,
        num_kept=max(1, round(num_units * in_area * passing)),
        num_spikes=num_spikes,
        duration_s=duration_s,
        download_bytes=0,
        session_bytes=num_bytes,
        basis="the address",
        simulated_counts=round(duration_s / BIN_S) * num_units,
    )


def _nwb(path: Path) -> SessionSize:
    with h5py.File(path) as file:
        num_units = len(file["units/id"])
        num_spikes = len(file["units/spike_times"])
        name = file["identifier"].asstr()[()] if "identifier" in file else path.stem
        rows = [
            len(table["image_name"])
            for key, table in file.get("intervals", {}).items()
            if key.endswith("_presentations") and "image_name" in table
        ]
        has = {"running": RUNNING in file, "pupil": EYE in file}
    num_presentations = sum(rows)
    half_s = num_presentations * STRIDE_S / 2
    basis = "shapes in the file; every unit counted as kept"
    stretches = [(0.0, half_s, ACTIVE), (half_s, 2 * half_s, PASSIVE)]
    if not num_presentations:
        rate_hz = ALLEN_SPIKES / ALLEN_UNITS / ALLEN_DURATION_S
        length_s = num_spikes / max(1, num_units) / rate_hz
        stretches = [(0.0, length_s, "")]
        basis += f", its length from {rate_hz:.1f} Hz a unit"
    return SessionSize(
        address=str(path),
        num_sessions=1,
        outline=_outline(
            name,
            str(path),
            stretches,
            num_presentations,
            [signal for signal in SIGNALS if has[signal]],
            NAMES if beside(path).is_file() else (),
        ),
        num_units=num_units,
        num_kept=num_units,
        num_spikes=num_spikes,
        duration_s=stretches[-1][1],
        download_bytes=0,
        session_bytes=0,
        basis=basis,
    )


def _npz(path: Path) -> SessionSize:
    shapes = _npz_shapes(path)
    basis = "shapes in the file; every unit counted as kept"
    with np.load(path, allow_pickle=False) as archive:
        if "counts" in shapes:
            num_trials, num_units, num_bins = shapes["counts"]
            bin_s = float(archive["bin_s"])
            outline = TrialSession(
                path.stem,
                str(path),
                "",
                _silent_unit(),
                np.zeros((num_trials, 1, num_bins), np.uint8),
                1000 * bin_s,
                np.zeros(num_trials),
                {},
            )
            duration_s = num_trials * num_bins * bin_s
            # Counts are not read: a typical rate stands for them.
            rate_hz = ALLEN_SPIKES / ALLEN_UNITS / ALLEN_DURATION_S
            num_spikes = round(rate_hz * duration_s * num_units)
            return SessionSize(
                address=str(path),
                num_sessions=1,
                outline=outline,
                num_units=num_units,
                num_kept=num_units,
                num_spikes=num_spikes,
                duration_s=duration_s,
                download_bytes=0,
                session_bytes=0,
                basis=f"{basis}, spikes from {rate_hz:.1f} Hz a unit",
            )
        num_units = shapes["unit_index"][0] - 1
        num_presentations = shapes.get("presentation_start_s", (0,))[0]
        duration_s = float(archive["duration_s"])
    return SessionSize(
        address=str(path),
        num_sessions=1,
        outline=_outline(
            path.stem,
            str(path),
            [(0.0, duration_s, "")],
            num_presentations,
            [signal for signal in SIGNALS if signal in shapes],
        ),
        num_units=num_units,
        num_kept=num_units,
        num_spikes=shapes["spike_times_s"][0],
        duration_s=duration_s,
        download_bytes=0,
        session_bytes=0,
        basis=basis,
    )


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of an archive by its name, from the headers alone."""
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                is_first = np.lib.format.read_magic(file) == (1, 0)
                read = np.lib.format.read_array_header_1_0
                if not is_first:
                    read = np.lib.format.read_array_header_2_0
                shapes[member.removesuffix(".npy")] = read(file)[0]
    return shapes
