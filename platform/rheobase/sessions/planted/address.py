"""Addresses of planted sessions: what they say, how large a session is, and its file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from rheobase.core.artifacts import home
from rheobase.core.digest import code_digest, digest
from rheobase.core.errors import SessionError, did_you_mean
from rheobase.core.folders import is_published, whole_folder
from rheobase.sessions.planted.code import PlantedCode
from rheobase.sessions.planted.simulate import (
    AREA_SHARES,
    AREAS,
    BIN_S,
    MEDIAN_RATE_HZ,
    NAMES,
    PASSING,
    RATE_SPREAD,
    blocks_of,
    name_of,
    refuse_out_of_range,
    simulate,
)
from rheobase.sessions.records.session import ACTIVE, PASSIVE
from rheobase.sessions.records.session_size import SessionSize, silent_session

SYNTHETIC = "synthetic:"
"""How the address of every simulated session begins."""
PLANTED = f"{SYNTHETIC}planted"
DEFAULTS = {
    "seed": 0.0,
    "minutes": 20.0,
    "units": 200.0,
    "nuisance": 1.0,
    "code": PlantedCode.kind,
    "angle": PlantedCode.angle,
    "share": PlantedCode.share,
}
"""What an address may say, and what holds where it does not."""


def parse_planted(address: str) -> dict[str, Any]:
    """Return all settings of ``synthetic:planted?seed=0&minutes=20&units=200&nuisance=1``.

    ``code=…`` says what the passive state changes (`PlantedCode`), with ``angle=…`` of a rotated
    code and ``share=…`` of a remapped one.

    Raises
    ------
    SessionError
        It is another address, or a setting of it is unknown, no number or out of range.

    Examples
    --------
    >>> parse_planted("synthetic:planted?units=50")  # doctest: +NORMALIZE_WHITESPACE
    {'seed': 0.0, 'minutes': 20.0, 'units': 50.0, 'nuisance': 1.0, 'code': 'same', 'angle': 90.0,
    'share': 0.5}
    """
    kind, _, query = address.partition("?")
    if kind != PLANTED:
        raise SessionError(
            f"{address}: a synthetic session must be '{PLANTED}', but this is '{kind}'."
            f"{did_you_mean(kind, [PLANTED])}"
        )
    values: dict[str, Any] = dict(DEFAULTS)
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in values:
            raise SessionError(
                f"{address}: a planted session has the settings {', '.join(values)}, but got "
                f"'{name}'.{did_you_mean(name, values)}"
            )
        if name == "code":
            values[name] = text
            continue
        try:
            values[name] = float(text)
        except ValueError:
            values[name] = float("nan")
        whole = name in ("seed", "units")
        if not abs(values[name]) < 1e9 or (whole and values[name] != int(values[name])):
            raise SessionError(
                f"{address}: {name} must be a {'whole ' if whole else ''}number, but got "
                f"'{text}'; write {name}={DEFAULTS[name]:g}"
            )
    refuse_out_of_range(address, values["minutes"], values["units"], values["nuisance"])
    _code_of(values).refuse(address)
    return values


def _code_of(values: dict[str, Any]) -> PlantedCode:
    return PlantedCode(kind=values["code"], angle=values["angle"], share=values["share"])


def planted_file(address: str) -> Path:
    """Return the NWB file of a planted session, simulated unless it is there.

    It is kept below the home of artifacts, in a folder named by settings and code.

    Raises
    ------
    SessionError
        As `parse_planted` has it.
    """
    values = parse_planted(address)
    made_of = {"planted": values, "code": code_digest("sessions", "core")}
    folder = home() / "sessions" / digest(made_of)
    path = folder / "planted.nwb"
    if not is_published(folder):
        with whole_folder(folder, made_of) as partial:
            simulate(
                partial / path.name,
                seed=int(values["seed"]),
                minutes=values["minutes"],
                num_units=int(values["units"]),
                nuisance=values["nuisance"],
                code=_code_of(values),
            )
    return path


def outline_planted(address: str, quality: str, areas: Sequence[str] = ()) -> SessionSize:
    """Return how large a planted session is, as its address says; nothing is simulated.

    Parameters
    ----------
    address
        As `parse_planted` takes it.
    quality
        Preset of unit quality; of units drawn as these are, only ``allen`` drops some.
    areas
        Prefixes of the areas that are kept; empty keeps every one.

    Raises
    ------
    SessionError
        As `parse_planted` has it.
    """
    values = parse_planted(address)
    minutes, num_units = values["minutes"], int(values["units"])
    blocks = blocks_of(minutes)
    in_area = sum(
        share
        for area, share in zip(AREAS, AREA_SHARES, strict=True)
        if not areas or area.startswith(tuple(areas))
    )
    passing = PASSING if quality == "allen" else 1.0
    # The mean of a log-normal rate.
    rate_hz = MEDIAN_RATE_HZ * math.exp(RATE_SPREAD**2 / 2)
    num_spikes, num_bins = round(num_units * rate_hz * blocks.stop_s), round(blocks.stop_s / BIN_S)
    return SessionSize(
        address=address,
        silent=silent_session(
            name_of(int(values["seed"]), minutes, num_units, values["nuisance"], _code_of(values)),
            address,
            [
                (start_s, start_s + blocks.length_s, state)
                for start_s, state in ((blocks.active_s, ACTIVE), (blocks.replay_s, PASSIVE))
            ],
            2 * blocks.num_flashes,
            latents=NAMES,
        ),
        num_units=num_units,
        num_kept=max(1, round(num_units * in_area * passing)),
        num_spikes=num_spikes,
        duration_s=blocks.stop_s,
        # Spike times of 8 bytes; true latents of 4 each and their bin's time of 8.
        session_bytes=8 * num_spikes + num_bins * (4 * len(NAMES) + 8),
        simulated_counts=num_bins * num_units,
        basis="the address",
    )
