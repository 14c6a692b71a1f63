"""Digests that name an artifact by what made it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PACKAGE = Path(__file__).resolve().parent.parent
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


def array_digest(*arrays: npt.NDArray[Any]) -> str:
    """Return the hex digest of the bytes and shapes of arrays of numbers."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for array in arrays:
        state.update(f"{array.dtype.str} {array.shape};".encode())
        state.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    return state.hexdigest()


def code_digest(*rooms: str, package: Path = PACKAGE) -> str:
    """Return the digest of the source of whole rooms of a package.

    A stored result is reused only while the code that made it is unchanged.

    Parameters
    ----------
    rooms
        Folders below `package`, as ``core`` or ``study/trial``.
    package
        Folder of the package; this one by default.

    Raises
    ------
    ValueError
        A room holds no source: a misspelt name must not pass as a room that never changes.
    """
    files: dict[str, str] = {}
    for room in rooms:
        sources = sorted((package / room).rglob("*.py"))
        if not sources:
            raise ValueError(f"{package / room}: a room must hold source, but has none")
        files |= {path.relative_to(package).as_posix(): file_digest(path) for path in sources}
    return digest(files)
