"""A run's files, copied to the store while they change: a new head goes on from there."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from rheobase.core.artifacts import home, home_address, whole_file, write_json
from rheobase.core.background import repeated
from rheobase.core.errors import ArtifactError, RheobaseError
from rheobase.core.host import this_host
from rheobase.core.lease import SILENT_S, Holder, holder_of
from rheobase.core.store import Mirror, pull, pull_folder, push, stored
from rheobase.core.temporary import temporary_folder
from rheobase.study.records.ledger import Ledger
from rheobase.study.run_folder import RunFolder

AGAIN_S = 0.5  # between two looks for what has changed
BEAT_EVERY = 6  # looks
OVER = -1
HEAD = ".head.json"
"""In a run's folder, and in the store: which host runs the study, or ran it last."""
TRIALS = "trials"  # workers copy them


def fetched_run(study: str) -> RunFolder:
    """Copy a study's run from the store, over what of it is here, and return its folder.

    Files of trials are copied only where they are not here: they never change once it has ended.

    Raises
    ------
    ArtifactError
        There is no store, or no such run in it.
    """
    run = RunFolder(home() / "studies" / study)
    if not stored(run.path):
        raise ArtifactError(
            "RHEOBASE_HOME must be the URL at which a cluster keeps its artifacts, but is "
            f"{home_address()}; the runs of this machine lie there"
        )
    if not pull(run.study, anew=True):
        raise ArtifactError(f"{stored(run.path)}: no such run; 'rheobase status' lists studies")
    pull_folder(run.path, anew=True, leave_out=(TRIALS,))
    pull_folder(run.path / TRIALS)
    return run


def trials_in_store(study: str) -> dict[str, int]:
    """Return how many trials of a study are in each status; none where its ledger is not in store.

    It is a copy, a second old at most; what runs goes on undisturbed.
    """
    ledger = RunFolder(home() / "studies" / study).ledger
    with temporary_folder() as folder:
        copy = folder / ledger.name
        if not pull(ledger, anew=True, to=copy):
            return {}
        with Ledger.open_existing(copy) as opened:
            return dict(Counter(record.status for record in opened.records()))


@contextmanager
def copied_to_store(run: RunFolder) -> Iterator[None]:
    """Bring a run that another head began, and copy its files while they change and at the end.

    The ledger stays on this machine's disk, where SQLite's locks hold; what is in the store is a
    copy as of one moment. Without a store nothing happens.

    Raises
    ------
    ArtifactError
        Another head runs the study; or, at the end, the store has not taken the files.
    """
    if not stored(run.path):
        yield
        return
    last = _last_head(run)
    is_elsewhere = last is not None and last.host.name != this_host().name
    for path in (run.ledger, run.study, run.inputs, run.teacher_report, run.earlier):
        pull(path, anew=is_elsewhere)
    copies = _Copies(run)

    def update() -> None:
        with suppress(RheobaseError):  # told at the end, if it is not over by then
            copies.update()

    try:
        with repeated(update, AGAIN_S):
            yield
    finally:
        copies.update(is_over=True)


def copy_to_store(run: RunFolder) -> None:
    """Copy what was written to a run after its study."""
    if stored(run.path):
        _Copies(run).update(is_over=True)


def _last_head(run: RunFolder) -> Holder | None:
    """Return which host ran the study last; refuse one that still does, elsewhere."""
    path = run.path / HEAD
    pull(path, anew=True)
    last = holder_of(path)
    if last is None or last.beat == OVER or last.host.name == this_host().name:
        return last
    by = time.monotonic() + SILENT_S
    while time.monotonic() < by:
        time.sleep(1.0)
        pull(path, anew=True)
        if (now := holder_of(path)) != last and now and now.beat != OVER:
            raise ArtifactError(
                f"{stored(run.path)}: one process at a time may run a study, but {now} does; wait "
                "for it, or stop it with 'rheobase stop'"
            )
    return last


class _Copies:
    """What of a run is in the store."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._files = Mirror(run.path, leave_out=(TRIALS, run.ledger.name))
        self._ledger_s: int | None = None
        self._beats = 0

    def update(self, *, is_over: bool = False) -> None:
        """Copy what has changed, and say that this head lives, or that it is over."""
        self._files.update()
        self._copy_ledger()
        self._beats += 1
        if is_over or self._beats % BEAT_EVERY == 1:
            head = Holder(this_host(), os.getpid(), "", OVER if is_over else self._beats)
            write_json(self._run.path / HEAD, asdict(head))
            push(self._run.path / HEAD)

    def _copy_ledger(self) -> None:
        if not self._run.ledger.exists():
            return
        changed = self._run.ledger.stat().st_mtime_ns
        if changed == self._ledger_s:
            return
        with temporary_folder() as folder:
            copy = folder / self._run.ledger.name
            _snapshot(self._run.ledger, copy)
            push(copy, as_if=self._run.ledger)
        self._ledger_s = changed


def _snapshot(path: Path, target: Path) -> None:
    with (
        closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
        ) as now,
        whole_file(target) as partial,
        closing(sqlite3.connect(partial)) as copy,
    ):
        now.backup(copy)
