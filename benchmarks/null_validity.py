"""How often signals that share nothing exceed their nulls, for signals of every slowness.

PYTHONPATH=platform OMP_NUM_THREADS=1 python benchmarks/null_validity.py
"""

# Shape legend: T bins, M features, D dimensions.

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from rheobase.core.errors import DataError
from rheobase.core.seeds import generator
from rheobase.measures.cca import heldout_cca
from rheobase.measures.drift import null_drift
from rheobase.measures.memory import autocorrelation_time, judge_split
from rheobase.measures.null_sessions import session_draws
from rheobase.measures.nulls import NullRows, null_cca, shift_rows
from rheobase.shards.settings import SplitSettings
from rheobase.shards.shard import NONE, TEST, VALIDATION
from rheobase.shards.splits import draw_parts, with_gaps
from rheobase.shards.timeline import SEALED, Timeline

Floats = npt.NDArray[np.float64]
SESSION_S, NUM_FEATURES, NUM_DIMS = 1200.0, 16, 8
NUM_DRAWS = 100
OPEN, SEALED_TEST = True, False


class Row(NamedTuple):
    """Two signals that share nothing, or nothing but what time brings to both."""

    name: str
    student_s: float
    latents_s: float
    common: Callable[[Floats], Floats] | None = None
    bin_s: float = 0.5
    num_pairs: int = 400


ROWS = (
    Row("AR(1), 0.2 s", 0.2, 0.2, bin_s=0.25),
    Row("AR(1), 2 s", 2, 2),
    Row("AR(1), 10 s", 10, 10),
    Row("AR(1), 60 s", 60, 60),
    Row("AR(1), student 1 s, latents 60 s", 1, 60),
    Row("random walk", np.inf, np.inf),
    Row("1 s, and a common trend", 1, 1, lambda time_s: time_s),
    Row("1 s, and a common adaptation", 1, 1, lambda time_s: np.exp(-time_s / 60)),
    Row("1 s, and a common step of state", 1, 1, lambda time_s: 1.0 * (time_s >= SESSION_S / 2)),
)


def labels(bin_s: float, block_s: float, gap_s: float, seed: int, *, is_open: bool) -> Timeline:
    """Return those of two states of ten minutes, split as `rheobase bin` does."""
    num = round(SESSION_S / 2 / bin_s)
    groups, splits = [], []
    for state in (0, 1):
        length = round(block_s / bin_s)
        block = np.minimum(np.arange(num) // length, max(1, num // length) - 1)
        group = block + 10_000 * state
        part = draw_parts(np.unique(group), SplitSettings(seed=seed), "blocks", "", str(state))
        split = np.array([part[one] for one in group], np.int8)
        groups.append(group)
        splits.append(with_gaps(split, round(gap_s / bin_s)))
    split = np.concatenate(splits)
    none = np.full(2 * num, NONE, np.int32)
    segment = np.repeat([0, 1], num).astype(np.int32)
    return Timeline(
        kind="continuous",
        bin_ms=1000 * bin_s,
        time_s=np.arange(2 * num) * bin_s,
        segment=segment,
        split=split if is_open else np.where(split == TEST, np.int8(SEALED), split),
        group=np.concatenate(groups).astype(np.int32),
        state=np.array(["active", "passive"])[segment],
        presentation=none,
        phase=none,
        scored_split=TEST if is_open else VALIDATION,
    )


def signals(
    row: Row, seconds: float, width: int, random: np.random.Generator, num: int | None = None
) -> Floats:
    """Return AR(1) signals (T, width) or random walks, and what time adds to each by a weight."""
    num = round(SESSION_S / row.bin_s) if num is None else num
    steps = random.standard_normal((num, width))
    keep = np.exp(-row.bin_s / seconds)
    if keep < 1:
        steps[1:] *= np.sqrt(1 - keep**2)
    made = lfilter([1.0], [1.0, -keep], steps, axis=0)
    if row.common is not None:
        shared = row.common(np.arange(num) * row.bin_s)
        shared = (shared - shared.mean()) / shared.std()
        made += np.outer(shared, random.standard_normal(width))
    return made


def wrapped(timeline: Timeline, random: np.random.Generator, num_draws: int) -> NullRows:
    """Return shifts that wrap around the ends of segments, as this null was once drawn."""
    segments = np.split(np.arange(len(timeline)), timeline.borders)
    least = round(10_000 / timeline.bin_ms)
    shifts = random.integers(least, min(map(len, segments)) - least, num_draws, endpoint=True)
    rows = [np.concatenate([np.roll(one, -shift) for one in segments]) for shift in shifts]
    return NullRows(tuple(rows), np.ones(len(timeline), bool))


class Outcome(NamedTuple):
    """A pair's held-out CCA on the bins of a null, and the null's 95 % quantile."""

    own: float
    q95: float


def outcome(
    x: Floats,
    y: Floats,
    line: Timeline,
    shrinkage: float,
    null: NullRows,
    teachers: Floats | None = None,
) -> Outcome:
    """Return what a pair is judged by."""
    train, test = line.train & null.valid, line.scored & null.valid
    own = heldout_cca(x, y, line, shrinkage=shrinkage, train=train, test=test).mean
    draws = null_cca(x, y if teachers is None else teachers, line, null, shrinkage)
    return Outcome(own, float(np.quantile(draws, 0.95)))


def judged(row: Row, seed: int) -> dict[str, Any]:
    """Return, for one pair, what each column is the mean of."""
    random = generator(seed, "null validity", row.name)
    x = signals(row, row.student_s, NUM_FEATURES, random)
    y = signals(row, row.latents_s, NUM_DIMS, random)
    line = labels(row.bin_s, 5, 0.5, seed, is_open=OPEN)
    held = heldout_cca(x, y, line)
    shrinkage = held.fit.shrinkage
    found: dict[str, Any] = {"cca": held.mean}
    before = outcome(x, y, line, shrinkage, wrapped(line, random, NUM_DRAWS))
    found["wrapped"] = before.own > before.q95
    null = shift_rows(line, random, NUM_DRAWS)
    shift = outcome(x, y, line, shrinkage, null)
    found["shift"] = shift.own > shift.q95
    drift = null_drift(y, line, null.valid).cca
    found["drift"] = drift
    found["shift, drift"] = found["shift"] and drift is not None and shift.own > drift
    others = [(signals(row, row.latents_s, NUM_DIMS, random), line) for _ in range(8)]
    teachers, rows = session_draws(line, others, random, NUM_DRAWS)
    session = outcome(x, y, line, shrinkage, rows, teachers)
    found["session"] = session.own > session.q95
    searched = labels(row.bin_s, 5, 0.5, seed, is_open=SEALED_TEST)
    hidden = np.where(searched.sealed[:, None], np.nan, y)
    null = shift_rows(searched, random, NUM_DRAWS)
    in_search = outcome(x, hidden, searched, shrinkage, null)
    found["search"] = in_search.own > in_search.q95
    times = [autocorrelation_time(values, line) for values in (x, y)]
    found["time"] = np.median(times[1])
    judgement = judge_split(*times, block_s=5, gap_ms=500, recorded_s=SESSION_S / 2)
    found["noted"] = not judgement.holds
    try:
        ruled = labels(row.bin_s, judgement.block_s, judgement.gap_ms / 1000, seed, is_open=OPEN)
        held = heldout_cca(x, y, ruled)
        null = shift_rows(ruled, random, NUM_DRAWS)
        by_rule = outcome(x, y, ruled, held.fit.shrinkage, null)
        found["rule cca"] = held.mean
        found["rule"] = by_rule.own > by_rule.q95
    except DataError:
        found["rule"] = found["rule cca"] = None
    return found


NUM_TRIALS, TRIAL_BINS, FROM_TRIAL_TO_TRIAL = 240, 10, 30
TRIAL_ROWS = tuple(
    Row(name, time_s, time_s, bin_s=0.1)
    for name, time_s in (
        ("trials, AR(1), 1 s", 1),
        ("trials, AR(1), 10 s", 10),
        ("trials, AR(1), 60 s", 60),
        ("trials, random walk", np.inf),
    )
)


def permuted_trials(line: Timeline, random: np.random.Generator, num_draws: int) -> NullRows:
    """Return trials in random order, as the nulls had them before."""
    bins = np.arange(len(line)).reshape(NUM_TRIALS, TRIAL_BINS)
    rows = tuple(bins[random.permutation(NUM_TRIALS)].ravel() for _ in range(num_draws))
    return NullRows(rows, np.ones(len(line), bool))


def judged_trials(row: Row, seed: int) -> dict[str, Any]:
    """Return the same of trials of a second, three seconds from start to start."""
    random = generator(seed, "null validity", row.name)
    number = np.repeat(np.arange(NUM_TRIALS), TRIAL_BINS)
    place = np.tile(np.arange(TRIAL_BINS), NUM_TRIALS)
    bins = number * FROM_TRIAL_TO_TRIAL + place
    x, y = (
        signals(row, row.latents_s, width, random, NUM_TRIALS * FROM_TRIAL_TO_TRIAL)[bins]
        for width in (NUM_FEATURES, NUM_DIMS)
    )
    part = draw_parts(range(NUM_TRIALS), SplitSettings(seed=seed), "trials", "", "trials")
    line = Timeline(
        kind="trials",
        bin_ms=1000 * row.bin_s,
        time_s=bins * row.bin_s,
        segment=number.astype(np.int32),
        split=np.array([part[one] for one in number], np.int8),
        group=number.astype(np.int32),
        state=np.full(len(bins), ""),
        presentation=number.astype(np.int32),
        phase=place.astype(np.int32),
    )
    held = heldout_cca(x, y, line)
    found: dict[str, Any] = {"cca": held.mean}
    for name, draw in (("permuted", permuted_trials), ("shift", shift_rows)):
        pair = outcome(x, y, line, held.fit.shrinkage, draw(line, random, NUM_DRAWS))
        found[name] = pair.own > pair.q95
    drift = null_drift(y, line).cca
    found["drift"] = drift
    found["shift, drift"] = found["shift"] and drift is not None and held.mean > drift
    return found


COLUMNS = (
    ("time", "read autocorrelation time, s"),
    ("cca", "held-out CCA"),
    ("wrapped", "above wrapped shifts"),
    ("shift", "above `null_shift`"),
    ("search", "the same, test sealed"),
    ("session", "above `null_session`"),
    ("drift", "`null_drift`"),
    ("shift, drift", "above `null_shift` and `null_drift`"),
    ("noted", "noted: blocks too short"),
    ("rule cca", "held-out CCA, blocks by the rule"),
    ("rule", "above `null_shift`, blocks by the rule"),
)


TRIAL_COLUMNS = (
    ("cca", "held-out CCA"),
    ("permuted", "above permuted trials"),
    ("shift", "above `null_shift`"),
    ("drift", "`null_drift`"),
    ("shift, drift", "above `null_shift` and `null_drift`"),
)


def print_table(
    rows: Sequence[Row],
    columns: Sequence[tuple[str, str]],
    judge: Callable[[Row, int], dict[str, Any]],
) -> None:
    """Print the mean of every column over the pairs of each row."""
    out = sys.stdout.write
    out("| signals | pairs | " + " | ".join(title for _, title in columns) + " |\n")
    out("|---" * (len(columns) + 2) + "|\n")
    for row in rows:
        found = defaultdict(list)
        for seed in range(row.num_pairs):
            for name, value in judge(row, seed).items():
                if value is not None:
                    found[name].append(value)
        cells = []
        for name, _ in columns:
            few = len(found[name]) < row.num_pairs / 2
            cells.append("too short" if few else f"{np.mean(found[name]):.2f}")
        out(f"| {row.name} | {row.num_pairs} | " + " | ".join(cells) + " |\n")
        sys.stdout.flush()


def main() -> None:
    """Print both tables, or those of `continuous` or `trials` alone."""
    which = sys.argv[1:]
    if not which or "continuous" in which:
        print_table(ROWS, COLUMNS, judged)
        sys.stdout.write("\n")
    if not which or "trials" in which:
        print_table(TRIAL_ROWS, TRIAL_COLUMNS, judged_trials)


if __name__ == "__main__":
    main()
