"""Places where artifacts lie: folders of this machine, or object stores named by URL."""

from __future__ import annotations

import contextlib
from pathlib import Path

import fsspec
from pyarrow import ArrowInvalid
from pyarrow.fs import FileSystem, FSSpecHandler, LocalFileSystem, PyFileSystem

from rheobase.core.errors import ArtifactError
from rheobase.core.paths import refuse_nowhere

Location = Path | str
"""A path of this machine, or a URL: ``s3://bucket/folder``, ``gs://…``, any of fsspec's."""


def is_url(location: Location) -> bool:
    """Tell whether a location is a URL."""
    return isinstance(location, str) and "://" in location


def located(text: str) -> Location:
    """Return what a user wrote as a path, or as the URL that it is.

    Raises
    ------
    ArtifactError
        It is empty, or a URL that names no place.
    """
    refuse_nowhere(text)
    return text.rstrip("/") if is_url(text) else Path(text)


def child(folder: Location, name: str) -> Location:
    """Return the location of `name` in a folder."""
    return f"{folder}/{name}" if isinstance(folder, str) else folder / name


def parted(location: Location) -> tuple[Location, str]:
    """Return the folder of a location, and its name there.

    Examples
    --------
    >>> parted("s3://bucket/shards/shard.arrow")
    ('s3://bucket/shards', 'shard.arrow')
    """
    if isinstance(location, Path):
        return location.parent, location.name
    folder, _, name = location.rpartition("/")
    return folder, name


def filesystem_of(location: Location) -> tuple[FileSystem, str]:
    """Return the file system of a location, and its path there.

    Arrow's own file systems serve local files, S3 and Google Cloud Storage, with the
    credentials that their environment variables and files name; fsspec serves the rest.

    Raises
    ------
    ArtifactError
        Nothing installed serves such a URL.
    """
    if not is_url(location):
        return LocalFileSystem(), str(Path(location).absolute())
    with contextlib.suppress(ArrowInvalid):
        system, path = FileSystem.from_uri(str(location))
        return system, str(path)
    try:
        other, path = fsspec.core.url_to_fs(str(location))
    except (ImportError, ValueError) as error:
        raise ArtifactError(
            f"{location}: a folder must be a path, s3://, gs:// or another URL that fsspec serves, "
            f"but: {str(error).splitlines()[0]}"
        ) from None
    return PyFileSystem(FSSpecHandler(other)), path
