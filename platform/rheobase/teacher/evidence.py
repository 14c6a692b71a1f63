"""What one session's codes hold: the future, the truth, stimulus, behaviour and state."""

# Shape legend: T bins, B samples, D latent dimensions, M features, K true latents.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import welch

from rheobase.core.errors import DataError
from rheobase.measures.probes import ridge_r2
from rheobase.measures.shares import clock_share, effective_rank
from rheobase.measures.tasks import R2, Codes, Row, Task, note_once, probe, tasks_of
from rheobase.measures.transfer import pairs_of_states
from rheobase.shards.covariates import true_latents_of
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import Timeline, timeline_of
from rheobase.teacher.baselines import COUNTS, TRUE, first_components
from rheobase.teacher.state_evidence import (
    cross_state,
    shared_by_states,
    state_geometry,
    with_ceiling,
)

Floats = npt.NDArray[np.float64]

NUM_TARGETS = 16
"""Principal components of the smoothed counts whose future every code predicts."""
SPECTRUM_BINS = 512
"""Of Welch's windows: 0.2 Hz apart at 10 ms."""


def evidence(shard: Shard, codes: Codes, horizons_ms: Sequence[float]) -> dict[str, Any]:
    """Return the tables of one session, with a column for each of its codes.

    Returns
    -------
    ``future_counts_r2``, ``true_latents_r2``, ``cross_state``, ``state_geometry``, ``probes``,
    ``transfer`` and ``shares`` are lists of rows, or None without any; ``spectra`` holds lists of
    numbers by code; ``notes`` says why a number is missing.
    """
    line = timeline_of(shard)
    notes: list[str] = []
    tasks = list(tasks_of(shard, codes, line, notes))
    truth, across = _truth(shard, codes, line, notes)
    return {
        "num_units": shard.num_units,
        "num_bins": shard.num_bins,
        "future_counts_r2": future_count_prediction(codes, line, horizons_ms),
        "true_latents_r2": truth,
        "probes": [probe(task, notes) for task in tasks],
        "cross_state": across,
        "state_geometry": list(state_geometry(shard, codes, line, notes)) or None,
        "transfer": list(_transfer([*tasks, *_shared_truth(shard, codes, line)], line, notes))
        or None,
        "shares": [
            {
                "measure": name,
                **{code: unless(notes, name, measure, x) for code, x in codes.items()},
            }
            for name, measure in (
                ("clock_share", lambda x: clock_share(x, line)),
                ("effective_rank", lambda x: effective_rank(x[line.scored])),
            )
        ],
        "spectra": spectra(codes, line),
        "notes": notes,
    }


def unless(notes: list[str], name: str, measure: Callable[..., Any], *given: Any) -> Any:
    """Return a measure as a float, or None and a note of why the data cannot give it."""
    try:
        return float(measure(*given))
    except DataError as error:
        if (note := f"{name}: {error}") not in notes:
            notes.append(note)
        return None


def with_future(timeline: Timeline, num_bins: int, num_back: int = 0) -> npt.NDArray[np.int64]:
    """Return the bins whose past and future lie in their own segment, split and group, (B,)."""
    now = np.arange(num_back, len(timeline) - num_bins)
    fits = timeline.train[now] | timeline.scored[now]
    for other in (now - num_back, now + num_bins):
        for label in (timeline.segment, timeline.split, timeline.group):
            fits &= label[now] == label[other]
    return now[fits]


def future_count_prediction(
    codes: Codes, line: Timeline, horizons_ms: Sequence[float]
) -> list[Row]:
    """Return for each horizon the R² of the smoothed counts' leading components so far ahead."""
    targets = first_components(codes[COUNTS], line.train, NUM_TARGETS)
    rows = []
    for ms in sorted(horizons_ms):
        num_bins = round(ms / line.bin_ms)
        now = with_future(line, num_bins)
        labels, future = line.at(now), targets[now + num_bins]
        r2 = {name: float(ridge_r2(x[now], future, labels).mean()) for name, x in codes.items()}
        rows.append({"horizon_ms": num_bins * line.bin_ms, **r2})
    return rows


def _truth(
    shard: Shard, codes: Codes, line: Timeline, notes: list[str]
) -> tuple[list[Row] | None, list[Row] | None]:
    """Return what every code and the ceiling tell of the true latents, and across states."""
    known = true_latents_of(shard)
    if known is None:
        notes.append("true_latents_r2: only a simulated recording knows its true latents")
        return None, None
    names, true = known
    given = with_ceiling(shard, codes)
    of_codes = {code: ridge_r2(x, true, line) for code, x in given.items()}
    rows: list[Row] = [
        {"latent": name, **{code: float(r2[index]) for code, r2 in of_codes.items()}}
        for index, name in enumerate(names)
    ]
    rows.append({"latent": "mean", **{code: float(r2.mean()) for code, r2 in of_codes.items()}})
    return rows, list(cross_state(names, true, given, line)) or None


def _shared_truth(shard: Shard, codes: Codes, line: Timeline) -> Iterator[Task]:
    """Return the task of reading out the true latents that all states share, if any are known."""
    known = true_latents_of(shard)
    if known is None:
        return
    true = known[1].astype(np.float64)
    shared = shared_by_states(true, line)
    others = {code: x for code, x in codes.items() if code != TRUE}
    yield Task("true_latents", R2, others, true[:, shared], line)


def _transfer(tasks: Sequence[Task], line: Timeline, notes: list[str]) -> Iterator[Row]:
    """Return a row for each task and ordered pair of states; state itself cannot transfer."""
    try:
        pairs_of_states(line)
    except DataError as error:
        note_once(notes, f"transfer: {error}")
        return
    tasks = [task for task in tasks if task.target != "state"]
    if not tasks:
        note_once(notes, "transfer: nothing that both states share is known of this recording")
    for task in tasks:
        for pair in pairs_of_states(task.line):
            row: Row = {
                "target": task.target,
                "score": task.score,
                "fitted": pair.fitted,
                "tested": pair.tested,
            }
            for code in task.codes:
                row[code] = None
                try:
                    row[code] = task.scored(code, pair.train, pair.test)[0]
                except DataError as error:
                    where = f"{pair.fitted} to {pair.tested}"
                    note_once(notes, f"transfer of {task.target}, {where}: {error}")
            yield row


def spectra(codes: Codes, line: Timeline) -> Row:
    """Return how the variance of the codes lies over dimensions and over frequencies.

    Returns
    -------
    ``eigenvalues`` by code: shares of the variance on validation, falling. ``frequency_hz`` and
    ``power`` by code: Welch's estimate over stretches of the recording, the mean over
    dimensions, as shares of the variance a Hz. ``onset_hz`` of presentations, None where they have
    no period. All units' counts are left out.
    """
    small = {name: x for name, x in codes.items() if name != COUNTS}
    lengths = np.bincount(line.segment)
    width = min(SPECTRUM_BINS, int(lengths.max()))
    ends = np.cumsum(lengths)
    eigenvalues, power = {}, {}
    frequency_hz = np.fft.rfftfreq(width, line.bin_ms / 1000)
    for name, x in small.items():
        values = np.linalg.eigvalsh(np.atleast_2d(np.cov(x[line.scored], rowvar=False)))[::-1]
        total = values.clip(min=0).sum()
        eigenvalues[name] = [float(f"{v:.4g}") for v in values.clip(min=0) / (total or 1.0)]
        spectrum = np.zeros(len(frequency_hz))
        for end, length in zip(ends, lengths, strict=True):
            if length >= width:
                part = x[end - length : end]
                spectrum += welch(part, 1000 / line.bin_ms, nperseg=width, axis=0)[1].sum(axis=1)
        area = spectrum.sum() * (frequency_hz[1] - frequency_hz[0])
        power[name] = [float(f"{v:.4g}") for v in spectrum / (area or 1.0)]
    return {
        "eigenvalues": eigenvalues,
        "frequency_hz": [round(float(v), 4) for v in frequency_hz],
        "power": power,
        "onset_hz": None if line.period_s is None else round(1 / line.period_s, 4),
    }
