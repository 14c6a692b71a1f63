"""What one session's codes hold: the future, the truth, stimulus, behaviour and state."""

# Shape legend: T bins, B samples, D latent dimensions, M features, K true latents.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import welch

from rheobase.core.errors import DataError
from rheobase.measures.decode import decode
from rheobase.measures.probes import ridge_r2
from rheobase.measures.shares import clock_share, effective_rank
from rheobase.measures.transfer import pairs_of_states
from rheobase.shards.covariates import covariates_of, true_latents_of
from rheobase.shards.shard import TEST, TRAIN, Shard
from rheobase.shards.timeline import Timeline, timeline_of
from rheobase.shards.windows import presentation_starts, window_means, window_starts
from rheobase.teacher.baselines import COUNTS, TRUE, first_components

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = Mapping[str, npt.NDArray[np.floating[Any]]]
Row = dict[str, Any]

WINDOW_MS = 250.0
"""From a presentation's onset: an image of Visual Behavior lasts as long, and an omission would."""
NUM_TARGETS = 16
"""Principal components of the smoothed counts whose future every code predicts."""
SHARED = 0.5
"""States share a true latent of whose variance their names explain less than this."""
SPECTRUM_BINS = 512
"""Of Welch's windows: 0.2 Hz apart at 10 ms."""
ACCURACY, R2 = "accuracy above chance", "R²"


def evidence(shard: Shard, codes: Codes, horizons_ms: Sequence[float]) -> dict[str, Any]:
    """Return the tables of one session, with a column for each of its codes.

    Returns
    -------
    ``future_counts_r2``, ``true_latents_r2``, ``probes``, ``transfer`` and ``shares`` are lists
    of rows, or None without any; ``spectra`` holds lists of numbers by code; ``notes`` says why
    a number is missing.
    """
    line = timeline_of(shard)
    notes: list[str] = []
    tasks = list(_tasks(shard, codes, line, notes))
    return {
        "num_units": shard.num_units,
        "num_bins": shard.num_bins,
        "future_counts_r2": future_counts(codes, line, horizons_ms),
        "true_latents_r2": list(_truth(shard, codes, line, notes)) or None,
        "probes": [_probe(task, notes) for task in tasks],
        "transfer": list(_transfer([*tasks, *_shared_truth(shard, codes, line)], line, notes))
        or None,
        "shares": [
            {
                "measure": name,
                **{code: unless(notes, name, measure, x) for code, x in codes.items()},
            }
            for name, measure in (
                ("clock_share", lambda x: clock_share(x, line)),
                ("effective_rank", lambda x: effective_rank(x[line.test])),
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
    fits = timeline.train[now] | timeline.test[now]
    for other in (now - num_back, now + num_bins):
        for label in (timeline.segment, timeline.split, timeline.group):
            fits &= label[now] == label[other]
    return now[fits]


def future_counts(codes: Codes, line: Timeline, horizons_ms: Sequence[float]) -> list[Row]:
    """Return for each horizon the R² of the smoothed counts' leading components so far ahead."""
    targets = first_components(codes[COUNTS], line.train, NUM_TARGETS)
    rows = []
    for ms in sorted(horizons_ms):
        num_bins = round(ms / line.bin_ms)
        now = with_future(line, num_bins)
        labels, future = line.at(now), targets[now + num_bins]
        found = {name: float(ridge_r2(x[now], future, labels).mean()) for name, x in codes.items()}
        rows.append({"horizon_ms": num_bins * line.bin_ms, **found})
    return rows


def _truth(shard: Shard, codes: Codes, line: Timeline, notes: list[str]) -> Iterator[Row]:
    known = true_latents_of(shard)
    if known is None:
        notes.append("true_latents_r2: only a simulated recording knows its true latents")
        return
    names, true = known
    found = {code: ridge_r2(x, true, line) for code, x in codes.items() if code != TRUE}
    for index, name in enumerate(names):
        yield {"latent": name, **{code: float(r2[index]) for code, r2 in found.items()}}
    yield {"latent": "mean", **{code: float(r2.mean()) for code, r2 in found.items()}}


@dataclass(frozen=True, eq=False)
class Task:
    """Something to read out of every code.

    `value` (B,) holds classes for an accuracy, (B, K) numbers for an R²; `codes` (B, M) and
    `line` (B,) are of the same samples.
    """

    target: str
    score: str
    codes: Codes
    value: npt.NDArray[Any]
    line: Timeline

    def scored(self, code: str, train: Bools, test: Bools) -> tuple[float, float | None, int]:
        """Return the score of a code, what guessing gets, and the number of scored samples."""
        x = self.codes[code]
        if self.score == R2:
            found = ridge_r2(x, self.value, self.line, train=train, test=test)
            return float(found.mean()), None, int(test.sum())
        told = decode(x, self.value, self.line, train=train, test=test)
        return told.above_chance, told.chance, told.num_scored


def _tasks(shard: Shard, codes: Codes, line: Timeline, notes: list[str]) -> Iterator[Task]:
    """Return what the session's labels let a code be asked, and note what they do not."""
    num_bins = max(1, round(WINDOW_MS / line.bin_ms))

    def task(
        target: str,
        score: str,
        starts: npt.NDArray[np.int64],
        means: Codes,
        kept: Bools,
        value: npt.NDArray[Any],
    ) -> Task:
        some = {name: x[kept] for name, x in means.items()}
        return Task(target, score, some, value[kept], line.at(starts[kept]))

    shown = presentation_starts(line, num_bins)
    means = {name: window_means(x, shown, num_bins) for name, x in codes.items()}
    which = line.presentation[shown]
    image, omitted = shard.image[which], shard.omitted[which]
    yes = np.ones(len(shown), bool)
    if (image != "").any():
        seen = ~omitted & (image != "")
        yield task("image", ACCURACY, shown, means, seen, image)
        yield task("change", ACCURACY, shown, means, seen, shard.is_change[which])
        yield task("omission", ACCURACY, shown, means, yes, omitted)
    else:
        notes.append("image, change, omission: presentations name no image")
    if {"contrast_left", "contrast_right"} <= set(shard.labels):
        left, right = (shard.labels[f"contrast_{side}"][which] for side in ("left", "right"))
        yield task("stimulus_presence", ACCURACY, shown, means, yes, np.maximum(left, right) > 0)
        yield task("stimulus_side", ACCURACY, shown, means, left != right, right > left)

    beside = _side_by_side(line, num_bins)
    means = {name: window_means(x, beside, num_bins) for name, x in codes.items()}
    yes = np.ones(len(beside), bool)
    yield task("state", ACCURACY, beside, means, yes, line.state[beside])
    covariates = covariates_of(shard)
    for name in ("running", "pupil"):
        if name not in covariates:
            notes.append(f"{name}: it was not recorded")
            continue
        value = window_means(covariates[name], beside, num_bins)
        yield task(name, R2, beside, means, np.isfinite(value), value[:, None])


def _side_by_side(line: Timeline, num_bins: int) -> npt.NDArray[np.int64]:
    """Return the starts of windows that share no bin, of train and of test, rising."""
    found = []
    for split in (TRAIN, TEST):
        try:
            found.append(window_starts(line, split, num_bins, num_bins))
        except DataError:  # the scores say what is missing then
            continue
    return np.sort(np.concatenate([np.zeros(0, np.int64), *found]))


def _shared_truth(shard: Shard, codes: Codes, line: Timeline) -> Iterator[Task]:
    """Return the task of reading out the true latents that all states share, if any are known."""
    known = true_latents_of(shard)
    if known is None:
        return
    true = known[1].astype(np.float64)
    left = sum(
        ((true[line.state == state] - true[line.state == state].mean(axis=0)) ** 2).sum(axis=0)
        for state in np.unique(line.state)
    )
    shared = left / ((true - true.mean(axis=0)) ** 2).sum(axis=0) > 1 - SHARED
    others = {code: x for code, x in codes.items() if code != TRUE}
    yield Task("true_latents", R2, others, true[:, shared], line)


def _probe(task: Task, notes: list[str]) -> Row:
    row: Row = {"target": task.target, "score": task.score, "chance": None, "num_scored": None}
    for code in task.codes:
        row[code] = None
        try:
            row[code], row["chance"], row["num_scored"] = task.scored(
                code, task.line.train, task.line.test
            )
        except DataError as error:
            _note(notes, f"{task.target}: {error}")
    return row


def _transfer(tasks: Sequence[Task], line: Timeline, notes: list[str]) -> Iterator[Row]:
    """Return a row for each task and ordered pair of states; state itself cannot transfer."""
    try:
        pairs_of_states(line)
    except DataError as error:
        _note(notes, f"transfer: {error}")
        return
    tasks = [task for task in tasks if task.target != "state"]
    if not tasks:
        _note(notes, "transfer: nothing that both states share is known of this recording")
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
                    _note(notes, f"transfer of {task.target}, {where}: {error}")
            yield row


def _note(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)


def spectra(codes: Codes, line: Timeline) -> Row:
    """Return how the variance of the codes lies over dimensions and over frequencies.

    Returns
    -------
    ``eigenvalues`` by code: shares of the variance on test, falling. ``frequency_hz`` and
    ``power`` by code: Welch's estimate over stretches of the recording, the mean over
    dimensions, as shares of the variance a Hz. All units' counts are left out.
    """
    small = {name: x for name, x in codes.items() if name != COUNTS}
    lengths = np.bincount(line.segment)
    width = min(SPECTRUM_BINS, int(lengths.max()))
    ends = np.cumsum(lengths)
    eigenvalues, power = {}, {}
    frequency_hz = np.fft.rfftfreq(width, line.bin_ms / 1000)
    for name, x in small.items():
        values = np.linalg.eigvalsh(np.atleast_2d(np.cov(x[line.test], rowvar=False)))[::-1]
        total = values.clip(min=0).sum()
        eigenvalues[name] = [float(f"{v:.4g}") for v in values.clip(min=0) / (total or 1.0)]
        found = np.zeros(len(frequency_hz))
        for end, length in zip(ends, lengths, strict=True):
            if length >= width:
                part = x[end - length : end]
                found += welch(part, 1000 / line.bin_ms, nperseg=width, axis=0)[1].sum(axis=1)
        area = found.sum() * (frequency_hz[1] - frequency_hz[0])
        power[name] = [float(f"{v:.4g}") for v in found / (area or 1.0)]
    return {
        "eigenvalues": eigenvalues,
        "frequency_hz": [round(float(v), 4) for v in frequency_hz],
        "power": power,
    }
