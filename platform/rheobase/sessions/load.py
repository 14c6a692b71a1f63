"""Addresses of recordings: resolve them, load one, or tell how large it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rheobase.core.digest import file_digest
from rheobase.core.errors import SessionError
from rheobase.core.paths import JOIN, matching, parts_of
from rheobase.sessions.planted.address import (
    SYNTHETIC,
    outline_planted,
    parse_planted,
    planted_file,
)
from rheobase.sessions.planted.simulate import AREAS
from rheobase.sessions.quality.selection import (
    NanRule,
    Preset,
    choose_units,
    refuse_unknown_areas,
)
from rheobase.sessions.readers.allen import ALLEN, expand, outline_allen, read_allen
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.foreign import KILOSORT, is_folder_of_units, read_folder
from rheobase.sessions.readers.isolated import read_isolated
from rheobase.sessions.readers.npz import read_npz
from rheobase.sessions.readers.nwb import read_nwb
from rheobase.sessions.readers.path_settings import PathSettings
from rheobase.sessions.records.joined import joined
from rheobase.sessions.records.session import Bools, Session, Signal, TrialSession, TrueLatents
from rheobase.sessions.records.session_size import SessionSize, silent_unit
from rheobase.sessions.records.true_latents import names_beside, with_true_latents

NWB = (".nwb", ".nwb.gz")
CONVERSIONS = {
    ".mat": "a MATLAB file; read it there or with scipy.io, write spikes with write_npz",
    ".zarr": "NWB-Zarr; export it to HDF5 with pynwb: NWBHDF5IO(…).export(src_io=NWBZarrIO(…))",
    ".h5": "HDF5 of no stated layout; if it is NWB name it .nwb, else write it with write_npz",
    ".hdf5": "HDF5 of no stated layout; if it is NWB name it .nwb, else write it with write_npz",
    ".dat": "raw samples; sort them first, and name the sorter's folder",
    ".bin": "raw samples; sort them first, and name the sorter's folder",
}
"""What files of other kinds are, and how they become recordings."""
REMOTE = {
    "s3": "download it with 'aws s3 cp'",
    "gs": "download it with 'gcloud storage cp'",
    "http": "download it with curl",
    "https": "download it with curl",
    "dandi": "download it with 'dandi download'",
}
"""Addresses that are read nowhere but here, and how the file gets here."""


def resolve_sessions(addresses: Sequence[str]) -> list[str]:
    """Return the addresses with globs and ``allen-vbn:all`` expanded, sorted, each once.

    A recording that is spelled in two ways, or reached by a symbolic link too, is named once.
    Files with `` + `` between them are one session.

    Parameters
    ----------
    addresses
        Paths, globs and addresses of recordings, one at least; ``~`` and ``$VARIABLES`` are
        replaced.

    Raises
    ------
    SessionError
        A path, glob or filter matches nothing, or no address is given.
    """
    resolved: dict[object, str] = {}
    for address in addresses:
        scheme, colon, _ = address.partition(":")
        if parts := parts_of(address):
            files = [one for part in parts for one in resolve_sessions([part])]
            resolved.setdefault(tuple(map(os.path.realpath, files)), JOIN.join(files))
        elif address.startswith(ALLEN):
            resolved |= {one: one for one in expand(address)}
        elif found := matching(address):
            for path in found:
                resolved.setdefault(os.path.realpath(path), path)
        elif address.startswith(SYNTHETIC):
            resolved.setdefault(tuple(parse_planted(address).items()), address)
        elif colon and (scheme.lower() in REMOTE or "://" in address):
            how = REMOTE.get(scheme.lower(), "copy it here")
            raise SessionError(
                f"{address}: a recording must be a file on this machine, but this is a remote "
                f"address; {how}, then name its path"
            )
        else:
            raise SessionError(
                f"{address}: at least one recording must match, but none does; check the path "
                f"(this is {Path.cwd()})"
            )
    if not resolved:
        raise SessionError("at least one session must be named, but none is; name a .nwb or .npz")
    return sorted(resolved.values())


def refuse_same_bytes(addresses: Sequence[str]) -> None:
    """Refuse recordings whose files hold the same bytes under two names.

    One copy in train and one held out would make what is held out known. Only files of one size
    are read for it.

    Raises
    ------
    SessionError
        Two files are the same.
    """
    of_size: dict[int, list[Path]] = {}
    files = [file for address in addresses for file in parts_of(address) or [address]]
    for path in map(Path, files):
        if path.is_file():
            of_size.setdefault(path.stat().st_size, []).append(path)
    for paths in of_size.values():
        if len(paths) < 2:
            continue
        first: dict[str, Path] = {}
        for path in paths:
            same = first.setdefault(file_digest(path), path)
            if same is not path:
                raise SessionError(
                    f"{path}: each recording must be named once, but it holds the same bytes as "
                    f"{same}; leave one out"
                )


def load_session(
    address: str, events: EventSettings | None = None, paths: PathSettings | None = None
) -> Session | TrialSession:
    """Load the recording at an address.

    Parameters
    ----------
    address
        Path of an ``.nwb`` or ``.npz`` file or of a sorter's folder, ``allen-vbn:<session id>``,
        or ``synthetic:planted?seed=0&minutes=20&units=200&nuisance=1``, which is simulated once,
        kept below the home of artifacts and read as any NWB file. Files with `` + `` between them
        are one session, as `rheobase.sessions.records.joined.joined` makes it.
    events
        What the interval tables of an NWB file mean; of several files, of the first.
    paths
        Where an NWB file holds what.

    Raises
    ------
    SessionError
        There is no such recording, or it cannot be read.

    Examples
    --------
    >>> session = load_session("synthetic:planted?seed=0&minutes=1&units=10&nuisance=0")
    >>> len(session.units), session.intervals.state.tolist()
    (10, ['active', 'passive'])
    """
    return _load(address, events, paths, spikes=True)


def _load(
    address: str, events: EventSettings | None, paths: PathSettings | None, *, spikes: bool
) -> Session | TrialSession:
    path = Path(address)
    if parts := parts_of(address):
        return _joined(address, parts, events, paths, spikes=spikes)
    if address.startswith(ALLEN):
        _refuse_settings(address, events, paths)
        return read_allen(address)
    if address.startswith(SYNTHETIC):
        return with_true_latents(read_nwb(planted_file(address), events, paths))
    if address.lower().endswith(NWB) and not path.is_dir():
        session = read_isolated(path, events, paths, spikes=spikes)
        return with_true_latents(session) if spikes else session
    _refuse_settings(address, events, paths)
    if is_folder_of_units(path):
        return read_folder(path)
    if path.suffix.lower() == ".npz" and not path.is_dir():
        return read_npz(path)
    raise _unknown_form(address)


def _joined(
    address: str,
    parts: Sequence[str],
    events: EventSettings | None,
    paths: PathSettings | None,
    *,
    spikes: bool,
) -> Session:
    """Return the session that several files hold; settings of events are those of the first."""
    units_alone = PathSettings(units=paths.units) if paths and paths.units else None
    found: list[Session] = []
    for part in parts:
        own = (None, units_alone) if found else (events, paths)
        session = _load(part, *own, spikes=spikes)
        if isinstance(session, TrialSession):
            raise SessionError(
                f"{address}: files of one session must hold spike times, but {part} holds counts "
                "by trial; name it alone"
            )
        found.append(session)
    return joined(found, address)


def _refuse_settings(
    address: str, events: EventSettings | None, paths: PathSettings | None
) -> None:
    for name, given in (("events", events), ("paths", paths)):
        if given is not None:
            raise SessionError(
                f"{address}: data.{name} must be left out for a session of the Allen release, an "
                ".npz and a sorter's folder, which say themselves what they hold; see "
                "docs/sessions.md"
            )


def outline_session(
    address: str,
    quality: Preset = "none",
    areas: Sequence[str] = (),
    *,
    nan_metrics: NanRule = "drop",
    labels: Mapping[str, Sequence[str]] | None = None,
    events: EventSettings | None = None,
    paths: PathSettings | None = None,
) -> SessionSize:
    """Return how large the recording at an address is, without reading the spikes of an NWB file.

    Parameters
    ----------
    address
        As `load_session` takes it, or ``allen-vbn:all`` with filters, all of whose sessions have
        one size; globs are expanded before.
    quality, areas, nan_metrics, labels
        As `rheobase.sessions.quality.selection.select_units` takes them. Of sessions that are not
        here yet, only what is typical of a preset is known.
    events, paths
        As `load_session` takes them.

    Raises
    ------
    SessionError
        There is no such recording, it cannot be read, or no unit of it is left.
    """
    if address.startswith(ALLEN):
        return outline_allen([address], quality)
    if address.startswith(SYNTHETIC):
        size = outline_planted(address, quality, areas)
        refuse_unknown_areas(address, set(AREAS), areas)
        return size
    whole = _load(address, events, paths, spikes=False)
    verdict = choose_units(whole, quality, areas, nan_metrics, labels or {})
    basis = "the file"
    if verdict.preset_is_void:
        basis += f", to whose units '{quality}' cannot be applied"
    return SessionSize(
        address=address,
        silent=_silent(whole, verdict.kept),
        num_units=len(whole.units),
        num_kept=int(verdict.kept.sum()),
        num_spikes=whole.num_spikes,
        duration_s=whole.duration_s,
        basis=basis,
    )


def _silent(session: Session | TrialSession, kept: Bools) -> Session | TrialSession:
    """Return a recording with one unit that never fires in place of its own."""
    if isinstance(session, TrialSession):
        num_trials, _, num_bins = session.counts.shape
        counts = np.zeros((num_trials, 1, num_bins), np.uint8)
        return replace(session, units=silent_unit(), counts=counts, labels={})
    nothing = np.zeros(0)
    observed = None if session.observed is None else session.observed.take(kept)
    latents = names_beside(Path(session.source))
    return replace(
        session,
        units=silent_unit(),
        spike_times_s=nothing,
        spike_offsets=np.zeros(2, np.int64),
        intervals=replace(session, observed=observed).observed_by_all(),
        observed=None,
        signals={name: Signal(nothing, nothing) for name in session.signals},
        true_latents=TrueLatents(
            np.array(latents), nothing, np.zeros((0, len(latents)), np.float32), ""
        )
        if latents
        else None,
    )


def _folder_of(path: Path) -> str:
    """Return what a folder is that is read as no recording, and what to do."""
    if (path / "si_folder.json").exists() or (path / "numpysorting_info.json").exists():
        return (
            "a sorting of spikeinterface; write it with "
            "rheobase.recording(spikeinterface.load(folder), name=…).write('mine.npz')"
        )
    if (path / KILOSORT[0]).exists():
        missing = [name for name in KILOSORT if not (path / name).is_file()]
        return f"a folder of Kilosort or phy that lacks {', '.join(missing)}; copy it there"
    inner = [one.name for one in sorted(path.iterdir()) if is_folder_of_units(one)][:3]
    if inner:
        return f"a folder of such folders; name one in it, such as {path / inner[0]}"
    return "a folder of neither Kilosort, phy nor ALF; name a file in it, or 'folder/*.nwb'"


def _unknown_form(address: str) -> SessionError:
    path = Path(address)
    if (path.is_dir() and (path / ".zgroup").exists()) or (path / "zarr.json").exists():
        found = CONVERSIONS[".zarr"]
    elif path.suffix.lower() in CONVERSIONS:
        found = CONVERSIONS[path.suffix.lower()]
    elif path.is_dir():
        found = _folder_of(path)
    else:
        found = f"'{path.suffix or 'a name without a suffix'}'; convert it"
    return SessionError(
        f"{address}: a recording must be .nwb or .npz, or a sorter's folder, but this is {found}"
    )
