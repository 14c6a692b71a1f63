"""A session in a folder of Parquet and JSON that appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from allen_export.cache import nwb_of, open_cache, release_of
from allen_export.errors import ExportError
from allen_export.identity import exporter
from allen_export.release import blake2b, locked
from allen_export.tables import metadata_of, tables_of

MANIFEST = "manifest.json"


def export(folder: Path, session_id: int, out: Path, source: str) -> dict[str, Any]:
    """Write one session to `out`, unless it is there.

    Returns
    -------
    What the folder's ``manifest.json`` says.

    Raises
    ------
    ExportError
        The session cannot be had, or `out` holds something else.
    """
    out = out.absolute()
    if out.exists():
        return _published(out, session_id)
    cache = open_cache(folder, source)
    nwb, short = nwb_of(cache, folder, session_id, source)
    release = release_of(cache, folder)
    # One exporter a folder: what a killed one left beside it is then known for refuse.
    with locked(out.parent, out.name):
        for left in out.parent.glob(f".{out.name}.*.partial"):
            shutil.rmtree(left)
        if out.exists():
            return _published(out, session_id)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".partial"))
        try:
            session = cache.get_ecephys_session(session_id)
            tables = tables_of(session, nwb)
            for name, table in tables.items():
                path = partial / f"{name}.parquet"
                pq.write_table(table, path, compression="zstd", use_dictionary=False)
            _write_json(partial / "session.json", metadata_of(session))
            manifest = {
                "session_id": session_id,
                "release": release.name,
                "blake2b": release.hash_of(session_id),
                "data_digest": short,
                "exporter": exporter(),
                "allensdk": version("allensdk"),
                "num_units": tables["units"].num_rows,
                "num_spikes": tables["spikes"].num_rows,
                "files": {path.name: blake2b(path, 16)[0] for path in sorted(partial.iterdir())},
            }
            _write_json(partial / MANIFEST, manifest)
            partial.chmod(0o755)
            for path in (*partial.iterdir(), partial):
                _sync(path)
            partial.rename(out)
            _sync(out.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def _published(out: Path, session_id: int) -> dict[str, Any]:
    path = out / MANIFEST
    manifest: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    if manifest.get("session_id") != session_id:
        raise ExportError(
            f"{out}: there must be nothing, or the same session's export, but there is something "
            "else; name another folder"
        )
    return manifest


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
