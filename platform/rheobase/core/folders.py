"""Folders of artifacts that appear whole or not at all, on this machine or in an object store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial as partial_of
from pathlib import Path
from typing import Any

from pyarrow.fs import FileType, LocalFileSystem, copy_files

from rheobase.core.artifacts import MANIFEST, made_folder, read_json, sync, write_json
from rheobase.core.digest import file_digest
from rheobase.core.errors import ArtifactError
from rheobase.core.storage import Location, child, filesystem_of, is_url
from rheobase.core.store import insisting, stored
from rheobase.core.temporary import temporary_folder


@contextmanager
def whole_folder(folder: Location, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a temporary folder; on success add `manifest.json` and publish it as `folder`.

    `files` is added to the manifest: size and digest of every file, by its path in the folder.
    What is added to the folder later is not in it, and nobody checks that (`check_published`).

    On this machine the folder is synced and renamed into place. To a URL its files are copied, the
    manifest last: a folder without one is not there (`is_published`). Where the artifacts' home is
    a URL, they are copied there first: what is on one node is there for all. If another process
    published the same folder first, its copy is kept: a folder is named by the digest of
    what made it, so both hold the same. What killed processes left half written beside `folder`
    is removed (`temporary_folder`).

    Raises
    ------
    ArtifactError
        Somebody else removed or replaced the temporary folder meanwhile; nothing is published.
    """
    beside = None if isinstance(folder, str) else folder.parent
    if beside:
        made_folder(beside)
    prefix = f".{folder.name}." if isinstance(folder, Path) else "rheobase-"
    with temporary_folder(beside, prefix) as temporary:
        partial = temporary / "partial"
        partial.mkdir()
        made = partial.stat()
        yield partial
        _refuse_another(partial, made, folder)
        write_json(partial / MANIFEST, {**manifest, "files": _listed(partial)})
        if isinstance(folder, str):
            _upload(partial, folder)
        else:
            if url := stored(folder):
                insisting(url, partial_of(_copy_files, partial, url))
            _publish(partial, folder)


def _refuse_another(partial: Path, made: os.stat_result, folder: Location) -> None:
    """Refuse to publish what another process has swept away: an empty folder would be believed."""
    with suppress(FileNotFoundError):
        if os.path.samestat(made, partial.stat()):
            return
    raise ArtifactError(
        f"{folder}: only the process that makes an artifact may touch it before it is whole, but "
        f"{partial} was removed; give the same command again"
    )


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "digest": file_digest(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _publish(partial: Path, folder: Path) -> None:
    partial.chmod(0o755)
    for path in (*partial.rglob("*"), partial):
        sync(path)
    try:
        partial.rename(folder)
    except OSError:
        if not (folder / MANIFEST).exists():
            raise
    sync(folder.parent)


def _upload(folder: Path, url: str) -> None:
    try:
        _copy_files(folder, url)
    except OSError as error:
        raise ArtifactError(
            f"{url}: an artifact must be written there, but: {str(error).splitlines()[0]}; check "
            "the address and your credentials"
        ) from None


def _copy_files(folder: Path, url: str) -> None:
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    system, target = filesystem_of(url)
    for name in sorted(names, key=lambda name: name == Path(MANIFEST)):
        there = f"{target}/{name.as_posix()}"
        system.create_dir(there.rpartition("/")[0], recursive=True)
        copy_files(
            str(folder / name),
            there,
            source_filesystem=LocalFileSystem(),
            destination_filesystem=system,
        )


def is_published(folder: Location) -> bool:
    """Tell whether a folder artifact is there and whole.

    Where the artifacts' home is a URL, one that lies there is copied to this machine.

    Raises
    ------
    ArtifactError
        The place cannot be read, or what was copied is not what was published.
    """
    if not is_url(folder):
        here = Path(folder)
        return (here / MANIFEST).exists() or _copied_from_store(here)
    try:
        return _has_manifest(folder)
    except OSError as error:
        raise ArtifactError(
            f"{folder}: artifacts must be readable there, but: {str(error).splitlines()[0]}; check "
            "the address and your credentials"
        ) from None


def _has_manifest(folder: Location) -> bool:
    system, path = filesystem_of(child(folder, MANIFEST))
    return bool(system.get_file_info(path).type == FileType.File)


def _copied_from_store(folder: Path) -> bool:
    url = stored(folder)
    if url is None or not insisting(url, partial_of(_has_manifest, url)):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder.parent, f".{folder.name}.") as temporary:
        partial = temporary / "partial"
        partial.mkdir()
        system, path = filesystem_of(url)
        insisting(
            url,
            partial_of(
                copy_files,
                path,
                str(partial),
                source_filesystem=system,
                destination_filesystem=LocalFileSystem(),
            ),
        )
        for name, told in read_json(partial / MANIFEST).get("files", {}).items():
            if not (partial / name).exists() or file_digest(partial / name) != told["digest"]:
                raise ArtifactError(
                    f"{url}/{name}: it must be the file that was published (digest "
                    f"{told['digest']}), but is not; delete the folder there and make it again"
                )
        _publish(partial, folder)
    return True
