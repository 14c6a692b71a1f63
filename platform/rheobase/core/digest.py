"""Digests that name an artifact by what made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DIGEST_BYTES = 8  # 64 bits: a million artifacts collide with a chance of 3e-8


def digest(value: Any) -> str:
    """Return the hex digest of a JSON-serialisable value, independent of key order.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def file_digest(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    with path.open("rb") as file:
        state = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES))
    return state.hexdigest()


def code_digest(*rooms: str) -> str:
    """Return the digest of the source of the named rooms of this package.

    A stored result is reused only while the code that made it is unchanged.
    """
    package = Path(__file__).resolve().parent.parent
    files: Mapping[str, str] = {
        path.relative_to(package).as_posix(): file_digest(path)
        for room in rooms
        for path in sorted((package / room).rglob("*.py"))
    }
    return digest(files)
