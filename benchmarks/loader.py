"""Windows of many sessions into a torch loop: by reference, from dense Arrow, and by Ray Data.

Run: ``PYTHONPATH=platform python benchmarks/loader.py``. Every contender gives the same counts in
batches of one session, and every value is touched by the same reduction, as float32. They
take turns in one process; the table holds medians.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
import torch
from vbn import write_session

from rheobase.core.seeds import generator
from rheobase.distributed.cluster import ray_session
from rheobase.distributed.ingest import bin_sessions
from rheobase.distributed.reader import MIXED_SESSIONS, read_windows, window_references
from rheobase.shards.counts import SparseCounts
from rheobase.shards.settings import DataSettings
from rheobase.shards.shard import NONE, TRAIN, Segment, Shard
from rheobase.shards.store import write_shard

SESSIONS, WINDOWS, BINS, BATCH = 16, 256, 200, 32
FEWEST_UNITS, MOST_UNITS = 40, 360
SPIKES_A_BIN = 0.09
SCHEMA = pa.schema([("counts", pa.large_binary()), ("windows", pa.int64()), ("units", pa.int64())])


def write(folder: Path) -> int:
    """Write every session three times: shard, dense Arrow, dense Parquet; return dense bytes."""
    draw = generator(0, "benchmark", "loader")
    total = 0
    for name in ("shard", "arrow", "parquet"):
        (folder / name).mkdir()
    for number, units in enumerate(np.linspace(FEWEST_UNITS, MOST_UNITS, SESSIONS).astype(int)):
        dense = draw.poisson(SPIKES_A_BIN, (WINDOWS * BINS, units)).astype(np.uint8)
        total += dense.nbytes
        write_shard(folder / "shard" / f"{number:02d}.arrow", shard_of(f"s{number:02d}", dense))
        windows = dense.reshape(-1, BATCH, BINS, units)
        rows = [
            pa.record_batch([[batch.tobytes()], [BATCH], [units]], schema=SCHEMA)
            for batch in windows
        ]
        with pa.ipc.new_file(str(folder / "arrow" / f"{number:02d}.arrow"), SCHEMA) as file:
            for row in rows:
                file.write_batch(row)
        table = pa.Table.from_batches(rows)
        pq.write_table(table, folder / "parquet" / f"{number:02d}.parquet", row_group_size=1)
    return total


def shard_of(name: str, dense: np.ndarray[Any, Any]) -> Shard:
    num_bins, num_units = dense.shape
    none = np.full(num_bins, NONE, np.int32)
    split, group = np.full(num_bins, TRAIN, np.int8), np.zeros(num_bins, np.int32)
    segment = Segment(
        counts=SparseCounts.of_dense(dense),
        start_s=0.0,
        state="",
        split=split,
        group=group,
        presentation=none,
        phase=none,
    )
    no = np.zeros(0, bool)
    return Shard(
        session_id=name,
        data_digest=name,
        kind="continuous",
        bin_ms=10.0,
        unit_id=np.arange(num_units),
        area=np.full(num_units, ""),
        segments=(segment,),
        image=np.zeros(0, "U1"),
        is_change=no,
        omitted=no,
    )


def by_reference(folder: Path, epochs: int) -> Iterator[torch.Tensor]:
    """Give this package's windows: references through Ray, counts from mapped shards."""
    shards = sorted((folder / "shard").iterdir())
    references = window_references(shards, BINS, BATCH, epochs=epochs)
    for batch in read_windows(references):
        yield batch.counts


def dense_arrow(folder: Path, epochs: int) -> Iterator[torch.Tensor]:
    """Give dense batches as views of memory-mapped Arrow files, in a random order."""
    readers = [
        pa.ipc.open_file(pa.memory_map(str(path))) for path in sorted((folder / "arrow").iterdir())
    ]
    places = [(r, i) for r, reader in enumerate(readers) for i in range(reader.num_record_batches)]
    for epoch in range(epochs):
        for at in generator(0, "benchmark", "order", epoch).permutation(len(places)).tolist():
            reader, index = places[at]
            yield tensor_of(readers[reader].get_batch(index))


def through_ray(folder: Path, epochs: int) -> Iterator[torch.Tensor]:
    """Give dense batches that Ray Data itself reads and carries."""
    data = ray.data.read_parquet(str(folder / "parquet"))
    for _ in range(epochs):
        yield from data.iter_torch_batches(batch_size=1, collate_fn=collated)


def collated(row: dict[str, np.ndarray[Any, Any]]) -> torch.Tensor:
    """Return the counts of a row as Ray Data hands it over."""
    flat = np.frombuffer(row["counts"][0], np.uint8)
    return torch.from_numpy(flat).view(int(row["windows"][0]), BINS, int(row["units"][0]))


def tensor_of(row: Any) -> torch.Tensor:
    """Return the counts of a row, a view of its buffer where there is one."""
    column = row.column("counts")
    value = (column.chunk(0) if isinstance(column, pa.ChunkedArray) else column)[0]
    flat = torch.from_numpy(np.frombuffer(value.as_buffer(), np.uint8))
    return flat.view(row.column("windows")[0].as_py(), BINS, row.column("units")[0].as_py())


def touched(batches: Iterable[torch.Tensor]) -> tuple[float, float]:
    """Sum all counts as float32; return seconds to the first batch, and from there to the end."""
    began = time.perf_counter()
    first = None
    total = 0.0
    for batch in batches:
        first = first or time.perf_counter()
        total += float(batch.float().sum())
    assert first is not None
    assert total > 0
    return first - began, time.perf_counter() - first


def throughput(rounds: int) -> None:
    """Print what arrives a second."""
    contenders: tuple[tuple[str, Callable[[Path, int], Iterator[torch.Tensor]], int], ...] = (
        ("dense Arrow, mapped into memory, no Ray", dense_arrow, 8),
        ("rheobase: references through Ray, mapped shards", by_reference, 8),
        ("Ray Data alone, `iter_torch_batches`", through_ray, 3),
    )
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in contenders}
    with tempfile.TemporaryDirectory(prefix="rheobase-bench-") as name:
        folder = Path(name)
        megabytes = write(folder) / 1e6
        disk = {
            kind: sum(path.stat().st_size for path in (folder / kind).iterdir()) / 1e6
            for kind in ("arrow", "shard", "parquet")
        }
        with ray_session("local", num_cpus=2):
            ray.data.DataContext.get_current().enable_progress_bars = False
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            for _ in range(rounds):
                for title, call, epochs in contenders:
                    runs[title].append(touched(call(folder, epochs)))
    print(
        f"\n## Windows into a torch loop\n\n{SESSIONS} sessions x {WINDOWS} windows x {BINS} bins "
        f"x {FEWEST_UNITS} to {MOST_UNITS} units, {megabytes:.0f} MB of counts as uint8, in the "
        f"page cache; batches of {BATCH} windows of one session in a random order, each summed as "
        f"float32; ray {ray.__version__}, torch {torch.__version__}, medians of {rounds} "
        "alternating rounds. References of all epochs are one execution of Ray's; "
        "`iter_torch_batches` starts anew each epoch.\n"
    )
    print("| | disk, MB | epochs | first batch after, s | MB/s from there | ratio | MB/s in all |")
    print("|---|---|---|---|---|---|---|")
    speeds = {}
    for (title, _, epochs), size in zip(contenders, disk.values(), strict=True):
        delay, rest = (float(np.median(column)) for column in zip(*runs[title], strict=True))
        speeds[title] = epochs * megabytes / rest
        print(
            f"| {title} | {size:.0f} | {epochs} | {delay:.1f} | {speeds[title]:.0f} | "
            f"{speeds[title] / speeds[contenders[0][0]]:.2f} | "
            f"{epochs * megabytes / (delay + rest):.0f} |",
            flush=True,
        )


def family() -> dict[int, list[str]]:
    """Return the fields of /proc's stat of this process and of all that it and they started."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    found = {os.getpid()}
    while more := {pid for pid, stat in stats.items() if int(stat[1]) in found} - found:
        found |= more
    return {pid: stats[pid] for pid in found}


def cpu_s() -> float:
    # Its own, and that of workers which ended: Ray ends idle ones.
    ticks = sum(sum(map(int, stat[11:15])) for stat in family().values())
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_mib(processes: Iterable[int]) -> float:
    """Return the largest peak of resident memory since `forget_peaks`."""
    peaks = [0]
    for process in processes:
        status = Path(f"/proc/{process}/status").read_text()
        peaks += [int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line]
    return max(peaks) / 1024


def forget_peaks() -> None:
    for process in family():
        Path(f"/proc/{process}/clear_refs").write_text("5")


def workers() -> list[int]:
    """Return Ray's workers, which name themselves."""
    titles = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in family()}
    return [pid for pid, title in titles.items() if title.startswith("ray::")]


def ten_sessions() -> None:
    """Print what ten and twenty sessions cost beside one: to bin, and to read."""
    units, spikes, duration_s = 600, 6_000_000, 2400.0
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="rheobase-bench-") as name,
        ray_session("local", num_cpus=2),
    ):
        folder = Path(name)
        paths = [folder / f"{seed}.nwb" for seed in range(33)]
        for seed, path in enumerate(paths):
            write_session(path, units, spikes, duration_s, seed)
        settings = DataSettings.model_validate({"sessions": ["-"], "quality": "none"})
        bin_sessions([str(path) for path in paths[:2]], settings, folder / "warm")
        for some in (paths[2:3], paths[3:13], paths[13:]):
            forget_peaks()
            cpu, wall = cpu_s(), time.perf_counter()
            shards = bin_sessions([str(path) for path in some], settings, folder / "shards")
            binning = (cpu_s() - cpu, time.perf_counter() - wall)
            at_binning = peak_mib(workers())
            forget_peaks()
            cpu = time.process_time()
            for batch in read_windows(window_references(list(shards.values()), 100, BATCH)):
                batch.counts.sum()
            reading = time.process_time() - cpu
            rows.append((len(some), *binning, at_binning, reading, peak_mib([os.getpid()])))
    print(
        f"\n## Ten sessions beside one\n\nEach {units} units, {spikes / 1e6:g} M spikes, "
        f"{duration_s / 60:g} min, every unit kept, two workers that have binned before. CPU of "
        "the driver and all of Ray's processes; the largest peak of resident memory, "
        f"pages of the {MIXED_SESSIONS} shards that a reader has open included.\n"
    )
    print(
        "| sessions | binning: CPU, s | wall, s | worker's peak, MiB | reading: CPU, s "
        "| reader's peak, MiB |"
    )
    print("|---|---|---|---|---|---|")
    for num, cpu, wall, worker, reading, reader in rows:
        print(f"| {num} | {cpu:.1f} | {wall:.1f} | {worker:.0f} | {reading:.2f} | {reader:.0f} |")
    for row in rows[1:]:
        ratios = [of_many / of_one for of_many, of_one in zip(row, rows[0], strict=True)]
        print(f"| ratio to one | {' | '.join(f'{ratio:.1f}' for ratio in ratios[1:])} |")


def main() -> None:
    """Print the tables."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--rounds", type=int, default=3)
    asked = asking.parse_args()
    torch.set_num_threads(1)
    throughput(asked.rounds)
    ten_sessions()


if __name__ == "__main__":
    sys.exit(main())
