"""Sessions to shards, and binning, beside h5py, pynapple and elephant.

Run: ``make bench-data``, which builds an environment with the peers. Everything runs on one
thread in that one environment; a row's contenders take turns, and the table holds medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.sparse import csr_array
from vbn import write_session

from rheobase.core.seeds import generator
from rheobase.sessions.records.session import Intervals, Presentations, Session, Units
from rheobase.shards.binning import bin_starts, counts_of_units
from rheobase.shards.counts import SparseCounts
from rheobase.shards.ingest import bin_session
from rheobase.shards.settings import DataSettings

BIN_MS = 10.0
NWB_UNITS, NWB_SPIKES, NWB_S = 2_000, 20_000_000, 2.2 * 3600
DENSE_LIMIT_BYTES = 4e9
"""A peer whose dense array would be larger sits a row out."""


def read_with_h5py(path: Path) -> int:
    """Read spike times, their index, every metric and every presentation; return the spikes."""
    with h5py.File(path) as file:
        units = file["units"]
        num = len(units["id"])
        spikes_s = units["spike_times"][:]
        units["spike_times_index"][:]
        for name in units:
            if units[name].shape == (num,):
                units[name][:]
        for table in file["intervals"].values():
            for name in table:
                table[name][:]
    return len(spikes_s)


def measured(call: Callable[[], Any]) -> dict[str, float]:
    """Return wall and CPU seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def once(task: str, path: Path) -> None:
    """Do one task in this fresh process and print what it cost, as JSON."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        if task == "write":
            found = measured(lambda: write_session(path, NWB_UNITS, NWB_SPIKES, NWB_S))
        elif task == "h5py":
            found = measured(lambda: read_with_h5py(path))
        else:
            settings = DataSettings.model_validate({"sessions": [str(path)], "quality": task})
            found = measured(lambda: bin_session(str(path), settings, Path(folder)))
            found["disk_mb"] = sum(f.stat().st_size for f in Path(folder).rglob("*.arrow")) / 1e6
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def in_fresh_process(task: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--once", task, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def median(rows: list[dict[str, float]], name: str) -> float:
    return float(np.median([row[name] for row in rows]))


def nwb_to_shards(rounds: int) -> None:
    """Print what reading a session of real size costs beside binning it."""
    tasks = ("h5py", "none", "allen")
    runs: dict[str, list[dict[str, float]]] = {task: [] for task in tasks}
    with tempfile.TemporaryDirectory(prefix="rheobase-bench-") as folder:
        path = Path(folder) / "session.nwb"
        in_fresh_process("write", path)
        size_mb = path.stat().st_size / 1e6
        in_fresh_process("h5py", path)  # the file is in the page cache from here on
        for _ in range(rounds):
            for task in tasks:
                runs[task].append(in_fresh_process(task, path))
    print(
        f"## NWB to shards\n\n{NWB_UNITS:,} units, {NWB_SPIKES / 1e6:g} M spikes, "
        f"{NWB_S / 3600:g} h, {size_mb:.0f} MB, in the page cache; each run in a fresh process, "
        f"imports apart from the peak not counted; h5py {h5py.__version__}, medians of {rounds}.\n"
    )
    print("| | wall, s | CPU, s | ratio of wall | of CPU | peak, MiB | shard, MB |")
    print("|---|---|---|---|---|---|---|")
    names = {
        "h5py": "h5py reads spikes, metrics, presentations",
        "none": "rheobase: read, hash, check, bin, write; every unit",
        "allen": "the same; units of the `allen` preset",
    }
    wall, cpu = (median(runs["h5py"], name) for name in ("wall_s", "cpu_s"))
    for task in tasks:
        rows = runs[task]
        disk = f"{median(rows, 'disk_mb'):.0f}" if task != "h5py" else "-"
        print(
            f"| {names[task]} | {median(rows, 'wall_s'):.2f} | {median(rows, 'cpu_s'):.2f} | "
            f"{median(rows, 'wall_s') / wall:.1f} | {median(rows, 'cpu_s') / cpu:.1f} | "
            f"{max(row['peak_mib'] for row in rows):.0f} | {disk} |",
            flush=True,
        )


def trains_of(num_units: int, num_spikes: int, num_bins: int) -> list[np.ndarray[Any, Any]]:
    """Return sorted spike times in seconds, none nearer to an edge than a tenth of a bin.

    Libraries differ in which bin a spike on an edge belongs to; these have no such spike.
    """
    draw = generator(0, "benchmark", "trains")
    bins = draw.integers(num_bins, size=(num_units, num_spikes // num_units))
    times = (bins + draw.uniform(0.1, 0.9, bins.shape)) * (BIN_MS / 1000)
    return list(np.sort(times, axis=1))


def session_of(trains: list[np.ndarray[Any, Any]], duration_s: float) -> Session:
    num = len(trains)
    blank = np.full(num, "")
    return Session(
        session_id="benchmark",
        source="benchmark",
        data_digest="",
        units=Units(np.arange(num), blank, blank),
        spike_times_s=np.concatenate(trains),
        spike_offsets=np.cumsum([0, *(len(train) for train in trains)]),
        intervals=Intervals(np.zeros(1), np.array([duration_s]), np.array([""])),
        presentations=Presentations.none(),
    )


def binning(rounds: int) -> None:
    """Print the cost of counts beside pynapple's and elephant's."""
    import elephant.conversion
    import neo
    import pynapple
    import quantities

    packages = ("elephant", "neo", "pynapple", "numpy", "scipy")
    print(
        "\n## Binning at equal output\n\nFrom spike times that each library holds in its own "
        "objects to counts in 10 ms bins, CPU nanoseconds a spike, medians of "
        f"{rounds} alternating rounds; {', '.join(f'{p} {version(p)}' for p in packages)}. "
        "Sparse: elephant's CSR matrix against ours. Dense: pynapple's `TsGroup.count`, elephant's "
        "matrix and its `to_array` against ours and its dense rows. Counts were compared and are "
        "equal; no spike lies on an edge.\n"
    )
    print(
        "| units | spikes | bins | output | rheobase | elephant | pynapple | elephant's ratio "
        "| pynapple's ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for num_units, num_spikes, duration_s in (
        (200, 2_000_000, 1_000.0),
        (2_000, 20_000_000, 1_000.0),
        (2_000, 20_000_000, NWB_S),
    ):
        num_bins = round(duration_s * 1000 / BIN_MS)
        trains = trains_of(num_units, num_spikes, num_bins)
        session, edges = session_of(trains, duration_s), bin_starts(0.0, num_bins, BIN_MS)
        stop = duration_s * quantities.s
        neo_trains = [neo.SpikeTrain(train * quantities.s, t_stop=stop) for train in trains]

        def elephants(neo_trains: Any = neo_trains, stop: Any = stop) -> Any:
            return elephant.conversion.BinnedSpikeTrain(
                neo_trains,
                bin_size=BIN_MS * quantities.ms,
                t_start=0 * quantities.s,
                t_stop=stop,
            )

        def ours(session: Session = session, edges: Any = edges) -> Any:
            return counts_of_units(session, edges)

        theirs = elephants().sparse_matrix
        assert (as_csr(ours()) != theirs.T).nnz == 0
        row(num_units, num_spikes, num_bins, "sparse", rounds, ours, elephants, None)
        del theirs
        if num_units * num_bins * 8 > DENSE_LIMIT_BYTES:
            continue
        whole = pynapple.IntervalSet(0, duration_s)
        group = pynapple.TsGroup(
            {index: pynapple.Ts(train) for index, train in enumerate(trains)}, time_support=whole
        )

        def pynapples(group: Any = group) -> Any:
            return group.count(BIN_MS / 1000)

        assert np.array_equal(pynapples().values, ours().dense())
        row(
            num_units,
            num_spikes,
            num_bins,
            "dense",
            rounds,
            lambda ours=ours: ours().dense(),
            lambda elephants=elephants: elephants().to_array(),
            pynapples,
        )


def as_csr(counts: SparseCounts) -> csr_array:
    """Return our counts as scipy's (T, N) matrix, to compare them."""
    lengths = [np.diff(chunk.offsets) for chunk in counts.chunks]
    return csr_array(
        (
            np.concatenate([chunk.count for chunk in counts.chunks]),
            np.concatenate([chunk.unit for chunk in counts.chunks]).astype(np.int32),
            np.cumsum(np.concatenate([[0], *lengths])),
        ),
        shape=(len(counts), counts.num_units),
    )


def row(
    num_units: int,
    num_spikes: int,
    num_bins: int,
    output: str,
    rounds: int,
    *contenders: Callable[[], Any] | None,
) -> None:
    """Print one row: ours first, then the peers; a peer that sits out is None."""
    runs: list[list[dict[str, float]]] = [[] for _ in contenders]
    for _ in range(rounds):
        for found, call in zip(runs, contenders, strict=True):
            if call is not None:
                found.append(measured(call))
    cost = [median(found, "cpu_s") / num_spikes * 1e9 if found else None for found in runs]
    ratios = ["-" if one is None else f"{one / (cost[0] or 1):.1f}" for one in cost[1:]]
    shown = ["-" if one is None else f"{one:.1f}" for one in cost]
    print(
        f"| {num_units:,} | {num_spikes / 1e6:g} M | {num_bins:,} | {output} | "
        f"{' | '.join(shown + ratios)} |",
        flush=True,
    )


def main() -> None:
    """Print the tables."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--rounds", type=int, default=5)
    asking.add_argument("--once", nargs=2, metavar=("TASK", "PATH"), help=argparse.SUPPRESS)
    asked = asking.parse_args()
    warnings.simplefilter("ignore")
    if asked.once:
        once(asked.once[0], Path(asked.once[1]))
        return
    print(
        "# Sessions, shards, loader and plan\nMade by\n\n```\nmake bench-data\n```\n\n"
        "Contenders of a table take turns in one run on one machine: ratios are what it shows.\n"
    )
    nwb_to_shards(asked.rounds)
    binning(asked.rounds)


if __name__ == "__main__":
    sys.exit(main())
