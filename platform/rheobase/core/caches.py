"""Where libraries keep what they make where neither the installation nor a home can be written."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def cache_folder(*usual: Path) -> Path | None:
    """Return a folder of this user's own for compiled code, None where a usual one will do.

    In a container, or as another user than who installed it, none of them may be writable; numba
    then refuses to compile at all.

    Parameters
    ----------
    usual
        Where it would be kept.
    """
    if any(_can_write(folder) for folder in usual):
        return None
    folder = Path(tempfile.gettempdir()) / f"rheobase-cache-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
        # What lies in it is run: it must be nobody else's.
        if state.st_uid == os.getuid() and not state.st_mode & 0o022 and not folder.is_symlink():
            return folder
    return Path(tempfile.mkdtemp(prefix="rheobase-cache-"))


def give_matplotlib_a_folder() -> None:
    """Name a folder for matplotlib's list of fonts where the usual one cannot be written.

    It would make one anew in every process, and say so on stderr.
    """
    settings = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    if "MPLCONFIGDIR" in os.environ:
        return
    usual = [Path(settings) / "matplotlib"] if os.path.isabs(settings) else []
    if folder := cache_folder(*usual):
        os.environ["MPLCONFIGDIR"] = str(folder)


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
