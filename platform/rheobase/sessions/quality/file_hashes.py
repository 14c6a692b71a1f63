"""Hashes that files must have: a list of one's own, or the Allen release's manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rheobase.core.errors import SessionError
from rheobase.sessions.records.finding import Finding

LEAST_ALLEN_VERSION = (0, 5, 0)
"""Earlier Visual Behavior Neuropixels releases hold wrong spike amplitudes, and so wrong
amplitude cutoffs (AllenSDK's release notes)."""


def require_allen_version(version: str, where: str) -> None:
    """Refuse a release of Visual Behavior Neuropixels whose amplitudes are wrong.

    Raises
    ------
    SessionError
        The version is below 0.5.0, or no version.
    """
    try:
        numbers = tuple(int(part) for part in version.split("."))
    except ValueError:
        numbers = ()
    if numbers < LEAST_ALLEN_VERSION:
        least = ".".join(map(str, LEAST_ALLEN_VERSION))
        raise SessionError(
            f"{where}: the release's manifest must be version {least} or later, whose amplitudes "
            f"are right, but is '{version}'; download a later one"
        )


def read_hashes(path: Path) -> dict[str, str]:
    """Return the blake2b hex digest of each file that a manifest lists, by the file's name.

    Three forms are read: JSON ``{"name.nwb": "hex", …}``; a manifest of the Allen release, whose
    ``data_files`` and ``metadata_files`` name a ``url`` and a ``file_hash`` each; and the lines
    that ``b2sum *.nwb`` prints.

    Raises
    ------
    SessionError
        The manifest is missing, in none of these forms, names a file twice, or is of a release
        below 0.5.0.
    """
    if not path.is_file():
        raise SessionError(f"{path}: a manifest must be there, but there is none; check the path")
    pairs: list[tuple[str, str]]
    try:
        text = path.read_text()
        if text.lstrip().startswith("{"):
            pairs = _of_json(json.loads(text), path)
        else:
            pairs = [(name.lstrip("*"), listed) for listed, name in map(_halves, _lines(text))]
        for _, listed in pairs:
            if not 0 < len(bytes.fromhex(listed)) <= hashlib.blake2b.MAX_DIGEST_SIZE:
                raise ValueError(f"'{listed}' is no blake2b digest")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SessionError(
            f"{path}: a manifest must be JSON of names and blake2b digests, the Allen release's "
            f"manifest, or what b2sum prints, but it is not ({error}); make one with b2sum"
        ) from None
    hashes: dict[str, str] = {}
    for name, listed in pairs:
        base = name.rsplit("/", 1)[-1]
        if hashes.setdefault(base, listed.lower()) != listed.lower():
            raise SessionError(
                f"{path}: a file name must be listed with one digest, but '{base}' has two; make "
                "a manifest for each folder"
            )
    return hashes


def check_file(path: Path, hashes: dict[str, str]) -> list[Finding]:
    """Compare a file's bytes with the digest that a manifest lists for its name."""
    listed = hashes.get(path.name)
    if listed is None:
        detail = f"'{path.name}' is none of the {len(hashes)} files listed"
        return [Finding("file-not-in-manifest", "warning", 1, detail)]
    with path.open("rb") as file:
        size = len(listed) // 2
        own = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=size)).hexdigest()
    if own == listed:
        return []
    detail = f"its bytes say {own[:16]}…, the manifest {listed[:16]}…: another or a damaged file"
    return [Finding("file-hash-differs", "fatal", 1, detail)]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _halves(line: str) -> tuple[str, str]:
    listed, name = line.split(maxsplit=1)
    return listed, name.strip()


def _of_json(value: Any, path: Path) -> list[tuple[str, str]]:
    if "data_files" not in value:
        return [(str(name), str(listed)) for name, listed in value.items()]
    require_allen_version(str(value["manifest_version"]), str(path))
    listed = [*value["data_files"].values(), *value.get("metadata_files", {}).values()]
    return [(str(one["url"]), str(one["file_hash"])) for one in listed]
