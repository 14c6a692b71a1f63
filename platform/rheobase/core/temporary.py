"""Temporary folders that outlive a killed process only until the next is made beside them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from rheobase.core.host import this_host
from rheobase.core.lease import NO_LOCKS, Holder, holder_of

LOCK = ".rheobase-temporary"
"""File in each such folder that names its maker, locked by it for as long as that lives."""
WEEK_S = 7 * 24 * 3600.0


@contextmanager
def temporary_folder(
    parent: Path | None = None,
    prefix: str = "rheobase-",
    on_left: Callable[[Path], None] | None = None,
) -> Iterator[Path]:
    """Yield a new folder and remove it; first remove those that killed processes left beside it.

    Parameters
    ----------
    parent
        Where it is made; by default where the system keeps temporary files.
    prefix
        How its name begins.
    on_left
        Called with each folder that was left behind, before it is removed.

    Notes
    -----
    Left behind is a folder of this user that holds `LOCK`, in which its maker wrote down its host,
    if it was this host and nobody holds the lock: the system frees it when its holder dies,
    however it dies. Locks may be local to each node of a cluster: what another host made is left
    alone until it has lain untouched for a week. No name is ever judged.

    Examples
    --------
    >>> with temporary_folder() as folder:
    ...     (folder / LOCK).exists()
    True
    >>> folder.exists()
    False
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    _sweep(parent, on_left)
    folder, lock = _made(parent, prefix)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def _made(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        # One who sweeps may come between any two of these calls; then another is made.
        with suppress(FileNotFoundError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            os.write(lock, json.dumps(asdict(Holder(this_host(), os.getpid(), ""))).encode())
            if _is_taken(lock, folder, is_mine=True):
                return folder, lock


def _sweep(parent: Path, on_left: Callable[[Path], None] | None) -> None:
    for path in parent.glob(f"*/{LOCK}"):
        folder = path.parent
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # removed meanwhile by its maker or by another who sweeps
            continue
        if _is_another_host_s(path, lock, folder):
            os.close(lock)
            continue
        if _is_taken(lock, folder):
            if on_left:
                on_left(folder)
            _remove(folder)
            os.close(lock)


def _is_another_host_s(path: Path, lock: int, folder: Path) -> bool:
    """Tell of what must not be judged by a lock: it may be held where that cannot be seen."""
    maker = holder_of(path)
    if maker is None or maker.host.kernel == this_host().kernel:
        return False
    # Both times are the file system's own.
    os.utime(lock)
    now_s = os.fstat(lock).st_mtime
    return now_s - folder.stat().st_mtime < WEEK_S


def _remove(folder: Path) -> None:
    """Remove a folder, its lock file last: a kill on the way leaves what the next one removes."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _is_taken(lock: int, folder: Path, *, is_mine: bool = False) -> bool:
    """Lock an open lock file and return True; if it is another's or gone, close it."""
    with suppress(BlockingIOError, FileNotFoundError):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            if not (is_mine or _is_dead(holder_of(folder / LOCK))):
                raise BlockingIOError from error
        if os.path.samestat(os.fstat(lock), (folder / LOCK).stat()):
            return True
    os.close(lock)
    return False


def _is_dead(maker: Holder | None) -> bool:
    """Tell whether a maker ran beside this process and does no longer."""
    return (
        maker is not None and maker.host.processes == this_host().processes and not maker.lives_here
    )
