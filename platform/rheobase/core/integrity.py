"""Whether a file of an artifact is still the one that was published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from rheobase.core.artifacts import MANIFEST, read_manifest
from rheobase.core.digest import file_digest
from rheobase.core.errors import ArtifactError
from rheobase.core.storage import Location, filesystem_of, is_url


def check_published(folder: Location, name: str) -> None:
    """Compare a file with what the manifest beside it says of it.

    Its size is compared, and on this machine the digest of its bytes too: once in a process, as
    long as the file keeps its size and its time. What a manifest does not list, or a folder
    without one, is not checked: it was never published, was added later, or is of an earlier
    version.

    Parameters
    ----------
    folder
        Folder of an artifact.
    name
        Path of the file in it.

    Raises
    ------
    ArtifactError
        The file is missing, or another than was published.
    """
    listed = _listed(folder).get(name)
    if listed is None:
        return
    num_bytes, found = _size_and_digest(folder, name)
    if num_bytes != listed["bytes"]:
        raise ArtifactError(
            f"{folder}/{name}: it must have the {listed['bytes']} bytes that were published, but "
            f"{'is missing' if num_bytes is None else f'has {num_bytes}'}; delete the folder and "
            "make it again, or copy it again"
        )
    if found not in (None, listed["digest"]):
        raise ArtifactError(
            f"{folder}/{name}: it must be the file that was published (digest "
            f"{listed['digest']}), but was changed since ({found}); delete the folder and make it "
            "again, or copy it again"
        )


def _listed(folder: Location) -> Mapping[str, Any]:
    if not isinstance(folder, str):
        there = (folder / MANIFEST).exists()
        return dict(read_manifest(folder).get("files", {})) if there else {}
    try:
        system, path_there = filesystem_of(f"{folder}/{MANIFEST}")
        with system.open_input_stream(path_there) as stream:
            return dict(json.loads(stream.read()).get("files", {}))
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # whoever reads the artifact says what is wrong with the place


def _size_and_digest(folder: Location, name: str) -> tuple[int | None, str | None]:
    if is_url(folder):  # to hash it would be to download it once more
        system, path_there = filesystem_of(f"{folder}/{name}")
        return system.get_file_info(path_there).size, None
    path = Path(folder) / name
    try:
        state = path.stat()
    except FileNotFoundError:
        return None, None
    return state.st_size, _digest_as_of(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest_as_of(path: Path, num_bytes: int, modified_ns: int) -> str:
    return file_digest(path)
