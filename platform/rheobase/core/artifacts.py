"""Files that appear whole or not at all, and the folder in which artifacts lie."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rheobase.core.errors import ArtifactError
from rheobase.core.paths import expanded, refuse_nowhere

MANIFEST = "manifest.json"
PARTIALS = ".*.*"
"""Names of the files that `whole_file` has not finished, or never will: its process was killed."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_FOLDER = (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP)
"""What the system says of a path that can be no folder."""
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
"""What the system says of a folder in which this user may not write."""


@contextmanager
def room_on_disk(then: str) -> Iterator[None]:
    """Tell in one line of a disk, or of a share of one, that is full; `then` says what to do next.

    Raises
    ------
    ArtifactError
        In place of an OSError of that kind; any other passes.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise ArtifactError(
            f"the disk must have room{' for ' + str(error.filename) if error.filename else ''}, "
            f"but: {error.strerror}; make some, then {then}"
        ) from error


def home() -> Path:
    """Return the folder of all artifacts: ``$RHEOBASE_HOME``, or ``runs`` here.

    Where that is a URL it is the folder of this machine in which copies of what lies there are
    (`core.store`): ``$RHEOBASE_CACHE``, or one below ``~/.cache/rheobase``.
    """
    address = home_address()
    if "://" not in address:
        return Path(address)
    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    return Path(
        os.environ.get("RHEOBASE_CACHE") or Path.home() / ".cache" / "rheobase" / name
    ).absolute()


def home_address() -> str:
    """Return where all artifacts lie: a URL, or the absolute path of a folder."""
    address = os.environ.get("RHEOBASE_HOME", "").strip() or "runs"
    if "://" in address:
        refuse_nowhere(address)
        return address.rstrip("/")
    return str(Path(expanded(address)).absolute())


def made_folder(folder: Path) -> Path:
    """Return a folder, made where it is not there.

    Raises
    ------
    ArtifactError
        A file is in its way, or no folder can have such a name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in NO_FOLDER:
            raise
        raise ArtifactError(
            f"{folder}: a folder must be there or be made, but: {error.strerror}; name another"
        ) from None
    return folder


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_as_file(path: Path) -> None:
    """Refuse a path at which no file can be written; its folder is made where it is not there.

    Raises
    ------
    ArtifactError
        It is a folder, or its folder cannot be made.
    """
    made_folder(path.parent)
    if path.is_dir():
        raise ArtifactError(
            f"{path}: a file must be written there, but it is a folder; name a file"
        )


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it into place."""
    refuse_as_file(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write JSON, whole or not at all; NaN is refused, a missing number is ``None``.

    Without `indent` it is one line, written several times as fast.
    """
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=indent, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON, or say which stored file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; run the study that writes it first") from None
    except NotADirectoryError:
        raise ArtifactError(
            f"{path}: it must lie in a folder, but a file is named as one; name the folder"
        ) from None
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
        raise ArtifactError(f"{path}: not valid JSON ({error}); delete it and run again") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest in an artifact's folder.

    Raises
    ------
    ArtifactError
        It is missing or damaged.
    """
    found: dict[str, Any] = read_json(folder / MANIFEST)
    files = found.get("files", {}) if isinstance(found, dict) else None
    if not isinstance(files, dict) or not all(
        isinstance(one, dict) and {"bytes", "digest"} <= one.keys() for one in files.values()
    ):
        raise ArtifactError(
            f"{folder / MANIFEST}: a manifest must be a table with the size and the digest of "
            "each file, but is not; delete the folder and make it again, or copy it again"
        )
    return found
