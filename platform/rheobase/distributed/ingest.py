"""Ray Data bins the sessions of a study, each where there is room."""

from __future__ import annotations

import logging
import pickle
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray.data

from rheobase.core.artifacts import MANIFEST, home, read_json
from rheobase.core.errors import RheobaseError, SessionError
from rheobase.core.folders import is_published
from rheobase.core.storage import Location, located
from rheobase.distributed.nodes import room_for
from rheobase.sessions.load import refuse_same_bytes, resolve_sessions
from rheobase.shards.ingest import bin_session, cautions_of, manifest_of
from rheobase.shards.settings import DataSettings
from rheobase.shards.splits import session_labels
from rheobase.shards.store import read_shard
from rheobase.study.file.spec import StudySpec


def ingest(spec: StudySpec) -> list[Path]:
    """Return the shards of a study's sessions, binning those that are not there yet.

    Returns
    -------
    Paths below ``$RHEOBASE_HOME/shards``, in the order of their session's id. Only these
    references travel: the counts stay in their files, which readers map into memory.

    Raises
    ------
    SessionError
        A recording cannot be read or used; all of them are told.
    """
    addresses = resolve_sessions(spec.data.sessions)
    with room_for("reading sessions", {"CPU": 1}):
        shards = bin_sessions(addresses, spec.data, home() / "shards")
    paths = [Path(location) for location in shards.values()]
    for path in paths:
        is_published(path.parent)  # brings it here, where another node made it
        for caution in cautions_of(read_json(path.parent / MANIFEST)):
            logging.getLogger("rheobase").warning(caution)
    return paths


def bin_sessions(
    addresses: Sequence[str],
    settings: DataSettings,
    folder: Location,
    on_binned: Callable[[str, Location], None] = lambda address, location: None,
) -> dict[str, Location]:
    """Bin sessions side by side, a task each, in the Ray session that is open.

    Parameters
    ----------
    addresses
        Addresses of single sessions.
    settings
        The [data] table.
    folder
        Where the shards go: a path that every node sees, or a URL.
    on_binned
        Called in this process with each session's address and shard as it ends.

    Returns
    -------
    The shard of each session's id, in the order of the ids. What was binned before, also by
    a call that was killed, is not binned again.

    Raises
    ------
    RheobaseError
        Sessions failed; all of them are told, once the others are done.
    """
    refuse_same_bytes(addresses)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    labels = session_labels(addresses, settings.split)
    rows = []
    items = [{"address": one, "label": labels.get(one)} for one in addresses]
    for row in (
        ray.data.from_items(items, override_num_blocks=len(items))  # a task a session
        .map(partial(_binned, settings=settings, folder=folder))
        .iter_rows()
    ):
        rows.append(row)
        if not row["failure"]:
            on_binned(row["address"], located(row["location"]))
    failures: list[RheobaseError] = [
        pickle.loads(row["failure"])
        for row in sorted(rows, key=lambda row: str(row["address"]))
        if row["failure"]
    ]
    if failures:
        raise type(failures[0])(" ; ".join(dict.fromkeys(map(str, failures))))
    sources: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        sources[row["session"]].append(row["address"])
    for session, named in sources.items():
        if len(named) > 1:
            raise SessionError(
                f"[data] sessions: each session must be named once, but {session} is in "
                f"{', '.join(sorted(named))}; leave one out"
            )
    _refuse_same_spikes(rows)
    return {
        row["session"]: located(row["location"])
        for row in sorted(rows, key=lambda row: str(row["session"]))
    }


def _refuse_same_spikes(rows: Sequence[dict[str, Any]]) -> None:
    """Refuse a recording that is there twice in other bytes: packed, linked to, a folder's copy."""
    first: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: str(row["address"])):
        other = first.setdefault(row["spikes"], row["address"])
        if row["spikes"] and other != row["address"]:
            raise SessionError(
                f"{row['address']}: each recording must be named once, but it holds the same "
                f"spikes as {other}; leave one out"
            )


def _binned(row: dict[str, Any], settings: DataSettings, folder: Location) -> dict[str, Any]:
    """Bin one session in a worker; an error travels as a value, or Ray would wrap it."""
    try:
        location = bin_session(row["address"], settings, folder, row["label"])
        session = read_shard(location).session_id
        spikes = manifest_of(location).get("spikes", "")
    except RheobaseError as error:
        return {**row, "location": "", "session": "", "spikes": "", "failure": pickle.dumps(error)}
    return {
        **row,
        "location": str(location),
        "session": session,
        "spikes": spikes,
        "failure": b"",
    }
