"""How much memory this process may still take, asked before something large is made."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

from rheobase.core.errors import DataError

MEMORY_INFO, OWN_MEMORY = Path("/proc/meminfo"), Path("/proc/self/statm")
CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where a container's limit stands, of both versions of control groups."""
NEVER_REFUSED = 2**28
"""Bytes that are not worth asking for."""


def free_bytes() -> float:
    """Return the bytes that this process may still take; infinite where the system does not say.

    The least of what the machine has free, what the process's own limit leaves (``ulimit -v``),
    and a container's limit.
    """
    left = [float("inf")]
    with suppress(OSError, ValueError, StopIteration):
        lines = MEMORY_INFO.read_text().splitlines()
        left.append(1024.0 * int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]))
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        with suppress(OSError, ValueError):
            left.append(limit - int(OWN_MEMORY.read_text().split()[0]) * resource.getpagesize())
    for most in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):
            left.append(float(most.read_text()))
    return max(0.0, min(left))


def refuse_beyond_memory(num_bytes: float, what: str, do: str) -> None:
    """Refuse to make what does not fit into memory.

    Parameters
    ----------
    num_bytes
        What it would take.
    what
        What would be made, and of what.
    do
        What the user can do.

    Raises
    ------
    DataError
        It is more than `free_bytes`.
    """
    if num_bytes <= NEVER_REFUSED:
        return
    free = free_bytes()
    if num_bytes > free:
        raise DataError(
            f"{what} must fit into memory, but takes {num_bytes / 1e9:.3g} GB and "
            f"{free / 1e9:.3g} GB are free; {do}"
        )
