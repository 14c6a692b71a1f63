"""500 cheap trials on a cluster of three nodes on this machine, under kills drawn by seed.

``python benchmarks/soak.py --trials 500 --seconds 1800`` prints what was killed, whether every
trial ended once and gave what it gives undisturbed, and how the driver's memory and files grew.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

os.environ |= {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "GLOO_SOCKET_IFNAME": "lo",
}

from ray.cluster_utils import Cluster

from rheobase.study.run_folder import RunFolder

EVERY_S = (20.0, 40.0)  # between two kills
STUDY = {
    "name": "soak",
    "data": {"sessions": ["synthetic:planted?seed=0&minutes=1&units=12&nuisance=0"]},
    "teacher": {"latent_dim": 2, "steps": 100, "workers": 1},
    "student": {"num_neurons": 12, "steps": 100, "batch_windows": 8},
    "search": {
        "generation": 25,
        "pack": 5,
        "sampler": "random",
        "space": {"student.rate_weight": {"low": 1e-3, "high": 1.0, "log": True}},
    },
    "seeds": {"select": [0], "report": [10]},
}


def children(process: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *children(child)]
    return found


def title(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    return ""


def resident_mib(process: int) -> float:
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return int(next(one for one in lines if one.startswith("VmRSS")).split()[1]) / 1024
    return 0.0


def replicates(run: Path) -> dict[str, object]:
    return {
        record.request.trial_id: (record.status, record.result and record.result.replicates)
        for record in RunFolder(run).read_records()
    }


def run_study(folder: Path, study: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "rheobase", "run", study, "--underpowered", "--resume", *words],
        env={
            **os.environ,
            "RHEOBASE_HOME": f"file://{folder / 'store'}",
            "RHEOBASE_CACHE": str(folder / "cache"),
        },
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("a"),
    )


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--trials", type=int, default=500)
    words.add_argument("--seconds", type=float, default=1800.0)
    words.add_argument("--seed", type=int, default=0)
    given = words.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="rheobase-soak-") as name:
        folder = Path(name)
        (folder / "store").mkdir()
        study = folder / "study.json"
        table = {**STUDY, "search": {**STUDY["search"], "trials": given.trials}}
        study.write_text(json.dumps(table))
        told = soak(folder, study, draw, given.seconds)
    print(json.dumps(told, indent=1))


def soak(folder: Path, study: Path, draw: random.Random, seconds: float) -> dict[str, object]:
    head = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    workers = [cluster.add_node(num_cpus=1, object_store_memory=10**8) for _ in range(2)]
    run = folder / "cache" / "studies" / "soak"
    began = time.monotonic()
    kills = {"worker": 0, "node": 0, "driver": 0}
    memory: list[tuple[int, float]] = []
    driver = run_study(folder, study, "--address", cluster.address)
    next_s = began + 30
    while driver.poll() is None or driver.returncode == -signal.SIGKILL:
        if driver.poll() is not None:
            driver = run_study(folder, study, "--address", cluster.address)
        time.sleep(1)
        now = time.monotonic()
        ended = len(list((run / "trials").glob("*/students.npz")))
        memory.append((ended, resident_mib(driver.pid)))
        if now < next_s or now - began > seconds:
            continue
        next_s = now + draw.uniform(*EVERY_S)
        kind = draw.choices(list(kills), weights=[6, 2, 1])[0]
        if kind == "driver":
            driver.kill()
            driver.wait()
        elif kind == "node":
            cluster.remove_node(workers.pop(0), allow_graceful=False)
            workers.append(cluster.add_node(num_cpus=1, object_store_memory=10**8))
        else:
            running = [p for p in children(os.getpid()) if "ray::ImplicitFunc" in title(p)]
            if not running:
                continue
            with suppress(ProcessLookupError):
                os.kill(draw.choice(running), signal.SIGKILL)
        kills[kind] += 1
    spent = time.monotonic() - began
    cluster.shutdown()
    disturbed = replicates(run)
    undisturbed = folder / "undisturbed"
    (undisturbed / "store").mkdir(parents=True)
    code = run_study(undisturbed, study).wait()
    expected = replicates(undisturbed / "cache" / "studies" / "soak")
    steady = [mib for ended, mib in memory if ended > 50] or [mib for _, mib in memory]
    return {
        "seconds": round(spent),
        "exit": [driver.returncode, code],
        "kills": kills,
        "trials": len(disturbed),
        "lost_or_other_than_undisturbed": sum(
            disturbed.get(name) != one for name, one in expected.items()
        )
        + len(set(disturbed) - set(expected)),
        "driver_mib_after_50_trials": round(steady[0]),
        "driver_mib_at_most": round(max(steady)),
        "files_of_the_run": sum(1 for path in run.rglob("*") if path.is_file()),
        "files_undisturbed": sum(
            1 for path in (undisturbed / "cache/studies/soak").rglob("*") if path.is_file()
        ),
    }


if __name__ == "__main__":
    main()
