"""What a session's labels let a linear readout tell: stimulus, behaviour and state."""

# Shape legend: B samples, M features.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.decode import decode
from rheobase.measures.probes import ridge_r2
from rheobase.sessions.records.series_names import SIGNALS, TAKEN
from rheobase.sessions.visual_behavior import FLASH_S
from rheobase.shards.covariates import TRUE, covariates_of
from rheobase.shards.shard import TRAIN, Shard
from rheobase.shards.timeline import Timeline
from rheobase.shards.windows import presentation_starts, window_means, window_starts

Bools = npt.NDArray[np.bool_]
Codes = Mapping[str, npt.NDArray[np.floating[Any]]]
Row = dict[str, Any]

WINDOW_MS = 1000 * FLASH_S
"""From a presentation's onset: an image of Visual Behavior lasts as long, and an omission would."""
ACCURACY, R2 = "accuracy above chance", "R²"
CONTRASTS = ("contrast_left", "contrast_right")
"""Labels of trials that are read as which side showed a stimulus, not by themselves."""
MOST_CLASSES = 10
"""A label of trials that has no more different values, all whole, names classes."""


@dataclass(frozen=True, eq=False)
class Task:
    """Something to read out of every code.

    Attributes
    ----------
    target
        What is read out, ``image`` for instance.
    score
        `ACCURACY` or `R2`.
    codes
        By name, (B, M) each.
    value
        (B,) classes for an accuracy, (B, K) numbers for an R².
    line
        Labels (B,) of the same samples.
    """

    target: str
    score: str
    codes: Codes
    value: npt.NDArray[Any]
    line: Timeline

    def scored(self, code: str, train: Bools, test: Bools) -> tuple[float, float | None, int]:
        """Return the score of a code, what guessing gets, and the number of scored samples.

        Parameters
        ----------
        code
            Its name.
        train, test
            (B,) samples to fit on and to score.

        Returns
        -------
        Accuracy above chance with the chance, or the mean R² over targets with None.

        Raises
        ------
        DataError
            As `decode` or `ridge_r2`.
        """
        x = self.codes[code]
        if self.score == R2:
            r2 = ridge_r2(x, self.value, self.line, train=train, test=test)
            return float(r2.mean()), None, int(test.sum())
        decoded = decode(x, self.value, self.line, train=train, test=test)
        return decoded.above_chance, decoded.chance, decoded.num_scored


def tasks_of(shard: Shard, codes: Codes, line: Timeline, notes: list[str]) -> Iterator[Task]:
    """Return what a session's labels let a linear readout tell from its codes.

    Parameters
    ----------
    shard
        The session.
    codes
        By name, (T, M) each.
    line
        Its labels (T,).
    notes
        What the labels do not allow is added here.

    Returns
    -------
    Tasks whose samples are windows of `WINDOW_MS`: those from the onsets of presentations for
    what is shown and for labels of trials, else side by side. A label and a time series of a
    user's own is a task of its name.
    """
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
    if set(CONTRASTS) <= set(shard.labels):
        left, right = (shard.labels[name][which] for name in CONTRASTS)
        yield task("stimulus_presence", ACCURACY, shown, means, yes, np.maximum(left, right) > 0)
        yield task("stimulus_side", ACCURACY, shown, means, left != right, right > left)
    for name, of_trials in shard.labels.items():
        if name not in CONTRASTS and name not in TAKEN:
            value = of_trials[which]
            known = np.isfinite(value)
            if _is_class(value[known]):
                yield task(name, ACCURACY, shown, means, known, value)
            else:
                yield task(name, R2, shown, means, known, value[:, None])

    beside = _side_by_side(line, num_bins)
    means = {name: window_means(x, beside, num_bins) for name, x in codes.items()}
    yes = np.ones(len(beside), bool)
    yield task("state", ACCURACY, beside, means, yes, line.state[beside])
    covariates = covariates_of(shard)
    notes += [f"{name}: it was not recorded" for name in SIGNALS if name not in covariates]
    recorded = [name for name in shard.covariate_names if not name.startswith(TRUE)]
    for name in sorted(recorded, key=lambda name: (name not in SIGNALS, name)):
        value = window_means(covariates[name], beside, num_bins)
        yield task(name, R2, beside, means, np.isfinite(value), value[:, None])


def probe(task: Task, notes: list[str]) -> Row:
    """Fit a probe, a linear decoder, to each code of a task.

    Parameters
    ----------
    task
        What to read out.
    notes
        Why a score is missing is added here, once.

    Returns
    -------
    ``target``, ``score``, ``chance``, ``num_scored``, and each code's score, None where it
    cannot be had.
    """
    row: Row = {"target": task.target, "score": task.score, "chance": None, "num_scored": None}
    for code in task.codes:
        row[code] = None
        try:
            row[code], row["chance"], row["num_scored"] = task.scored(
                code, task.line.train, task.line.scored
            )
        except DataError as error:
            note_once(notes, f"{task.target}: {error}")
    return row


def note_once(notes: list[str], note: str) -> None:
    """Add a note that is not yet there.

    Parameters
    ----------
    notes
        Changed in place.
    note
        One line.
    """
    if note not in notes:
        notes.append(note)


def _is_class(value: npt.NDArray[Any]) -> bool:
    """Tell whether numbers (B,) name classes."""
    different = np.unique(value)
    return len(different) <= MOST_CLASSES and bool((different == np.round(different)).all())


def _side_by_side(line: Timeline, num_bins: int) -> npt.NDArray[np.int64]:
    """Return the starts of windows that share no bin, of train and of what is scored, rising."""
    starts = []
    for split in (TRAIN, line.scored_split):
        try:
            starts.append(window_starts(line, split, num_bins, num_bins))
        except DataError:  # the scores say what is missing then
            continue
    return np.sort(np.concatenate([np.zeros(0, np.int64), *starts]))
