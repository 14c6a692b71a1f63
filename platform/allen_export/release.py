"""The release that a cache folder holds, read without importing the AllenSDK."""

from __future__ import annotations

import csv
import difflib
import fcntl
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from allen_export.errors import ExportError

PROJECT = "visual-behavior-neuropixels"
MANIFESTS = re.compile(rf"{PROJECT}_.*manifest_v(\d+)\.(\d+)\.(\d+)\.json")
LAST_USED = "_manifest_last_used.txt"  # where the SDK keeps the name of the manifest in use
SESSIONS = "ecephys_sessions"
FIRST_SOUND = (0, 5, 0)  # amplitudes of earlier releases are wrong, and metrics made of them
CHUNK_BYTES = 1 << 22


@contextmanager
def locked(folder: Path, work: str) -> Iterator[None]:
    """Hold one kind of work on a cache for this process alone.

    The SDK rewrites files of its own in place, and takes a file that exists for whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".allen_export.{work}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def blake2b(path: Path, *digest_bytes: int) -> list[str]:
    """Return hex digests of a file's bytes, one a length, in a single reading."""
    states = [hashlib.blake2b(digest_size=size) for size in digest_bytes]
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            for state in states:
                state.update(chunk)
    return [state.hexdigest() for state in states]


@dataclass(frozen=True)
class Release:
    """The manifest in use in the cache `folder`: its file's `name` and its `table`."""

    folder: Path
    name: str
    table: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Release | None:
        """Return the release the SDK would take: the last one used, else the latest.

        Raises
        ------
        ExportError
            Its manifest is damaged, or older than 0.5.0.
        """
        found = {path.name for path in folder.glob("*.json") if MANIFESTS.fullmatch(path.name)}
        if not found:
            return None
        with locked(folder, "open"):
            used = folder / LAST_USED
            name = used.read_text() if used.is_file() else ""
        if name not in found:
            name = max(found, key=_version)
        try:
            table = json.loads((folder / name).read_text())
            _ = table["metadata_files"][SESSIONS], table["data_files"].values()
            _ = table["manifest_version"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ExportError(
                f"{folder / name}: a whole manifest must be there, but this one is damaged; "
                "delete it, so that it is downloaded again"
            ) from None
        refuse_old(str(table["manifest_version"]), folder / name)
        return cls(folder, name, table)

    def path_of(self, entry: Mapping[str, str]) -> Path:
        """Return where the SDK keeps a file of the manifest."""
        below = urlparse(entry["url"]).path.lstrip("/").partition("/")[2]
        return self.folder / f"{PROJECT}-{self.table['manifest_version']}" / below

    def damaged_tables(self, *names: str) -> list[Path]:
        """Return the named tables (all by default) that are missing or differ from their hash."""
        entries = self.table["metadata_files"]
        damaged = []
        for name in names or entries:
            path = self.path_of(entries[name])
            if not path.is_file() or blake2b(path, 64) != [entries[name]["file_hash"]]:
                damaged.append(path)
        return damaged

    def file_id_of(self, session_id: int) -> str:
        """Return the key of a session's NWB file in the manifest's ``data_files``.

        Raises
        ------
        ExportError
            The release has no such session.
        """
        table = self.path_of(self.table["metadata_files"][SESSIONS])
        with table.open(newline="") as file:
            files = {row["ecephys_session_id"]: row["file_id"] for row in csv.DictReader(file)}
        file_id = files.get(str(session_id), "").partition(".")[0]
        if file_id not in self.table["data_files"]:
            near = difflib.get_close_matches(str(session_id), files, n=1)
            raise ExportError(
                f"{session_id}: one of the {len(files)} sessions of {self.name} must be named, but "
                f"this is none.{f' Did you mean {near[0]}?' if near else ''}"
            )
        return file_id

    def hash_of(self, session_id: int) -> str:
        """Return what a session's NWB file must hash to (blake2b, 64 bytes)."""
        file_hash: str = self.table["data_files"][self.file_id_of(session_id)]["file_hash"]
        return file_hash


def _version(name: str) -> tuple[int, ...]:
    match = MANIFESTS.fullmatch(name)
    return tuple(map(int, match.groups())) if match else (0, 0, 0)


def refuse_old(version: str, manifest: Path) -> None:
    """Refuse a release whose amplitudes are wrong.

    Raises
    ------
    ExportError
        The manifest's version is below 0.5.0.
    """
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < FIRST_SOUND:
        raise ExportError(
            f"{manifest}: the manifest must be 0.5.0 or later, for amplitudes of earlier releases "
            f"are wrong, but it is {version}; use another folder, or where a later manifest lies "
            f"beside it delete {LAST_USED}"
        )
