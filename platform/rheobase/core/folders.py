"""Folders of artifacts that appear whole or not at all, on this machine or in an object store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow.fs import FileType, LocalFileSystem, copy_files

from rheobase.core.artifacts import MANIFEST, made_folder, sync, write_json
from rheobase.core.digest import file_digest
from rheobase.core.errors import ArtifactError
from rheobase.core.storage import Location, child, filesystem_of, is_url
from rheobase.core.temporary import temporary_folder


@contextmanager
def whole_folder(folder: Location, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a temporary folder; on success add `manifest.json` and publish it as `folder`.

    `files` is added to the manifest: size and digest of every file, by its path in the folder.
    What is added to the folder later is not in it, and nobody checks that (`check_published`).

    On this machine the folder is synced and renamed into place. To a URL its files are copied, the
    manifest last: a folder without one is not there (`is_published`). If another process
    published the same folder first, its copy is kept: a folder is named by the digest of
    what made it, so both hold the same. What killed processes left half written beside `folder`
    is removed (`temporary_folder`).
    """
    beside = None if isinstance(folder, str) else folder.parent
    if beside:
        made_folder(beside)
    prefix = f".{folder.name}." if isinstance(folder, Path) else "rheobase-"
    with temporary_folder(beside, prefix) as temporary:
        partial = temporary / "partial"
        partial.mkdir()
        yield partial
        write_json(partial / MANIFEST, {**manifest, "files": _listed(partial)})
        if isinstance(folder, str):
            _upload(partial, folder)
        else:
            _publish(partial, folder)


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
    names = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
    try:
        system, target = filesystem_of(url)
        system.create_dir(target, recursive=True)
        for name in [*names, MANIFEST]:
            copy_files(
                str(folder / name),
                f"{target}/{name}",
                source_filesystem=LocalFileSystem(),
                destination_filesystem=system,
            )
    except OSError as error:
        raise ArtifactError(
            f"{url}: an artifact must be written there, but: {str(error).splitlines()[0]}; check "
            "the address and your credentials"
        ) from None


def is_published(folder: Location) -> bool:
    """Tell whether a folder artifact is there and whole."""
    if not is_url(folder):
        return (Path(folder) / MANIFEST).exists()
    try:
        system, path = filesystem_of(child(folder, MANIFEST))
        return bool(system.get_file_info(path).type == FileType.File)
    except OSError as error:
        raise ArtifactError(
            f"{folder}: artifacts must be readable there, but: {str(error).splitlines()[0]}; check "
            "the address and your credentials"
        ) from None
