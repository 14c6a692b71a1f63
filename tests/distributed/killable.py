"""A study in a process that is there to be killed: `forks` of one without Ray, or one with `ray`.

``python killable.py forks SPEC SHARD LATENTS`` goes on with a run for each line of stdin, in a
fork of itself. A line names the run's folder and how its fork ends: ``RUN seconds 0.3`` kills it
after that time, ``RUN write 7`` before the seventh call that writes to disk, ``RUN memory
8000000000`` gives it so many bytes of address space, ``RUN never`` leaves it alone. Each answer is
``killed``, ``ended`` or the number of the system's error that ended it.

``python killable.py ray SPEC SHARD LATENTS RUN`` goes on with one run, among Ray's workers.
"""

import os
import resource
import signal
import sys
import threading
from pathlib import Path

from listeners import Silent
from rheobase.core.artifacts import read_json
from rheobase.shards.latents import read_latents
from rheobase.shards.store import read_shard
from rheobase.study.file.spec import parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.search.schedule import Bookkeeper, run_here

WRITES = {"execute", "executemany", "fsync", "replace", "unlink", "chmod", "write", "close"}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_write(number):
    """Count calls of C functions that write."""
    seen = 0

    def heard(frame, event, function):
        nonlocal seen
        if event == "c_call" and function.__name__ in WRITES:
            seen += 1
            if seen == number:
                die()

    sys.setprofile(heard)


def go_on(spec, run, shards, latents):
    with Ledger(run / "ledger.sqlite") as ledger:
        run_here(spec, run, shards, latents, "d", Bookkeeper(ledger, Silent()))


def in_forks(spec, shard, latents):
    shards, read = [read_shard(shard)], read_latents(latents)
    print("ready", flush=True)
    for line in sys.stdin:
        run, kind, *at = line.split()
        child = os.fork()
        if child == 0:
            if kind == "seconds":
                threading.Timer(float(at[0]), die).start()
            elif kind == "write":
                die_before_write(int(at[0]))
            elif kind == "memory":
                resource.setrlimit(resource.RLIMIT_AS, (int(at[0]), int(at[0])))
            try:
                go_on(spec, Path(run), shards, read)
            except OSError as error:
                os._exit(error.errno)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print({0: "ended", -signal.SIGKILL: "killed"}.get(code, f"errno {code}"), flush=True)


def with_ray(spec, shard, latents, run):
    from rheobase.distributed.cluster import ray_session
    from rheobase.distributed.search import Inputs, search

    with ray_session("local", num_cpus=2), Ledger(run / "ledger.sqlite") as ledger:
        os.write(1, b"ready\n")
        search(spec, run, Inputs((shard,), (latents,), "d"), Bookkeeper(ledger, Silent()))


if __name__ == "__main__":
    how, spec_path, *paths = sys.argv[1:]
    given = parse_study(read_json(Path(spec_path)))
    {"forks": in_forks, "ray": with_ray}[how](given, *map(Path, paths))
