"""ALF files, as ONE downloads them: spikes, and what is known of their clusters."""

# Shape legend: N units.

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rheobase.core.archives import read_array
from rheobase.core.errors import SessionError
from rheobase.sessions.readers.columns import text_of
from rheobase.sessions.readers.tool_session import digest_of_files, session_of_spikes
from rheobase.sessions.records.session import Session

ALF_TIMES, ALF_CLUSTERS = "spikes.times*.npy", "spikes.clusters*.npy"
METRICS_TABLE = "clusters.metrics.pqt"
VOLTS, MICROVOLTS = "amp_median", "amplitude"  # as brainbox names it, and as presets do
SHARE = "label"  # of the three criteria of IBL that a unit meets: 0, 1/3, 2/3 or 1


def read_alf(path: Path) -> Session:
    """Read the units in a folder of ALF files; parameters and errors as `foreign.read_folder`."""
    found = [sorted(path.glob(pattern)) for pattern in (ALF_TIMES, ALF_CLUSTERS)]
    if not all(found):
        raise SessionError(
            f"{path}: ALF spikes must have times and clusters, but there is no {ALF_CLUSTERS}; "
            "download it beside the other"
        )
    several = next((files for files in found if len(files) > 1), None)
    if several:
        raise SessionError(
            f"{path}: ALF spikes must have one file of times and one of clusters, but there are "
            f"{', '.join(one.name for one in several)}; keep those of one revision"
        )
    used = [files[0] for files in found]
    times, clusters = (read_array(one).ravel() for one in used)
    columns: dict[str, npt.NDArray[Any]] = {}
    for file in sorted(path.glob("clusters.*.npy")):
        values = read_array(file)
        if values.ndim == 1:
            used.append(file)
            columns[file.name.split(".")[1]] = values
    num = max((len(values) for values in columns.values()), default=0)
    least, most = int(clusters.min(initial=0)), int(clusters.max(initial=0))
    if num and not 0 <= least <= most < num:
        raise SessionError(
            f"{path}: clusters of spikes must lie from 0 to {num - 1}, the rows of clusters.*.npy, "
            f"but lie from {least} to {most}; download both from one sorting"
        )
    keys = np.arange(num) if num else np.unique(clusters)
    metadata = {name: values for name, values in columns.items() if len(values) == num}
    if (table := path / METRICS_TABLE).is_file():
        used.append(table)
        metadata = _metrics(table, keys) | metadata
    for name in ("brainLocationAcronyms_ccf_2017", "acronyms", "atlas_acronym"):
        if name in metadata:
            metadata["acronym"] = metadata.pop(name)
    return session_of_spikes(
        path, digest_of_files(used), times.astype(np.float64), clusters, keys, metadata
    )


def _metrics(table: Path, keys: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Return the columns (N,) of IBL's table of metrics, a row a cluster; NaN or "" without one."""
    try:
        read = pq.read_table(table)
    except (OSError, pa.ArrowException) as error:
        raise SessionError(
            f"{table}: a table of metrics must be Parquet, but reading it failed: "
            f"{str(error).splitlines()[0]}; download it again, or leave it out"
        ) from None
    if "cluster_id" in read.column_names:
        ids = read["cluster_id"].to_numpy()
    elif len(read) == len(keys):
        ids = keys
    else:
        raise SessionError(
            f"{table}: a column cluster_id, or a row for each of {len(keys)} clusters, must be "
            f"there, but there are {len(read)} rows; download it again, or leave it out"
        )
    row_of = {int(one): row for row, one in enumerate(ids.tolist())}
    rows = np.array([row_of.get(int(key), -1) for key in keys], np.int64)
    found: dict[str, npt.NDArray[Any]] = {}
    for name in read.column_names:
        kind, column = read.schema.field(name).type, read[name].to_pylist()
        picked = [column[row] if row >= 0 else None for row in rows]
        if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
            found[name] = np.array(["" if one is None else text_of(one) for one in picked])
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            found[name] = np.array([np.nan if one is None else one for one in picked], np.float64)
    if VOLTS in found:
        found[MICROVOLTS] = 1e6 * found[VOLTS]
    if SHARE in found and found[SHARE].dtype.kind == "f":
        found[SHARE] = np.array([text_of(round(one, 2)) for one in found[SHARE].tolist()])
    found.pop("cluster_id", None)
    return found
