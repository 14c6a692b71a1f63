"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rheobase.core.errors import ArtifactError

MANIFEST = "manifest.json"


def home() -> Path:
    """Return the folder of all artifacts: ``$RHEOBASE_HOME``, or ``runs`` here."""
    return Path(os.environ.get("RHEOBASE_HOME", "runs")).absolute()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a temporary folder; on success add `manifest.json`, sync, rename into place.

    If another process published the same folder first, its copy is kept: a folder is named
    by the digest of what made it, so both hold the same.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield partial
        write_json(partial / MANIFEST, manifest)
        partial.chmod(0o755)
        for path in partial.rglob("*"):
            _sync(path)
        _sync(partial)
        try:
            partial.rename(folder)
        except OSError:
            if not (folder / MANIFEST).exists():
                raise
        _sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all; NaN is refused, a missing number is ``None``."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON, or say which stored file is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; run the study that writes it first") from None
    except json.JSONDecodeError as error:
        raise ArtifactError(f"{path}: not valid JSON ({error}); delete it and run again") from None


def is_published(folder: Path) -> bool:
    """Tell whether a folder artifact is there and whole."""
    return (folder / MANIFEST).exists()
