"""The right of one process to a file or folder, among processes of one host and of several.

A host's own processes are told apart by a lock of the system, which frees it when its holder dies,
however it dies. Some network file systems have no such lock, or one for each node: so the holder
also writes down its host and beats in the file, and who finds another host's name there watches
whether it still beats. Clocks of hosts are never compared.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path

from rheobase.core.background import repeated
from rheobase.core.host import Host, this_host

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
BEAT_S = 2.0
SILENT_S = 15.0  # without a beat, after which another host's holder is dead
LENGTH = 512
SETTLE_S = 0.1  # for two hosts that write at once to see who wrote last


@dataclass(frozen=True)
class Holder:
    """Who holds a lease."""

    host: Host
    process: int
    token: str
    beat: int = 0

    @property
    def lives_here(self) -> bool:
        """Whether a process of its id runs beside this one."""
        with suppress(ProcessLookupError):
            os.kill(self.process, 0)
            return True
        return False

    def __str__(self) -> str:
        place = "" if self.host.kernel == this_host().kernel else f" of {self.host.name}"
        return f"process {self.process}{place}"


def holder_of(path: Path) -> Holder | None:
    """Return who holds or held a lease; None where that is not told."""
    try:
        told = json.loads(path.read_text())
        return Holder(**told | {"host": Host(**told["host"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_silent(path: Path, then: Holder) -> bool:
    """Watch another host's lease, and tell whether it does not beat for `SILENT_S`."""
    by = time.monotonic() + SILENT_S
    while time.monotonic() < by:
        time.sleep(BEAT_S / 4)
        if holder_of(path) != then:
            return False
    return True


def take(path: Path) -> tuple[int, Holder] | Holder | None:
    """Take a lease, or return who holds it, None where that is not told.

    Parameters
    ----------
    path
        The lease's file; made where it is not there.

    Returns
    -------
    The open file, whose lock is held as long as it is open, and this process as its holder.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        is_locked = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return holder_of(path)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            is_locked = False
        found = holder_of(path)
        if found and _holds(path, found, is_locked):
            os.close(file)
            return found
        mine = Holder(this_host(), os.getpid(), uuid.uuid4().hex)
        _write(file, mine)
        time.sleep(SETTLE_S)
        if (last := holder_of(path)) != mine:
            os.close(file)
            return last
    except BaseException:
        with suppress(OSError):
            os.close(file)
        raise
    return file, mine


def _holds(path: Path, found: Holder, is_locked: bool) -> bool:
    """Tell whether who is named in a lease's file still lives, which the lock may have told."""
    if is_locked and found.host.kernel == this_host().kernel:
        return False
    if found.host.processes == this_host().processes:
        return found.lives_here
    return not is_silent(path, found)


@contextmanager
def beating(file: int, mine: Holder) -> Iterator[None]:
    """Beat in a lease's file while the block runs; then give the lease up."""
    numbers = count(1)

    def beat() -> None:
        with suppress(OSError):  # a full disk must not end who holds it
            _write(file, replace(mine, beat=next(numbers)))

    try:
        with repeated(beat, BEAT_S):
            yield
    finally:
        with suppress(OSError):
            os.ftruncate(file, 0)
        os.close(file)


def _write(file: int, holder: Holder) -> None:
    text = json.dumps(asdict(holder)).encode().ljust(LENGTH)  # one write, never seen in part
    os.pwrite(file, text, 0)
    os.fsync(file)
