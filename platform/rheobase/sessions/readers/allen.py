"""Allen Visual Behavior Neuropixels sessions, exported once by the AllenSDK and read as Arrow."""

# Shape legend: N units, S spikes, P presentations, L samples of a signal.

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rheobase.core.artifacts import MANIFEST, home, read_json
from rheobase.core.digest import digest
from rheobase.core.errors import SessionError, did_you_mean
from rheobase.core.folders import is_published
from rheobase.sessions.readers.columns import NO_NAME, NOT_METRICS
from rheobase.sessions.readers.extent import blocks_of, whole_of, without_spurious_omissions
from rheobase.sessions.readers.observed import what_was_observed
from rheobase.sessions.records.session import (
    ACTIVE,
    OMITTED,
    PASSIVE,
    Floats,
    Presentations,
    Session,
    Signal,
    Units,
)
from rheobase.sessions.records.session_size import SessionSize, silent_session
from rheobase.sessions.visual_behavior import (
    BLOCK_S,
    IMAGE_NAME,
    IS_ACTIVE,
    IS_CHANGE,
    IS_OMITTED,
    MEAN_GOOD_UNITS,
    MEAN_UNITS,
    MOST_SPIKES,
    NUM_NORMAL_SESSIONS,
    NUM_SESSIONS,
    NWB_BYTES,
    SESSION_S,
    STIMULUS_BLOCK,
    STRIDE_S,
)

ALLEN = "allen-vbn:"
SOURCES = ("auto", "local", "s3")
FILTERS = {
    "area": (),  # a prefix of any acronym
    "genotype": (),  # any part of the full genotype
    "image_set": ("familiar", "novel"),
    "abnormal": ("exclude", "include"),
}
"""What `allen-vbn:all` can be narrowed by, and the values allowed; () allows any."""


def expand(address: str) -> list[str]:
    """Return the addresses of single sessions that an address names.

    Parameters
    ----------
    address
        ``allen-vbn:<session id>``, or
        ``allen-vbn:all?area=VISp&genotype=Sst&image_set=novel&abnormal=include`` with any of
        these filters. Sessions with abnormalities in histology or activity are left out unless
        included.

    Raises
    ------
    SessionError
        It is neither, a filter or value is unknown, no session passes, or the release cannot
        be reached.

    Examples
    --------
    >>> expand("allen-vbn:1064400234")
    ['allen-vbn:1064400234']
    """
    filters = _filters_of(address)
    if filters is None:
        return [f"{ALLEN}{_session_id(address)}"]
    words = [f"--{key.replace('_', '-')}={value}" for key, value in filters.items()]
    rows = _ask(address, "list", *words)["sessions"]
    return [f"{ALLEN}{row['ecephys_session_id']}" for row in rows]


def _filters_of(address: str) -> dict[str, str] | None:
    """Return the filters of all sessions that an address names; None of one session's."""
    name, _, query = address.removeprefix(ALLEN).partition("?")
    if name != "all":
        _session_id(address)
        return None
    filters: dict[str, str] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in FILTERS:
            raise SessionError(
                f"{address}: sessions can be filtered by {', '.join(FILTERS)}, but got '{key}'."
                f"{did_you_mean(key, FILTERS)}"
            )
        value = text.lower() if FILTERS[key] else text
        if not value or key in filters or (FILTERS[key] and value not in FILTERS[key]):
            allowed = " or ".join(FILTERS[key]) or "some text"
            raise SessionError(
                f"{address}: {key} must be {allowed}, given once, but got '{text}'."
                f"{did_you_mean(value, FILTERS[key])}"
            )
        filters[key] = value
    return filters


def read_allen(address: str) -> Session:
    """Read the session at ``allen-vbn:<session id>``, exported unless it was before.

    Its identity and everything that is binned equal those of `nwb.read_nwb` on the same file:
    the session's id is the file's identifier, the data's digest that of the file's bytes.

    Notes
    -----
    The SDK sorts presentations by onset, so a file in which they are out of order is not
    found out here. The export lies in ``$RHEOBASE_HOME/sessions``, in a folder named by the
    file's hash in the release's manifest and the exporter's code and pins.

    Raises
    ------
    SessionError
        The exporter's environment is not built, or the session cannot be had: the exporter's
        own line says why.
    """
    session_id = _session_id(address)
    listed = _ask(address, "find", str(session_id))
    made_of = {name: listed[name] for name in ("session_id", "blake2b", "exporter")}
    folder = home() / "sessions" / digest(made_of)
    if not is_published(folder):
        _ask(address, "export", str(session_id), str(folder))
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("blake2b") != listed["blake2b"]:
        raise SessionError(
            f"{folder}: the export must be of the file that {listed['release']} names, but the "
            "release changed meanwhile; delete this folder and run again"
        )
    try:
        return _read(folder, address, manifest)
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise SessionError(
            f"{folder}: a whole export of {address} must be there, but reading it failed: "
            f"{reason}; delete this folder and run again"
        ) from None


def outline_allen(addresses: Sequence[str], quality: str) -> SessionSize:
    """Return how large sessions of the release are: only their means are known, nothing is asked.

    Parameters
    ----------
    addresses
        As `expand` takes them; one at least. Sessions named beside ``all`` are among all.
    quality
        Preset of unit quality; any but ``none`` leaves what ``allen`` leaves.

    Raises
    ------
    SessionError
        An address names neither a session nor all of them, or an unknown filter.
    """
    for address in addresses:
        _filters_of(address)
    queries = [address.partition("?") for address in addresses]
    wholes = [query for name, _, query in queries if name == f"{ALLEN}all"]
    num_sessions = len(addresses)
    if wholes:
        # Filters other than this one can only leave fewer.
        includes = any(("abnormal", "include") in parse_qsl(query) for query in wholes)
        num_sessions = NUM_SESSIONS if includes else NUM_NORMAL_SESSIONS
    replay_s = SESSION_S - BLOCK_S
    return SessionSize(
        address=", ".join(addresses),
        num_sessions=num_sessions,
        silent=silent_session(
            "allen",
            addresses[0],
            [(0.0, BLOCK_S, ACTIVE), (replay_s, SESSION_S, PASSIVE)],
            round(2 * BLOCK_S / STRIDE_S),
        ),
        num_units=MEAN_UNITS,
        num_kept=MEAN_UNITS if quality == "none" else MEAN_GOOD_UNITS,
        num_spikes=MOST_SPIKES,
        duration_s=SESSION_S,
        download_bytes=NWB_BYTES,
        session_bytes=8 * MOST_SPIKES,
        basis="typical of the release, at most",
    )


def exporter_python() -> Path:
    """Return the interpreter of the exporter: ``$RHEOBASE_ALLEN_PYTHON`` or ours.

    Ours is ``.venv-allen/bin/python`` beside the environment that runs this.

    Raises
    ------
    SessionError
        It is not there.
    """
    beside = Path(sys.prefix).parent / ".venv-allen" / "bin" / "python"
    path = Path(os.environ.get("RHEOBASE_ALLEN_PYTHON") or beside)
    if not path.is_file():
        raise SessionError(
            f"{path}: the environment of the AllenSDK must be there, but is not; build it with "
            "'make exporter', or name its interpreter in RHEOBASE_ALLEN_PYTHON"
        )
    return path


def _session_id(address: str) -> int:
    name = address.removeprefix(ALLEN)
    if not (name.isascii() and name.isdigit()):
        raise SessionError(
            f"{address}: after '{ALLEN}' must stand a session's id, or 'all' with filters, but "
            f"got '{name}'.{did_you_mean(name.partition('?')[0], ['all'])}"
        )
    return int(name)


def _ask(address: str, command: str, *words: str) -> dict[str, Any]:
    """Run a command of the exporter on the cache and return its answer."""
    cache = Path(os.environ.get("RHEOBASE_ALLEN_CACHE") or home() / "allen").absolute()
    source = os.environ.get("RHEOBASE_ALLEN_SOURCE") or "auto"
    if source not in SOURCES:
        raise SessionError(
            f"RHEOBASE_ALLEN_SOURCE must be {', '.join(SOURCES)}, but is '{source}'."
            f"{did_you_mean(source, SOURCES)}"
        )
    python = exporter_python()
    # -I: PYTHONPATH is this environment's, and its packages are not the exporter's.
    call = [str(python), "-I", "-m", "allen_export", command, str(cache), *words]
    try:
        done = subprocess.run([*call, f"--source={source}"], capture_output=True, text=True)
        code, stdout, stderr = done.returncode, done.stdout, done.stderr
    except OSError as error:
        code, stdout, stderr = 126, "", str(error)
    if not stdout.startswith("{"):
        last = (stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SessionError(
            f"{address}: {python} must run the exporter, but it ended with {code}: {last}; run "
            "again, or build it again with 'make exporter'"
        )
    answer: dict[str, Any] = json.loads(stdout)
    if not answer["ok"]:
        raise SessionError(f"{address}: {answer['error']}")
    return answer


def _read(folder: Path, address: str, manifest: dict[str, Any]) -> Session:
    table = pq.read_table(folder / "units.parquet")
    spikes_s = pq.read_table(folder / "spikes.parquet")["spike_times"].to_numpy()
    offsets = np.concatenate([[0], np.cumsum(table["num_spikes"].to_numpy())]).astype(np.int64)
    shown = _presentations(pq.read_table(folder / "presentations.parquet"))
    presentations, told = without_spurious_omissions(shown)
    if np.isfinite(presentations.start_s).any():
        intervals = blocks_of(presentations)
    else:
        intervals, late = whole_of(spikes_s, offsets)
        told += late
    signals = {
        "running": _signal(folder / "running.parquet", "speed"),
        "pupil": _signal(folder / "eye.parquet", "pupil_area"),
    }
    units = _units(table)
    excluded = pq.read_table(folder / "invalid_times.parquet").to_pylist()
    invalid = [(row["start_time"], row["stop_time"], row["tags"]) for row in excluded]
    intervals, observed, holes = what_was_observed(address, units.probe, intervals, None, invalid)
    return Session(
        session_id=str(manifest["session_id"]),
        source=address,
        data_digest=manifest["data_digest"],
        units=units,
        spike_times_s=spikes_s,
        spike_offsets=offsets,
        intervals=intervals,
        presentations=presentations,
        signals={name: signal for name, signal in signals.items() if len(signal)},
        observed=observed,
        remarks=tuple(told + holes),
    )


def _units(table: pa.Table) -> Units:
    metrics = {
        field.name: table[field.name].to_numpy().astype(np.float64)
        for field in table.schema
        if field.name not in NOT_METRICS | {"unit_id", "num_spikes"}
        and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
    }
    return Units(
        table["unit_id"].to_numpy().astype(np.int64),
        _text(table["structure_acronym"]),
        _text(table["probe"]),
        metrics,
        {
            field.name: _text(table[field.name])
            for field in table.schema
            if pa.types.is_string(field.type) and field.name not in ("structure_acronym", "probe")
        },
    )


def _presentations(table: pa.Table) -> Presentations:
    """Return the rows that name an image (P): gabors and full-field flashes do not."""
    if IMAGE_NAME not in table.column_names:
        return Presentations.none()
    named = table.filter(pa.array(_text(table[IMAGE_NAME]) != ""))
    image = _text(named[IMAGE_NAME])

    def flags(name: str) -> npt.NDArray[np.bool_]:
        no = np.zeros(len(image), bool)
        return _flags(named[name]) if name in named.column_names else no

    block = named[STIMULUS_BLOCK].to_numpy().astype(np.float64)
    return Presentations(
        start_s=named["start_time"].to_numpy(),
        stop_s=named["end_time"].to_numpy(),
        image=image,
        is_change=flags(IS_CHANGE),
        omitted=flags(IS_OMITTED) if IS_OMITTED in named.column_names else image == OMITTED,
        block=np.where(np.isfinite(block), block, -1).astype(np.int64),
        active=flags(IS_ACTIVE),
        stride_s=STRIDE_S,
        states_known=IS_ACTIVE in named.column_names,
    )


def _flags(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return true where the column is; a row to which it does not apply is no."""
    return np.asarray(pc.fill_null(column.cast(pa.bool_()), False).to_numpy(), dtype=bool)


def _text(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    text = np.array(pc.fill_null(column.cast(pa.string()), "").to_pylist(), dtype=np.str_)
    return np.where(np.isin(text, NO_NAME), "", text)


def _signal(path: Path, name: str) -> Signal:
    table = pq.read_table(path, columns=["timestamps", name])
    values: list[Floats] = [c.to_numpy().astype(np.float64) for c in table.columns]
    return Signal(values[0], values[1])
