"""One process at a time where two would spoil each other's files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rheobase.core.artifacts import made_folder
from rheobase.core.errors import ArtifactError
from rheobase.core.lease import beating, take

AGAIN_S = 0.2  # between two tries of who waits


@contextmanager
def sole_use(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file at `path`, against processes of this host and of others that see it.

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
    while not isinstance(taken := take(path), tuple):
        if not wait:
            raise ArtifactError(
                f"{path.parent}: one process at a time may use it, but "
                f"{taken or 'another process'} does; wait for it or use another folder"
            )
        time.sleep(AGAIN_S)
    with beating(*taken):
        yield
