"""A session of the project's cache, opened by the AllenSDK from this disk or from S3."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from allensdk.brain_observatory.behavior.behavior_project_cache import (
    VisualBehaviorNeuropixelsProjectCache as ProjectCache,
)
from botocore.exceptions import BotoCoreError, ClientError

from allen_export.errors import ExportError
from allen_export.release import PROJECT, Release, blake2b, locked, refuse_old

BUCKET = ProjectCache.BUCKET_NAME


def open_cache(folder: Path, source: str) -> ProjectCache:
    """Open a cache.

    Parameters
    ----------
    folder
        Where the SDK keeps manifests, tables and NWB files.
    source
        ``local`` never downloads; ``s3`` asks the bucket; ``auto`` takes what is here, and
        asks the bucket only for what is missing.

    Raises
    ------
    ExportError
        There is no release in the folder or it is too old, its tables are damaged, or the
        bucket does not answer.
    """
    release = Release.of(folder) if folder.is_dir() else None
    damaged = release.damaged_tables() if release else []
    if source == "local" or (source == "auto" and release and not damaged):
        if release is None:
            raise ExportError(
                f"{folder}: a manifest of the release must be there for a local cache, but there "
                "is none; name another folder, or download with the source s3"
            )
        if damaged:
            raise ExportError(
                f"{damaged[0]}: a table must hash to what {release.name} says, but it is missing "
                "or differs; copy it again, or download with the source s3"
            )
        with locked(folder, "open"):
            cache = ProjectCache.from_local_cache(cache_dir=folder)
    else:
        cache = _open_s3(folder)
    return cache


def _open_s3(folder: Path) -> ProjectCache:
    with locked(folder, "download"):
        release = Release.of(folder)
        for path in release.damaged_tables() if release else []:
            path.unlink(missing_ok=True)  # the SDK takes a file that exists for whole
        cache = _from_s3(folder)
    inner = cache.fetch_api.cache
    refuse_old(inner.version, folder / inner.current_manifest)
    return cache


def _from_s3(folder: Path) -> ProjectCache:
    try:
        with locked(folder, "open"):
            return ProjectCache.from_s3_cache(cache_dir=folder)
    except (BotoCoreError, ClientError) as error:
        raise ExportError(
            f"the bucket {BUCKET} must answer, but: {error}; try again with a network, or use "
            "what is on this disk with the source local"
        ) from error


def nwb_of(cache: ProjectCache, folder: Path, session_id: int, source: str) -> tuple[Path, str]:
    """Return a session's NWB file, downloaded where it must be, and its digest of 8 bytes.

    Raises
    ------
    ExportError
        There is no such session, its file is missing and may not be downloaded, or it does not
        hash to what the manifest says.
    """
    release = release_of(cache, folder)
    file_id, expected = release.file_id_of(session_id), release.hash_of(session_id)
    path = release.path_of(release.table["data_files"][file_id])
    if source != "local":
        _download(folder, path, file_id, expected, check=source == "s3")
    elif not path.is_file():
        raise ExportError(
            f"{path}: the NWB file must be there, but is not; copy it, or download it with the "
            "source s3"
        )
    found, short = blake2b(path, 64, 8)
    if found != expected:
        raise ExportError(
            f"{path}: the file must hash (blake2b) to {expected[:16]}…, as {release.name} says, "
            f"but hashes to {found[:16]}…: it is damaged or of another release; copy it again, or "
            "download it with the source s3"
        )
    return path, short


def release_of(cache: ProjectCache, folder: Path) -> Release:
    """Return the release that an open cache uses.

    Raises
    ------
    ExportError
        The folder holds manifests of another project too, and the SDK took one of those.
    """
    release, used = Release.of(folder), cache.fetch_api.cache.current_manifest
    if release is None or release.name != used:
        raise ExportError(
            f"{folder}: the manifest in use must be one of {PROJECT}, but the SDK took {used}; "
            "give this project a folder of its own"
        )
    return release


def _download(folder: Path, path: Path, file_id: str, expected: str, check: bool) -> None:
    """Download a file that is missing, was not downloaded whole or, to `check`, differs."""
    unfinished = path.with_name(f".{path.name}.unfinished")

    def is_here() -> bool:
        whole = path.is_file() and not unfinished.exists()
        return whole and (not check or blake2b(path, 64) == [expected])

    if is_here():
        return
    with locked(folder, "download"):
        if is_here():
            return
        bucket = _from_s3(folder).fetch_api.cache  # before anything is taken away
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
        path.unlink(missing_ok=True)
        bucket.download_data(file_id)
        unfinished.unlink()


def sessions_of(cache: ProjectCache) -> list[dict[str, Any]]:
    """Return the rows of the release's table of sessions, in order of their id.

    A row has the table's own columns and ``blake2b``, its NWB file's hash.
    """
    inner = cache.fetch_api.cache
    table = cache.get_ecephys_session_table(filter_abnormalities=False).sort_index()
    clean = set(cache.get_ecephys_session_table(filter_abnormalities=True).index)
    rows = []
    for row in table.reset_index().to_dict(orient="records"):
        values = {name: _plain(value) for name, value in row.items()}
        file = inner.get_file_attributes(str(int(row[inner.file_id_column])))
        rows.append(
            {
                **values,
                "abnormal": row["ecephys_session_id"] not in clean,
                "blake2b": file.file_hash,
            }
        )
    return rows


def _plain(value: Any) -> Any:
    """Return a cell as JSON holds it; a missing one as None."""
    if hasattr(value, "item"):
        value = value.item()
    missing = (
        value is None or str(value) == "<NA>" or (isinstance(value, float) and math.isnan(value))
    )
    return None if missing else value
