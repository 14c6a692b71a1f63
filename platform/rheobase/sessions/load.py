"""Addresses of recordings: resolve them, load one, or tell how large it is."""

from __future__ import annotations

import glob
import zipfile
from collections.abc import Sequence
from pathlib import Path

from rheobase.core.errors import SessionError
from rheobase.sessions.planted.address import SYNTHETIC, outline_planted, planted_file
from rheobase.sessions.readers.allen import ALLEN, expand, outline_allen, read_allen
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.npz import outline_npz, read_npz
from rheobase.sessions.readers.nwb import outline_nwb, read_nwb
from rheobase.sessions.records.session import Session, TrialSession
from rheobase.sessions.records.session_size import SessionSize
from rheobase.sessions.records.true_latents import with_true_latents


def resolve_sessions(addresses: Sequence[str]) -> list[str]:
    """Return the addresses with globs and ``allen-vbn:all`` expanded, sorted, each once.

    Parameters
    ----------
    addresses
        Paths, globs and addresses of recordings, one at least.

    Raises
    ------
    SessionError
        A path, glob or filter matches nothing, or no address is given.
    """
    resolved: set[str] = set()
    for address in addresses:
        if address.startswith(ALLEN):
            resolved.update(expand(address))
            continue
        if ":" in address.split("/")[0]:
            resolved.add(address)
            continue
        matches = glob.glob(address, recursive=True)
        if not matches:
            raise SessionError(
                f"{address}: at least one recording must match, but none does; check the path "
                f"(this is {Path.cwd()})"
            )
        resolved.update(matches)
    if not resolved:
        raise SessionError("at least one session must be named, but none is; name a .nwb or .npz")
    return sorted(resolved)


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
    if address.startswith(SYNTHETIC):
        return with_true_latents(read_nwb(planted_file(address), events))
    if path.suffix == ".nwb":
        return with_true_latents(read_nwb(path, events))
    if path.suffix != ".npz":
        raise _unknown_form(address)
    return read_npz(path)


def outline_session(address: str, quality: str = "none", areas: Sequence[str] = ()) -> SessionSize:
    """Return how large the recording at an address is, without reading a spike.

    Parameters
    ----------
    address
        As `load_session` takes it, or ``allen-vbn:all`` with filters, all of whose sessions have
        one size; globs are expanded before.
    quality
        Preset of unit quality, of which only what is typical of it is known.
    areas
        Prefixes of the areas that are kept, of which a file's shapes say nothing.

    Raises
    ------
    SessionError
        There is no such recording, or its shapes cannot be read.
    """
    path = Path(address)
    if address.startswith(ALLEN):
        return outline_allen([address], quality)
    if address.startswith(SYNTHETIC):
        return outline_planted(address, quality, areas)
    if path.suffix not in (".nwb", ".npz"):
        raise _unknown_form(address)
    try:
        return outline_nwb(path) if path.suffix == ".nwb" else outline_npz(path)
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip("'\"")
        raise SessionError(
            f"{address}: the shapes of a recording's arrays must be there to tell its size, but "
            f"reading them failed: {reason}; see what 'rheobase validate' says of it"
        ) from None


def _unknown_form(address: str) -> SessionError:
    suffix = Path(address).suffix or "a name without a suffix"
    return SessionError(
        f"{address}: a recording must be .nwb or .npz, but this is '{suffix}'; convert it"
    )
