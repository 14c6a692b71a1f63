"""One process at a time where two would spoil each other's files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rheobase.core.artifacts import made_folder
from rheobase.core.errors import ArtifactError


@contextmanager
def sole_use(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file at `path`; the system frees it when its holder dies, however it dies.

    Parameters
    ----------
    path
        The lock file; it stays behind, empty of meaning.
    wait
        Wait for another holder to end instead of raising.

    Raises
    ------
    ArtifactError
        Another process holds it.
    """
    made_folder(path.parent)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise ArtifactError(
                f"{path.parent}: one process at a time may use it, but process "
                f"{file.read().strip() or 'unknown'} does; wait for it or use another folder"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
