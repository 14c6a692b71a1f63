"""Time and memory of checking a session of real size, beside one sort of its spikes.

PYTHONPATH=platform OMP_NUM_THREADS=1 python benchmarks/quality.py
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.quality.profile import isi_histograms
from rheobase.sessions.records.session import Intervals, Presentations, Session, Units
from rheobase.sessions.visual_behavior import ACTIVE_BLOCK, FLASH_S, PASSIVE_BLOCK, STRIDE_S

NUM_UNITS, NUM_SPIKES, DURATION_S = 2_000, 20_000_000, 9_400.0
NUM_FLASHES = 4_800


def session() -> Session:
    draw = np.random.default_rng(0)
    share = draw.lognormal(0, 1, NUM_UNITS)
    num = (share / share.sum() * NUM_SPIKES).astype(np.int64)
    spikes_s = np.concatenate([np.sort(draw.random(n)) * DURATION_S for n in num])
    start_s = np.concatenate([first + np.arange(NUM_FLASHES) * STRIDE_S for first in (30, 5000)])
    active = np.repeat([True, False], NUM_FLASHES)
    none = np.zeros(len(start_s), bool)
    return Session(
        session_id="generated",
        source="generated",
        data_digest="0" * 16,
        units=Units(
            np.arange(NUM_UNITS),
            np.full(NUM_UNITS, "VISp"),
            np.array([f"probe{'ABCDEF'[unit % 6]}" for unit in range(NUM_UNITS)]),
            {"firing_rate": num / DURATION_S, "presence_ratio": np.full(NUM_UNITS, 0.99)},
        ),
        spike_times_s=spikes_s,
        spike_offsets=np.concatenate([[0], np.cumsum(num)]),
        intervals=Intervals(
            np.array([30.0, 5000.0]),
            np.array([30.0, 5000.0]) + NUM_FLASHES * STRIDE_S,
            np.array(["active", "passive"]),
        ),
        presentations=Presentations(
            start_s=start_s,
            stop_s=start_s + FLASH_S,
            image=np.full(len(start_s), "a"),
            is_change=none,
            omitted=none,
            block=np.where(active, ACTIVE_BLOCK, PASSIVE_BLOCK),
            active=active,
            stride_s=STRIDE_S,
        ),
    )


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """Return the least CPU seconds of three calls, and the megabytes that one allocates."""
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        call()
        seconds.append(time.process_time() - begun)
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return min(seconds), peak / 1e6


def main() -> None:
    """Print the table."""
    made = session()
    sort_s, sort_mb = measured(lambda: np.sort(made.spike_times_s))
    rows = [("one sort of all spikes", sort_s, sort_mb)]
    rows.append(("every check", *measured(lambda: check_session(made))))
    rows.append(("inter-spike intervals, for the page", *measured(lambda: isi_histograms(made))))
    out = sys.stdout.write
    out(f"{NUM_UNITS} units, {made.num_spikes} spikes, {made.spike_times_s.nbytes / 1e6:.0f} MB\n")
    out("| what | CPU s | of a sort | MB beside the spikes |\n|---|---|---|---|\n")
    for what, seconds, megabytes in rows:
        out(f"| {what} | {seconds:.2f} | {seconds / sort_s:.2f} | {megabytes:.0f} |\n")


if __name__ == "__main__":
    main()
