"""The object store behind `home`, through which the nodes of a cluster share artifacts.

Where ``RHEOBASE_HOME`` is a URL, each node works in a folder of its own (`home`), and every file
below it that others need is copied to the same place below the URL. Without a URL nothing here does
anything: all nodes see one folder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem, copy_files

from rheobase.core.answers import refuse_silent_store, refused
from rheobase.core.artifacts import NO_ROOM, READ_ONLY, home, home_address, whole_file
from rheobase.core.storage import filesystem_of, is_url

PATIENCE_S = 300.0  # a store that is down for a minute costs a study that minute
PAUSE_S = 1.0
HIDDEN = "."  # locks, and what is not whole yet
Result = TypeVar("Result")
log = logging.getLogger("rheobase")


def stored(path: Path) -> str | None:
    """Return the URL under which the store keeps a path; None where it keeps it nowhere.

    Examples
    --------
    >>> stored(Path("/etc/passwd")) is None
    True
    """
    address = home_address()
    if not is_url(address):
        return None
    with suppress(ValueError):
        return f"{address}/{path.absolute().relative_to(home()).as_posix()}"
    return None


def push(path: Path, *, as_if: Path | None = None) -> None:
    """Copy a file to the store, over what is there; `as_if` it were another file.

    Raises
    ------
    ArtifactError
        The store refuses it, or has not answered for `PATIENCE_S`.
    """
    if url := stored(as_if or path):
        insisting(url, lambda: _put(path, url))


def pull(path: Path, *, anew: bool = False, to: Path | None = None) -> bool:
    """Copy a file from the store, if it is not here or wanted `anew`; tell whether it is here.

    With `to` it is copied there instead.

    Raises
    ------
    ArtifactError
        As `push`.
    """
    url, target = stored(path), to or path
    if url and (anew or not target.exists()):
        insisting(url, lambda: _get(url, target))
    return target.exists()


def pull_folder(folder: Path, *, anew: bool = False, leave_out: tuple[str, ...] = ()) -> None:
    """Copy a folder's files from the store, those that are not here, or all of them `anew`.

    Files below names in it that are to be left out are not looked at.
    """
    url = stored(folder)
    if not url:
        return
    for name in insisting(url, lambda: _names(url)):
        if name.split("/")[0] not in leave_out:
            pull(folder / name, anew=anew)


class Mirror:
    """Copies what changes in a folder to the store, and removes there what is gone here.

    Parameters
    ----------
    folder
        A folder below `home`; elsewhere nothing is copied.
    leave_out
        Names in it that are not looked at.
    """

    def __init__(self, folder: Path, leave_out: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._leave_out = leave_out
        self._copied: dict[str, tuple[int, int]] = {}

    def update(self) -> None:
        """Copy what has changed since the last call."""
        if not stored(self._folder):
            return
        now = dict(self._states())
        for name, state in now.items():
            if self._copied.get(name) != state:
                with suppress(FileNotFoundError):  # removed meanwhile
                    push(self._folder / name)
        for name in set(self._copied) - set(now):
            remove(self._folder / name)
        self._copied = now

    def _states(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder)
            hidden = any(part.startswith(HIDDEN) for part in name.parts)
            with suppress(FileNotFoundError):
                if path.is_file() and not hidden and name.parts[0] not in self._leave_out:
                    state = path.stat()
                    yield name.as_posix(), (state.st_mtime_ns, state.st_size)


def remove(path: Path) -> None:
    """Remove a file from the store; harmless where it is not there."""
    if url := stored(path):
        insisting(url, lambda: _delete(url))


def refuse_unwritable_store() -> None:
    """Write a file to the store and remove it.

    Raises
    ------
    ArtifactError
        The store cannot be written: no such bucket, no credentials, no rights.
    """
    if is_url(address := home_address()):
        refuse_silent_store(address, to_write=True)


def insisting(url: str, call: Callable[[], Result]) -> Result:
    """Call until it does not fail for a store that is down, once that has answered a command.

    Raises
    ------
    ArtifactError
        It refuses, has not answered for `PATIENCE_S`, or does not answer at all.
    """
    refuse_silent_store(home_address())
    by = time.monotonic() + PATIENCE_S
    said = False
    while True:
        try:
            return call()
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (*NO_ROOM, *READ_ONLY) or time.monotonic() > by:
                raise refused(url, error) from error
            if not said:
                log.warning(
                    "%s does not answer (%s); trying again for %.0f s",
                    url,
                    str(error).splitlines()[0],
                    PATIENCE_S,
                )
                said = True
        time.sleep(PAUSE_S)


def _put(path: Path, url: str) -> None:
    system, target = _there(url)
    system.create_dir(target.rpartition("/")[0], recursive=True)
    if not isinstance(system, LocalFileSystem):  # an object appears whole
        _copy(LocalFileSystem(), str(path), system, target)
        return
    with whole_file(Path(target)) as partial:
        _copy(LocalFileSystem(), str(path), system, str(partial))


def _get(url: str, path: Path) -> None:
    system, source = _there(url)
    if system.get_file_info(source).type != FileType.File:
        return
    with whole_file(path) as partial:
        _copy(system, source, LocalFileSystem(), str(partial))


def _copy(source: FileSystem, name: str, target: FileSystem, name_there: str) -> None:
    copy_files(name, name_there, source_filesystem=source, destination_filesystem=target)


def _delete(url: str) -> None:
    system, path = _there(url)
    if system.get_file_info(path).type == FileType.File:
        system.delete_file(path)


def _names(url: str) -> list[str]:
    system, path = _there(url)
    found = system.get_file_info(FileSelector(path, allow_not_found=True, recursive=True))
    names = [one.path[len(path) :].lstrip("/") for one in found if one.type == FileType.File]
    return [n for n in names if not any(part.startswith(HIDDEN) for part in n.split("/"))]


def _there(url: str) -> tuple[FileSystem, str]:
    system, path = filesystem_of(url)
    if isinstance(system, LocalFileSystem):
        _, root = filesystem_of(home_address())
        if not Path(root).is_dir():  # a mount that is gone would be written beneath
            raise OSError(f"{root} is not there")
    return system, str(path)
