"""How many networks of a population the memory has room for at once."""

# Shape legend: T bins, R replicates, B windows, N units, M neurons.

from __future__ import annotations

import ctypes
import math
from contextlib import suppress
from itertools import pairwise

from rheobase.student.settings import StudentSettings

# Half of the 2 GB a core that small clusters and laptops have; torch and a session's arrays need
# the other half. Fixed, for what is free at one moment is shared by workers that start together.
MEMORY_BYTES = 1 << 30
FLOAT_BYTES = 4
SNNTORCH_ACTIVITY = 24  # as NeuronKind.num_activity, of snntorch's loop, whose bins autograd keeps
NUM_INPUT = 3  # arrays of T x B x N: rows of counts, as floats, transposed
NUM_WEIGHTS = 6  # weights, gradients, two moments, what they change by, a copy at a report

# From malloc.h: what is freed at the heap's end goes back to the system above the first, and what
# is larger than the second at once; the third is how many heaps threads share.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """Have the C library keep what a step frees for the next one, where it is glibc.

    Otherwise the system maps and clears a step's large arrays anew each time, which takes a tenth
    of the time of sixteen packed networks of 128 neurons.
    """
    with suppress(AttributeError, OSError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_TRIM_THRESHOLD, MEMORY_BYTES)
        set_option(M_MMAP_THRESHOLD, MEMORY_BYTES)
        set_option(M_ARENA_MAX, 1)


def step_bytes(settings: StudentSettings, num_units: int, num_bins: int) -> int:
    """Return an estimate of what one replicate's training step holds in memory at its peak.

    Parameters
    ----------
    settings
        Of the network.
    num_units
        N, the units that it is fed.
    num_bins
        T, the bins of a training window.
    """
    neurons, kind = settings.num_neurons, settings.kind
    is_plain = settings.backend == "snntorch" and kind.spikes
    num_activity = SNNTORCH_ACTIVITY if is_plain else kind.num_activity
    activity = num_bins * settings.batch_windows * neurons * num_activity
    fed = num_bins * settings.batch_windows * num_units * NUM_INPUT
    weights = (num_units + neurons + 1) * neurons * kind.num_gates * NUM_WEIGHTS
    return FLOAT_BYTES * (activity + fed + weights)


def chunks(num_replicates: int, most: int) -> list[range]:
    """Return runs of at most `most` replicates, of about equal number.

    Examples
    --------
    >>> chunks(7, most=3)
    [range(0, 2), range(2, 5), range(5, 7)]
    """
    num = math.ceil(num_replicates / most)
    borders = [round(num_replicates * i / num) for i in range(num + 1)]
    return [range(start, end) for start, end in pairwise(borders)]
