"""Which machine this is, and of which class: what floating point may depend on beside the code."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROCESS_IDS = Path("/proc/self/ns/pid")
CPU_INFO = Path("/proc/cpuinfo")


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
