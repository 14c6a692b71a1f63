"""Which machine this is, and of which class: what floating point may depend on beside the code."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROCESS_IDS = Path("/proc/self/ns/pid")
CPU_INFO = Path("/proc/cpuinfo")
CPU_QUOTAS = (
    Path("/sys/fs/cgroup/cpu.max"),
    Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
)
"""Where a container's share of CPUs stands, of both versions of control groups."""
SLURM_CPUS = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
GPUS = Path("/proc/driver/nvidia/gpus")


def usable_cpus() -> int:
    """Return how many CPUs this process may use, 1 at least.

    The least of what the machine has, what the process is bound to (``taskset``), what SLURM gave
    its task, and what a container may take.
    """
    counts = [os.cpu_count() or 1]
    with suppress(AttributeError):  # not on macOS
        counts.append(len(os.sched_getaffinity(0)))
    given = next((os.environ[name] for name in SLURM_CPUS if name in os.environ), "")
    if given.isdigit():
        counts.append(int(given))
    for path in CPU_QUOTAS:
        with suppress(OSError, ValueError, IndexError):
            words = path.read_text().split()
            if len(words) == 1:
                words.append((path.parent / "cpu.cfs_period_us").read_text())
            if float(words[0]) > 0:
                counts.append(math.ceil(float(words[0]) / float(words[1])))
    return max(1, min(counts))


def visible_gpus() -> int:
    """Return how many GPUs this process sees, without loading what would use them."""
    there = len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return there
    return min(there, len([one for one in named.split(",") if one.strip() not in ("", "-1")]))


def host_class() -> Mapping[str, str | int]:
    """Return operating system, architecture, processor model and number of logical CPUs.

    Never the machine's name: two of one class give the same numbers.

    Examples
    --------
    >>> sorted(host_class())
    ['cpu', 'logical_cpus', 'machine', 'system']
    """
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": _cpu_model() or platform.processor() or "unknown",
        "logical_cpus": os.cpu_count() or 0,
    }


@dataclass(frozen=True)
class Host:
    """What tells this machine from others that see the same files; for locks, never for results.

    Attributes
    ----------
    name
        For people.
    kernel
        Of one start of one machine: its processes share the system's locks.
    processes
        Of a container, or of all that is in none: its processes see each other's ids.
    """

    name: str
    kernel: str
    processes: str


@cache
def this_host() -> Host:
    """Return the host of this process."""
    name = platform.node()
    kernel = BOOT_ID.read_text().strip() if BOOT_ID.exists() else name
    inode = PROCESS_IDS.stat().st_ino if PROCESS_IDS.exists() else 0
    return Host(name, kernel, f"{kernel}/{inode}")


def _cpu_model() -> str | None:
    if not CPU_INFO.exists():  # not Linux
        return None
    lines = CPU_INFO.read_text().splitlines()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, None)
