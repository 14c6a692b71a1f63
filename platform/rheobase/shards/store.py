"""The Arrow file of one shard: a record batch a chunk of bins, mapped into memory when read."""

# Shape legend: T bins of a chunk, N units, E entries that are not zero, C covariates.

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rheobase.core.artifacts import whole_file
from rheobase.core.errors import ArtifactError
from rheobase.core.folders import is_published
from rheobase.core.integrity import check_published
from rheobase.core.storage import Location, filesystem_of, parted
from rheobase.shards.counts import Chunk, SparseCounts
from rheobase.shards.shard import Segment, Shard

SHARD = "shard.arrow"
"""Its name in an artifact's folder."""
SCHEMA_VERSION = 5
ENTRIES = {"offsets": np.int32, "unit": np.uint16, "count": np.uint8}
LABELS = {"split": np.int8, "group": np.int32, "presentation": np.int32, "phase": np.int32}
SCHEMA = pa.schema(
    [
        pa.field("segment", pa.int32()),
        pa.field("num_bins", pa.int32()),
        pa.field("start_s", pa.float64()),
        pa.field("state", pa.string()),
        *(pa.field(name, pa.large_binary()) for name in (*ENTRIES, *LABELS, "covariates")),
    ]
)


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard as an Arrow IPC file, whole or not at all.

    A record batch of one row is one chunk: `num_bins` bins (T) of the segment it numbers, from
    `start_s` on. Its binary columns hold little-endian numbers: `offsets` (T + 1,) int32, `unit`
    (E,) uint16 and `count` (E,) uint8 of `Chunk`, the labels (T,) of `Segment`, and its
    `covariates` (C, T) float32. Units with the columns of their table, presentations with their
    period and the covariates' names are in the schema's metadata, as JSON under ``rheobase``.

    Parameters
    ----------
    path
        ``shard.arrow`` in a folder that is being made.
    shard
        What is written.
    """
    about = {
        "schema": SCHEMA_VERSION,
        "session_id": shard.session_id,
        "data_digest": shard.data_digest,
        "kind": shard.kind,
        "bin_ms": shard.bin_ms,
        "unit_id": shard.unit_id.tolist(),
        "area": shard.area.tolist(),
        "image": shard.image.tolist(),
        "is_change": shard.is_change.tolist(),
        "omitted": shard.omitted.tolist(),
        "period_s": shard.period_s,
        "labels": {name: _listed(values) for name, values in shard.labels.items()},
        "covariates": list(shard.covariate_names),
        "unit_columns": {name: _listed(values) for name, values in shard.unit_columns.items()},
    }
    schema = SCHEMA.with_metadata({"rheobase": json.dumps(about)})
    with whole_file(path) as partial, pa.ipc.new_file(str(partial), schema) as writer:
        for number, segment in enumerate(shard.segments):
            begin = 0
            known = np.zeros((0, len(segment)), np.float32)
            if segment.covariates:
                known = np.concatenate(segment.covariates, axis=1)
            for chunk in segment.counts.chunks:
                bins = slice(begin, begin + len(chunk))
                columns = [
                    pa.array([number], pa.int32()),
                    pa.array([len(chunk)], pa.int32()),
                    pa.array([segment.start_s + begin * shard.bin_ms / 1000], pa.float64()),
                    pa.array([segment.state], pa.string()),
                    *(
                        _as_one_value(np.ascontiguousarray(getattr(chunk, name), kind))
                        for name, kind in ENTRIES.items()
                    ),
                    *(
                        _as_one_value(np.ascontiguousarray(getattr(segment, name)[bins], kind))
                        for name, kind in LABELS.items()
                    ),
                    _as_one_value(np.ascontiguousarray(known[:, bins], np.float32)),
                ]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
                begin += len(chunk)


def _listed(values: npt.NDArray[Any]) -> list[Any]:
    """Return values as JSON takes them, which has neither NaN nor infinity."""
    is_float = values.dtype.kind == "f"
    return [None if is_float and not np.isfinite(value) else value for value in values.tolist()]


def _array(values: list[Any]) -> npt.NDArray[Any]:
    """Return the words or the numbers, NaN where there is none, that `_listed` gave."""
    if any(isinstance(value, str) for value in values):
        return np.array(values, np.str_)
    return np.array(values, np.float64)


def _as_one_value(array: npt.NDArray[Any]) -> pa.Array:
    """Return a column of one binary value that is the array's own memory: counts are large."""
    offsets = np.array([0, array.nbytes], np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(array.reshape(-1).view(np.uint8))]
    return pa.Array.from_buffers(pa.large_binary(), 1, buffers)


def read_shard(location: Location) -> Shard:
    """Read a shard; a file of this machine is mapped into memory, its counts are views of it.

    Parameters
    ----------
    location
        A path, or a URL of an object store.

    Raises
    ------
    ArtifactError
        The file is missing, damaged, of another version, or not the one that was published.
    """
    if isinstance(location, Path):
        is_published(location.parent)  # brings it here, where another node made it
    # First: mapped and read, a file with bytes too many can end the process.
    check_published(*parted(location))
    try:
        reader = pa.ipc.open_file(_opened(location))
        about = json.loads(reader.schema.metadata[b"rheobase"])
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
    except FileNotFoundError:
        raise ArtifactError(f"{location}: no such shard; bin its session again") from None
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(
            f"{location}: not a whole shard ({reason}); delete it, bin again"
        ) from None
    if about["schema"] != SCHEMA_VERSION:
        raise ArtifactError(
            f"{location}: shard schema {SCHEMA_VERSION} must hold, but got {about['schema']}; bin "
            "again"
        )
    num_units = len(about["unit_id"])
    by_segment = [list(rows) for _, rows in groupby(batches, lambda row: row["segment"][0].as_py())]
    return Shard(
        session_id=about["session_id"],
        data_digest=about["data_digest"],
        kind=about["kind"],
        bin_ms=about["bin_ms"],
        unit_id=np.array(about["unit_id"], np.int64),
        area=np.array(about["area"], np.str_),
        segments=tuple(_segment(rows, num_units, len(about["covariates"])) for rows in by_segment),
        image=np.array(about["image"], np.str_),
        is_change=np.array(about["is_change"], bool),
        omitted=np.array(about["omitted"], bool),
        period_s=about["period_s"],
        labels={name: np.array(values, np.float64) for name, values in about["labels"].items()},
        covariate_names=tuple(about["covariates"]),
        unit_columns={  # absent in shards from before they were kept
            name: _array(values) for name, values in about.get("unit_columns", {}).items()
        },
    )


def _opened(location: Location) -> pa.NativeFile:
    if isinstance(location, Path):
        return pa.memory_map(str(location))
    system, path = filesystem_of(location)
    return system.open_input_file(path)


def _segment(rows: Sequence[pa.RecordBatch], num_units: int, num_covariates: int) -> Segment:
    def values(row: pa.RecordBatch, name: str, kind: type) -> npt.NDArray[Any]:
        return np.frombuffer(row.column(name)[0].as_buffer(), kind)

    chunks = tuple(
        Chunk(*(values(row, name, kind) for name, kind in ENTRIES.items())) for row in rows
    )
    labels = {
        name: np.concatenate([values(row, name, kind) for row in rows])
        for name, kind in LABELS.items()
    }
    return Segment(
        counts=SparseCounts(chunks, num_units),
        start_s=rows[0].column("start_s")[0].as_py(),
        state=rows[0].column("state")[0].as_py(),
        **labels,
        covariates=tuple(
            values(row, "covariates", np.float32).reshape(num_covariates, -1)
            for row in rows
            if num_covariates
        ),
    )
