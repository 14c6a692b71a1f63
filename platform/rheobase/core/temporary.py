"""Temporary folders that outlive a killed process only until the next is made beside them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".rheobase-temporary"
"""File in each such folder, locked by its maker for as long as that lives."""


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
    Left behind is a folder of this user that holds `LOCK` and whose lock nobody holds: the system
    frees a lock when its holder dies, however it dies. No name is ever judged.

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
            if _is_taken(lock, folder):
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
        if _is_taken(lock, folder):
            if on_left:
                on_left(folder)
            _remove(folder)
            os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a folder, its lock file last: a kill on the way leaves what the next one removes."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _is_taken(lock: int, folder: Path) -> bool:
    """Lock an open lock file and return True; if it is another's or gone, close it."""
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), (folder / LOCK).stat()):
            return True
    os.close(lock)
    return False
