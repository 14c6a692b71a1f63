"""Ray Data bins the sessions of a study, each where there is room."""

from __future__ import annotations

import logging
import pickle
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import ray.data

from rheobase.core.artifacts import home
from rheobase.core.errors import RheobaseError, SessionError
from rheobase.sessions.load import resolve_sessions
from rheobase.shards.ingest import bin_session
from rheobase.shards.settings import DataSettings
from rheobase.shards.store import read_shard
from rheobase.study.spec import StudySpec


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
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    addresses = resolve_sessions(spec.data.sessions)
    rows = (
        ray.data.from_items([{"address": one} for one in addresses])
        .repartition(len(addresses))  # a task a session
        .map(partial(_binned, settings=spec.data, folder=home() / "shards"))
        .take_all()
    )
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
    for session, found in sources.items():
        if len(found) > 1:
            raise SessionError(
                f"[data] sessions: each session must be named once, but {session} is in "
                f"{', '.join(sorted(found))}; leave one out"
            )
    return [Path(row["path"]) for row in sorted(rows, key=lambda row: str(row["session"]))]


def _binned(row: dict[str, Any], settings: DataSettings, folder: Path) -> dict[str, Any]:
    """Bin one session in a worker; an error travels as a value, or Ray would wrap it."""
    try:
        path = bin_session(row["address"], settings, folder)
        session = read_shard(path).session_id
    except RheobaseError as error:
        return {**row, "path": "", "session": "", "failure": pickle.dumps(error)}
    return {**row, "path": str(path), "session": session, "failure": b""}
