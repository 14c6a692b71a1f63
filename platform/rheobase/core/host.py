"""The class of machine that made a number: what floating point may depend on beside the code."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

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


def _cpu_model() -> str | None:
    if not CPU_INFO.exists():  # not Linux
        return None
    lines = CPU_INFO.read_text().splitlines()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, None)
