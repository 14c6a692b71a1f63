"""Read thousands of changed inputs: each is read or refused in one line, soon, and nothing crashes.

    PYTHONPATH=platform:tests python -m fuzz.run --inputs 5000 --seconds 1500

A process reads them, so that one which hangs or crashes costs that process alone. What fails is
kept in the folder that is named.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

from fuzz.targets import accepted_senseless, left_behind, targets
from rheobase.core.errors import RheobaseError

HANG_S = 20.0
CPU_HANG_S = 60.0
"""On a machine that does other things, a reader may take longer by the clock than in CPU time."""


def reads(connection, folder, seed, with_torch):
    """Make and read each input that is asked for by the index of its target and its number."""
    os.environ["RHEOBASE_HOME"] = str(folder / "home")
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    known = targets(folder, with_torch)
    connection.send([(target.name, target.share) for target in known])
    while (asked := connection.recv()) is not None:
        index, number = asked
        draw = np.random.default_rng([seed, index, number])
        place = folder / "input"
        place.mkdir()
        path = known[index].make(place / f"{index}-{number}", draw)
        began_s, cpu_s = time.monotonic(), time.process_time()
        outcome, told = "read", ""
        try:
            known[index].read(path)
        except RheobaseError as error:
            outcome, told = "refused", str(error)
            if "\n" in told or not told:
                outcome = "failed"
        except BaseException:
            outcome, told = "failed", traceback.format_exc()
        if outcome == "refused" and left_behind(place):
            outcome, told = "failed", f"left behind: {left_behind(place)}"
        took_s = time.monotonic() - began_s
        if outcome == "failed":
            kept = folder.parent / "failed" / path.name
            kept.parent.mkdir(exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copy)(path, kept)
        shutil.rmtree(place)
        connection.send((outcome, told, took_s, time.process_time() - cpu_s))


class Reader:
    """The process that reads, started again after it has ended."""

    def __init__(self, folder, seed, with_torch):
        self._arguments = folder, seed, with_torch
        self._num_started = 0
        self.start()

    def start(self):
        folder, seed, with_torch = self._arguments
        self._num_started += 1
        own = folder / f"reader-{self._num_started}"
        own.mkdir()
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=reads, args=(theirs, own, seed, with_torch), daemon=False
        )
        self._process.start()
        theirs.close()
        self._connection = ours
        self.targets = ours.recv()

    def read(self, index, number):
        """Return what became of an input: a hang or a crash is what the process could not tell."""
        self._connection.send((index, number))
        if not self._connection.poll(CPU_HANG_S):
            self._process.kill()
            self._process.join()
            self.start()
            return "failed", f"no answer in {CPU_HANG_S:g} s", CPU_HANG_S, CPU_HANG_S
        try:
            return self._connection.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self.start()
            return "failed", f"the reader crashed with {code}", 0.0, 0.0

    def end(self):
        self._connection.send(None)
        self._process.join()


def run(num_inputs, seconds, seed, folder, with_torch=True):
    """Return a row for each target, what failed, and how many were read in time."""
    began_s = time.monotonic()
    reader = Reader(folder, seed, with_torch)
    counts = [Counter() for _ in reader.targets]
    slowest_s = [0.0 for _ in reader.targets]
    failures = [f"senseless, but accepted: {name}" for name in accepted_senseless()]
    draw = np.random.default_rng(seed)
    shares = np.array([share for _, share in reader.targets])
    order = draw.choice(len(shares), num_inputs, p=shares / shares.sum())
    for number, index in enumerate(order.tolist()):
        if time.monotonic() - began_s > seconds:
            break
        outcome, told, took_s, cpu_s = reader.read(index, number)
        slowest_s[index] = max(slowest_s[index], took_s)
        if min(took_s, cpu_s) > HANG_S:
            outcome, told = "failed", f"it took {took_s:.0f} s"
        counts[index][outcome] += 1
        if outcome == "failed":
            failures.append(f"{reader.targets[index][0]} {index}-{number}: {told}")
    reader.end()
    rows = [
        (name, sum(count.values()), count["read"], count["refused"], count["failed"], slow)
        for (name, _), count, slow in zip(reader.targets, counts, slowest_s, strict=True)
    ]
    return rows, failures, time.monotonic() - began_s


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--inputs", type=int, default=5000)
    words.add_argument("--seconds", type=float, default=1500.0)
    words.add_argument("--seed", type=int, default=0)
    given = words.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rheobase-fuzz-"))
    rows, failures, took_s = run(given.inputs, given.seconds, given.seed, folder)
    print("| input | tried | read | refused | failed | slowest, s |")
    print("|---|---|---|---|---|---|")
    for name, tried, read, refused, failed, slowest_s in rows:
        print(f"| {name} | {tried} | {read} | {refused} | {failed} | {slowest_s:.1f} |")
    print(f"\n{sum(row[1] for row in rows)} inputs, seed {given.seed}, {took_s:.0f} s")
    for failure in failures:
        print(f"\n{failure}")
    if failures:
        print(f"\nwhat failed is kept in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
