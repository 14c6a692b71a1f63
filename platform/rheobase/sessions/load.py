"""Addresses of recordings: resolve them, and load one."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl

from rheobase.core.artifacts import home
from rheobase.core.digest import code_digest, digest
from rheobase.core.errors import SessionError, did_you_mean
from rheobase.core.folders import is_published, whole_folder
from rheobase.sessions.planted.simulate import simulate
from rheobase.sessions.readers.allen import ALLEN, expand, read_allen
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.npz import read_npz
from rheobase.sessions.readers.nwb import read_nwb
from rheobase.sessions.records.session import Session, TrialSession
from rheobase.sessions.records.true_latents import with_true_latents

PLANTED = "synthetic:planted"
PLANTED_DEFAULTS = {"seed": 0.0, "minutes": 20.0, "units": 200.0, "nuisance": 1.0}


def resolve_sessions(addresses: Sequence[str]) -> list[str]:
    """Return the addresses with globs and ``allen-vbn:all`` expanded, sorted, each once.

    Raises
    ------
    SessionError
        A path, glob or filter matches nothing, or no address is given.
    """
    found: set[str] = set()
    for address in addresses:
        if address.startswith(ALLEN):
            found.update(expand(address))
            continue
        if ":" in address.split("/")[0]:
            found.add(address)
            continue
        matches = glob.glob(address, recursive=True)
        if not matches:
            raise SessionError(
                f"{address}: at least one recording must match, but none does; check the path "
                f"(this is {Path.cwd()})"
            )
        found.update(matches)
    if not found:
        raise SessionError("at least one session must be named, but none is; name a .nwb or .npz")
    return sorted(found)


def load_session(address: str, events: EventSettings | None = None) -> Session | TrialSession:
    """Load the recording at an address.

    Parameters
    ----------
    address
        Path of an ``.nwb`` or ``.npz`` file, ``allen-vbn:<session id>``, or
        ``synthetic:planted?seed=0&minutes=20&units=200&nuisance=1``, which is simulated once,
        kept below the home of artifacts and read as any NWB file.
    events
        What the interval tables of an NWB file mean.

    Raises
    ------
    SessionError
        There is no such recording, or it cannot be read.
    """
    path = Path(address)
    if events is not None and (address.startswith(ALLEN) or path.suffix == ".npz"):
        raise SessionError(
            f"{address}: data.events must be left out for a session of the Allen release and for "
            "an .npz, which say themselves what their events mean; see docs/sessions.md"
        )
    if address.startswith(ALLEN):
        return read_allen(address)
    if address.startswith("synthetic:"):
        return with_true_latents(read_nwb(_planted(address), events))
    if path.suffix == ".nwb":
        return with_true_latents(read_nwb(path, events))
    if path.suffix != ".npz":
        raise SessionError(
            f"{address}: a recording must be .nwb or .npz, but this is "
            f"'{path.suffix or 'a name without a suffix'}'; convert it"
        )
    return read_npz(path)


def _planted(address: str) -> Path:
    """Return the NWB file of a planted session, simulated unless it is there."""
    kind, _, query = address.partition("?")
    if kind != PLANTED:
        raise SessionError(
            f"{address}: a synthetic session must be '{PLANTED}', but this is '{kind}'."
            f"{did_you_mean(kind, [PLANTED])}"
        )
    values = dict(PLANTED_DEFAULTS)
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in values:
            raise SessionError(
                f"{address}: a planted session has the settings {', '.join(values)}, but got "
                f"'{name}'.{did_you_mean(name, values)}"
            )
        try:
            values[name] = float(text)
        except ValueError:
            values[name] = float("nan")
        whole = name in ("seed", "units")
        if not abs(values[name]) < 1e9 or (whole and values[name] != int(values[name])):
            raise SessionError(
                f"{address}: {name} must be a {'whole ' if whole else ''}number, but got "
                f"'{text}'; write {name}={PLANTED_DEFAULTS[name]:g}"
            )
    made_of = {"planted": values, "code": code_digest("sessions", "core")}
    folder = home() / "sessions" / digest(made_of)
    path = folder / "planted.nwb"
    if not is_published(folder):
        with whole_folder(folder, made_of) as partial:
            try:
                simulate(
                    partial / path.name,
                    seed=int(values["seed"]),
                    minutes=values["minutes"],
                    num_units=int(values["units"]),
                    nuisance=values["nuisance"],
                )
            except SessionError as error:
                raise SessionError(str(error).replace(str(partial / path.name), address)) from None
    return path
