"""The one truth about a study's trials: a SQLite file that survives a kill at any moment."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rheobase.core.errors import ArtifactError
from rheobase.study.records.database import read, written
from rheobase.study.records.result import ENDED, Status, TrialRecord, TrialRequest, TrialResult

COPY = "take the file from a copy of the run, or run the study again in a new folder"


class Ledger:
    """A row for each trial and one for each report of its training; the driver alone writes.

    Every change is one transaction, on disk when the call returns. A trial that has ended is
    never changed again.

    Raises
    ------
    ArtifactError
        The file is no ledger, or one of another schema.
    OSError
        From any change: the disk is full; nothing is written half.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "l.sqlite") as ledger:
    ...     ledger.add(TrialRequest(trial_id="a", number=0, stage="select", params={},
    ...                             student={}, seeds=(0,)))
    ...     ledger.fail("a", "the loss must stay finite")
    ...     [(record.status, record.error) for record in ledger.records()]
    [('failed', 'the loss must stay finite')]
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._ended: dict[str, TrialRecord] = {}  # read and checked once
        self._open = ExitStack()
        self._db = self._open.enter_context(read(path) if read_only else written(path))

    @classmethod
    def open_existing(cls, path: Path) -> Ledger:
        """Open the ledger of a run that exists to read it, and write nothing.

        Raises
        ------
        ArtifactError
            There is none.
        """
        if not path.is_file():
            raise ArtifactError(f"{path}: no such ledger; name the folder of a run that was begun")
        return cls(path, read_only=True)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was written is kept."""
        self._open.close()

    def add(self, request: TrialRequest) -> None:
        """Write down a trial that waits; the same request again changes nothing.

        Raises
        ------
        ArtifactError
            Another request has its id or its number.
        """
        row = (request.trial_id, request.number, request.model_dump_json())
        self._db.execute(
            "INSERT INTO trial (trial_id, number, request, status) VALUES (?, ?, ?, 'waiting') "
            "ON CONFLICT DO NOTHING",
            row,
        )
        known = self._db.execute(
            "SELECT trial_id, number, request FROM trial WHERE trial_id = ? OR number = ?", row[:2]
        ).fetchall()
        if known != [row]:
            raise ArtifactError(
                f"{self._path}: a trial's id and number must be its own, but trial "
                f"{request.trial_id} (number {request.number}) meets {len(known)} other"
            )

    def start(self, trial_id: str) -> None:
        """Write down that a trial runs, again perhaps."""
        self._change(trial_id, "running", started_at=time.time(), error=None)

    def progress(self, trial_id: str, step: int, values: Mapping[str, float]) -> None:
        """Write down scalars of a training step; one that is not finite is left out."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        changed = self._db.execute(
            "INSERT OR REPLACE INTO progress SELECT trial_id, ?, ? FROM trial "
            "WHERE trial_id = ? AND status = 'running'",
            (step, json.dumps(finite), trial_id),
        ).rowcount
        self._refuse_unless(changed, trial_id, "running")

    def complete(self, result: TrialResult) -> None:
        """Write down what a trial found."""
        self._change(
            result.trial_id, "complete", ended_at=time.time(), result=result.model_dump_json()
        )

    def fail(self, trial_id: str, reason: str) -> None:
        """Write down why a trial gave no numbers."""
        self._change(trial_id, "failed", ended_at=time.time(), error=reason)

    def prune(self, trial_id: str, reason: str) -> None:
        """Write down why a trial was stopped early."""
        self._change(trial_id, "pruned", ended_at=time.time(), error=reason)

    def adopt(self, trial_id: str, other: TrialRecord) -> None:
        """Write down that a trial ended as the same one did in another run."""
        with self._whole():
            self._change(
                trial_id,
                other.status,
                result=other.result.model_dump_json() if other.result else None,
                error=other.error,
                started_at=other.started_at,
                ended_at=other.ended_at,
            )
            self._db.execute("DELETE FROM progress WHERE trial_id = ?", (trial_id,))
            self._db.executemany(
                "INSERT INTO progress VALUES (?, ?, ?)",
                [(trial_id, step, json.dumps(dict(values))) for step, values in other.progress],
            )

    @contextmanager
    def _whole(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _change(self, trial_id: str, status: Status, **columns: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        changed = self._db.execute(
            f"UPDATE trial SET status = ?, {names} "
            "WHERE trial_id = ? AND status IN ('waiting', 'running')",
            (status, *columns.values(), trial_id),
        ).rowcount
        self._refuse_unless(changed, trial_id, "unfinished")

    def _refuse_unless(self, changed: int, trial_id: str, wanted: str) -> None:
        if changed == 1:
            return
        row = self._db.execute(
            "SELECT status FROM trial WHERE trial_id = ?", (trial_id,)
        ).fetchone()
        found = f"is {row[0]}" if row else "is not there"
        raise ArtifactError(
            f"{self._path}: trial {trial_id} must be {wanted} to be changed, but it {found}"
        )

    def record(self, trial_id: str) -> TrialRecord:
        """Return what is known of one trial."""
        for record in self._read("WHERE trial_id = ?", trial_id):
            return record
        raise ArtifactError(f"{self._path}: no trial {trial_id}; 'rheobase rank' lists them")

    def records(self) -> list[TrialRecord]:
        """Return what is known of every trial, in the order the study asked for them."""
        known = json.dumps(list(self._ended))
        read = self._read("WHERE trial_id NOT IN (SELECT value FROM json_each(?))", known)
        going_on = [record for record in read if record.status not in ENDED]
        self._ended |= {r.request.trial_id: r for r in read if r.status in ENDED}
        return sorted([*self._ended.values(), *going_on], key=lambda r: r.request.number)

    def _read(self, where: str, *values: str) -> list[TrialRecord]:
        try:
            self._db.execute("BEGIN")  # both tables as of one moment
            trials = self._db.execute(
                "SELECT trial_id, request, status, result, error, started_at, ended_at "
                f"FROM trial {where} ORDER BY number",
                values,
            ).fetchall()
            reports = self._db.execute(
                f"SELECT trial_id, step, scalars FROM progress {where} ORDER BY step", values
            ).fetchall()
            self._db.execute("COMMIT")
        except (sqlite3.DatabaseError, UnicodeDecodeError, OverflowError) as error:
            raise ArtifactError(f"{self._path}: the ledger is damaged ({error}); {COPY}") from None
        progress: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for trial_id, step, scalars in reports:
            progress[trial_id].append((step, scalars))
        return [self._record(row, progress[row[0]]) for row in trials]

    def _record(self, row: Sequence[Any], progress: Sequence[tuple[int, str]]) -> TrialRecord:
        trial_id, request, status, result, error, started_at, ended_at = row
        try:
            return TrialRecord(
                request=TrialRequest.model_validate_json(request),
                status=status,
                result=TrialResult.model_validate_json(result) if result else None,
                progress=tuple((step, json.loads(scalars)) for step, scalars in progress),
                error=error,
                started_at=started_at,
                ended_at=ended_at,
            )
        except (ValueError, TypeError, RecursionError) as damage:  # a ValidationError is one
            reason = " ".join(str(damage).split())[:200]
            raise ArtifactError(
                f"{self._path}: trial {trial_id!r} must be as it was written, but is damaged "
                f"({reason}); {COPY}"
            ) from None
