"""The Arrow file of one shard: a row a segment, mapped into memory when read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rheobase.core.artifacts import whole_file
from rheobase.core.errors import ArtifactError
from rheobase.shards.shard import Segment, Shard

SCHEMA_VERSION = 1
LABELS = {"split": np.int8, "group": np.int32, "presentation": np.int32, "phase": np.int32}
SCHEMA = pa.schema(
    [
        pa.field("counts", pa.large_binary()),
        pa.field("num_bins", pa.int64()),
        pa.field("start_s", pa.float64()),
        pa.field("state", pa.string()),
        *(pa.field(name, pa.large_binary()) for name in LABELS),
    ]
)


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard as an Arrow IPC file, whole or not at all.

    `counts` holds (num_bins, num_units) uint8 in C order; the labels hold (num_bins,)
    integers, little-endian. Units and presentations are in the schema's metadata.
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
    }
    schema = SCHEMA.with_metadata({"rheobase": json.dumps(about)})
    with whole_file(path) as partial, pa.ipc.new_file(str(partial), schema) as writer:
        for segment in shard.segments:
            columns = [
                _as_one_value(np.ascontiguousarray(segment.counts)),
                pa.array([len(segment)], pa.int64()),
                pa.array([segment.start_s], pa.float64()),
                pa.array([segment.state], pa.string()),
                *(
                    _as_one_value(np.ascontiguousarray(getattr(segment, name), kind))
                    for name, kind in LABELS.items()
                ),
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def _as_one_value(array: npt.NDArray[Any]) -> pa.Array:
    """Return a column of one binary value that is the array's own memory: counts are large."""
    offsets = np.array([0, array.nbytes], np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(array.reshape(-1).view(np.uint8))]
    return pa.Array.from_buffers(pa.large_binary(), 1, buffers)


def read_shard(path: Path) -> Shard:
    """Map a shard into memory; its counts are views of the file.

    Raises
    ------
    ArtifactError
        The file is missing, truncated or of another version.
    """
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        about = json.loads(reader.schema.metadata[b"rheobase"])
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such shard; bin its session again") from None
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path}: not a whole shard ({reason}); delete it, bin again") from None
    if about["schema"] != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path}: shard schema {SCHEMA_VERSION} must hold, but got {about['schema']}; bin again"
        )
    num_units = len(about["unit_id"])
    return Shard(
        about["session_id"],
        about["data_digest"],
        about["kind"],
        about["bin_ms"],
        np.array(about["unit_id"], np.int64),
        np.array(about["area"], np.str_),
        tuple(_segment(batch, num_units) for batch in batches),
        np.array(about["image"], np.str_),
        np.array(about["is_change"], bool),
        np.array(about["omitted"], bool),
    )


def _segment(batch: pa.RecordBatch, num_units: int) -> Segment:
    num_bins = batch.column("num_bins")[0].as_py()
    counts = np.frombuffer(batch.column("counts")[0].as_buffer(), np.uint8)
    labels = {
        name: np.frombuffer(batch.column(name)[0].as_buffer(), kind)
        for name, kind in LABELS.items()
    }
    return Segment(
        counts.reshape(num_bins, num_units),
        batch.column("start_s")[0].as_py(),
        batch.column("state")[0].as_py(),
        **labels,
    )
