"""How the ledger's SQLite file is opened: by its one writer, or by readers that write nothing."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from rheobase.core.artifacts import made_folder
from rheobase.core.errors import ArtifactError
from rheobase.core.temporary import temporary_folder

SCHEMA_VERSION = 1
BUSY_S = 30.0  # a reader's snapshot takes a second at most: only one that is halted holds longer
BESIDE = ("-journal", "-wal")
"""What a killed writer leaves beside the file; `-wal` that of a ledger of an earlier version."""
MOST_COPIES = 20  # until one is of a moment at which nothing was written
TABLES = f"""
CREATE TABLE trial (
    trial_id TEXT PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    request TEXT NOT NULL,
    status TEXT NOT NULL,
    result TEXT,
    error TEXT,
    started_at REAL,
    ended_at REAL
) STRICT;
CREATE TABLE progress (
    trial_id TEXT NOT NULL REFERENCES trial,
    step INTEGER NOT NULL,
    scalars TEXT NOT NULL,
    PRIMARY KEY (trial_id, step)
) STRICT;
PRAGMA user_version = {SCHEMA_VERSION};
"""
ERRORS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.ENOSPC,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
}


class _Database(sqlite3.Connection):
    """Tells of a full disk, and of a file that another process keeps locked, as files do."""

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        with _as_files_do():
            return super().execute(sql, values)

    def executescript(self, sql: str, /) -> sqlite3.Cursor:
        with _as_files_do():
            return super().executescript(sql)


@contextmanager
def _as_files_do() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        number = ERRORS.get(error.sqlite_errorcode & 0xFF)
        if number is None:
            raise
        raise OSError(number, f"the ledger must be read and written, but: {error}") from None


@contextmanager
def written(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file for its writer; make it where it is not there, and in it the tables.

    Every statement, or explicit transaction, is on disk when it has returned.

    Raises
    ------
    ArtifactError
        It is no ledger, or one of another schema.

    Notes
    -----
    It has a rollback journal, not a log written ahead: then readers need to write nothing beside
    the file, and ask for no more than locks, which network file systems have.
    """
    made_folder(path.parent)
    with _connected(path) as database:
        with _refused(path):
            database.execute("PRAGMA journal_mode = DELETE")
            # The journal's removal is the commit: FULL alone may have it come back after a crash.
            database.execute("PRAGMA synchronous = EXTRA")
            if _schema_version(database, path) == 0:
                database.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT;")
        yield database


@contextmanager
def read(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file to be read, where nobody may write too, and beside a process that writes it.

    Raises
    ------
    ArtifactError
        It is no ledger, one of another schema, or cannot be read.

    Notes
    -----
    Nothing is written beside it. A writer that was killed in the midst of a change leaves a
    journal from which the file must be restored before it is read: then a copy of both is. So is
    a ledger of an earlier version, which wrote a log ahead.
    """
    with ExitStack() as opened:
        with _refused(path):
            database = _readable(path, opened)
        yield database


def _readable(path: Path, opened: ExitStack) -> sqlite3.Connection:
    try:
        if _has_log(path):
            raise sqlite3.OperationalError
        database = opened.enter_context(_connected(path, "ro"))
        version = _schema_version(database, path)
    except sqlite3.OperationalError:
        copy = opened.enter_context(temporary_folder()) / path.name
        _copy(path, copy)
        database = opened.enter_context(_connected(copy, "rw"))
        version = _schema_version(database, path)
    if version == 0:  # its writer was killed before it had made the tables
        database = opened.enter_context(_connected(opened.enter_context(temporary_folder()) / "l"))
        database.executescript(TABLES)
    return database


def _has_log(path: Path) -> bool:
    """Tell whether SQLite would write a log beside a file, even to read it."""
    with path.open("rb") as file:
        header = file.read(20)
    return header[18:19] == b"\x02"


def _copy(path: Path, target: Path) -> None:
    """Copy the file and what is beside it as of one moment."""
    beside = [Path(f"{path}{end}") for end in BESIDE]

    def state() -> list[tuple[int, int]]:
        there = [one.stat() for one in (path, *beside) if one.exists()]
        return [(one.st_mtime_ns, one.st_size) for one in there]

    for _ in range(MOST_COPIES):
        before = state()
        with suppress(FileNotFoundError):  # the journal of a writer that began anew
            for one in (path, *beside):
                copied = target.with_name(one.name)
                copied.unlink(missing_ok=True)
                if one.exists():
                    shutil.copyfile(one, copied)
            if state() == before:
                return
    raise ArtifactError(f"{path}: the ledger must rest to be read here; try again later")


@contextmanager
def _connected(path: Path, mode: str = "rwc") -> Iterator[sqlite3.Connection]:
    # Autocommit: a change is a single statement, or an explicit transaction.
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        factory=_Database,
    )
    with closing(database):
        yield database


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Tell in one line of a file that is no ledger, or cannot be read."""
    try:
        yield
    except (sqlite3.DatabaseError, PermissionError, UnicodeDecodeError, OverflowError) as error:
        raise ArtifactError(f"{path}: not a ledger ({error}); use another folder") from None


def _schema_version(database: sqlite3.Connection, path: Path) -> int:
    """Return `SCHEMA_VERSION` of a ledger and 0 of a file without tables; refuse any other."""
    database.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # reads the file, locked
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, SCHEMA_VERSION):
        raise ArtifactError(
            f"{path}: ledger schema {SCHEMA_VERSION} must hold, but got {version}; "
            "use the rheobase that wrote it, or another folder"
        )
    return int(version)
