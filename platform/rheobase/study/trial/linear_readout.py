"""The best linear readout of past counts: which filters and lags it sees is chosen inside train."""

# Shape legend: T bins, B samples, N units, F filters, L lags, M features, D teacher dimensions.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from scipy.signal import lfilter

from rheobase.core.errors import DataError
from rheobase.measures.cca_moments import fold_scores
from rheobase.measures.moments import CrossMoments, moments_of
from rheobase.measures.probes import folds
from rheobase.shards.timeline import Timeline
from rheobase.student.lif import membrane_decay
from rheobase.teacher.features import MEMORY, silent_variance
from rheobase.teacher.sizes import MAX_COMPONENTS

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]

MOST_BINS = 32_768
"""Train bins, evenly spaced, on which sets are compared; neighbours hold nearly the same."""
CHUNK_BINS = 8_192
READOUT_MS = 80.0
BANK_MS = (20.0, 40.0, 80.0, 160.0, 320.0)
SHORT_MS, SHORT_LAGS_MS = 20.0, (0.0, 20.0, 40.0, 80.0, 160.0, 240.0)
TEACHER_LAGS_MS = (0.0, 80.0, 240.0)
LEVEL = 1e-9  # scores that differ by less are level: the last digits depend on the order of sums
PERFECT = 1 - 1e-6
"""Score at which no larger set is tried: there is nothing left to tell."""


@dataclass(frozen=True)
class FeatureSet:
    """Causal exponential filters of each unit's counts, each seen at every lag."""

    filters_ms: tuple[float, ...]
    lags_ms: tuple[float, ...] = (0.0,)

    def __str__(self) -> str:
        """Say what it is made of."""
        filters = (
            f"{'filter' if len(self.filters_ms) == 1 else 'filters'} {_listed(self.filters_ms)}"
        )
        return filters if self.lags_ms == (0.0,) else f"{filters} at lags {_listed(self.lags_ms)}"

    @property
    def size(self) -> int:
        """Features of a unit, F * L."""
        return len(self.filters_ms) * len(self.lags_ms)


def _listed(values_ms: Sequence[float]) -> str:
    return f"{', '.join(f'{value:g}' for value in values_ms)} ms"


def feature_sets(filters_ms: Sequence[float]) -> tuple[FeatureSet, ...]:
    """Return the sets to choose from, the smallest first.

    Parameters
    ----------
    filters_ms
        Of the teacher: whatever it makes linearly of these, one of the sets can tell.
    """
    own = tuple(filters_ms)
    sets = (
        FeatureSet((READOUT_MS,)),
        FeatureSet(own),
        FeatureSet(BANK_MS),
        FeatureSet((SHORT_MS,), SHORT_LAGS_MS),
        FeatureSet(own, TEACHER_LAGS_MS),
    )
    return tuple(sorted(dict.fromkeys(sets), key=lambda one: one.size))


@dataclass(frozen=True, eq=False)
class LinearReadout:
    """The features from which a linear map reads the latents best, as train tells.

    Attributes
    ----------
    features
        The chosen set.
    mean, scale
        (F * L * N,) of its features on train.
    components
        (F * L * N, M) principal axes of the standardised features; None where the set is narrow
        enough to be seen whole.
    scores
        Mean CCA over folds inside train of every set that was compared, by its name.
    """

    features: FeatureSet
    mean: Floats
    scale: Floats
    components: Floats | None
    scores: Mapping[str, float]

    @property
    def name(self) -> str:
        """What the chosen set is made of."""
        return str(self.features)

    def of(self, counts: Counts, timeline: Timeline) -> Features:
        """Return the features of a session.

        Parameters
        ----------
        counts
            (T, N) in the order of the timeline.
        timeline
            Labels (T,); filters are at rest at the start of every segment.

        Returns
        -------
        (T, M) float32; bin t of them is made of bins <= t of its own segment.
        """
        everything = np.arange(len(timeline))
        return self._seen(_made(counts, timeline, self.features, everything), len(timeline))

    def _seen(self, chunks: Iterator[Features], num: int) -> Features:
        width = len(self.mean) if self.components is None else self.components.shape[1]
        seen = np.empty((num, width), np.float32)
        begin = 0
        for chunk in chunks:
            standard = (chunk - self.mean) / self.scale
            rows = standard if self.components is None else standard @ self.components
            seen[begin : begin + len(chunk)] = rows
            begin += len(chunk)
        return seen


def choose_linear_readout(
    counts: Counts,
    latents: npt.NDArray[np.floating],
    timeline: Timeline,
    filters_ms: Sequence[float],
) -> LinearReadout:
    r"""Return the readout whose features tell the latents best over folds inside train.

    Parameters
    ----------
    counts
        (T, N) in the order of the timeline.
    latents
        (T, D) of the teacher; those of train bins alone are read.
    timeline
        Labels (T,).
    filters_ms
        Time constants of the teacher's filters.

    Returns
    -------
    The best of `feature_sets`; of those whose scores are level, the smallest.

    Raises
    ------
    DataError
        Train has fewer than two groups, a latent that is not finite, or is a function of others.

    Notes
    -----
    A set's score is the mean held-out CCA over folds of whole groups of train, at the shrinkage
    that is best for it over the same folds (`measures.cca_moments.fold_scores`). Features are
    standardised, so that shrinkage treats units and filters alike. Of a set of more than
    `MAX_COMPONENTS`, as many as a teacher's read-in keeps, the leading principal components are
    taken, which no latent has a part in. Sets are compared on at most `MOST_BINS` train bins,
    evenly spaced.

    References
    ----------
    Hotelling 1936, *Relations between two sets of variates*; Stone 1974, *Cross-validatory choice
    and assessment of statistical predictions*.
    """
    train = np.flatnonzero(timeline.train)
    rows = train[:: max(1, -(-len(train) // MOST_BINS))]
    fold = folds(timeline.group[rows])
    y = np.asarray(latents[rows], np.float64)
    if not np.isfinite(y).all():
        raise DataError(
            "every latent of train must be finite to choose the linear readout, but one is not; "
            "train the teacher again"
        )
    best: LinearReadout | None = None
    scores: dict[str, float] = {}
    for features in feature_sets(filters_ms):
        # As many features as samples would fit anything: a fold's fit has fewer.
        room = len(rows) - int(np.bincount(fold).max()) - y.shape[1] - 2
        readout, x = _prepared(counts, timeline, features, rows, min(MAX_COMPONENTS, room))
        score = float(fold_scores(_by_fold(x, y, fold)).max()) / (int(fold.max()) + 1)
        if best is None or score > scores[best.name] + LEVEL:
            best = readout
        scores[readout.name] = score
        if score >= PERFECT:
            break
    assert best is not None
    return LinearReadout(best.features, best.mean, best.scale, best.components, scores)


def _prepared(
    counts: Counts, timeline: Timeline, features: FeatureSet, rows: npt.NDArray[np.int64], room: int
) -> tuple[LinearReadout, Features]:
    """Return a readout fitted to the features of some bins (B,), and what it sees there (B, M)."""
    width = features.size * counts.shape[1]
    total, squares = np.zeros(width), np.zeros(width)
    products = np.zeros((width, width)) if width > room else None
    for chunk in _made(counts, timeline, features, rows):
        total += chunk.sum(axis=0, dtype=np.float64)
        squares += np.square(chunk, dtype=np.float64).sum(axis=0)
        if products is not None:
            wide = chunk.astype(np.float64)
            products += wide.T @ wide
    mean = total / len(rows)
    variance = squares / len(rows) - mean**2
    # What is left in the filter of a unit that is silent in train would blow up elsewhere.
    num_each = len(features.lags_ms) * counts.shape[1]
    silent = silent_variance(features.filters_ms, timeline.bin_ms, len(rows), num_each)
    varies = variance > np.maximum(1e-12 * mean**2, silent)
    scale = np.where(varies, np.sqrt(variance.clip(min=0)), np.inf)
    components = None
    if products is not None:
        correlation = (products / len(rows) - np.outer(mean, mean)) / np.outer(scale, scale)
        _, axes = eigh(correlation, subset_by_index=(width - room, width - 1), overwrite_a=True)
        components = np.ascontiguousarray(axes[:, ::-1])
    readout = LinearReadout(features, mean, scale, components, {})
    return readout, readout._seen(_made(counts, timeline, features, rows), len(rows))


def _by_fold(x: Features, y: Floats, fold: npt.NDArray[np.int64]) -> list[CrossMoments]:
    return [moments_of(x[fold == one], y[fold == one]) for one in range(int(fold.max()) + 1)]


def _made(
    counts: Counts, timeline: Timeline, features: FeatureSet, rows: npt.NDArray[np.int64]
) -> Iterator[Features]:
    """Yield the features (B, F * L * N) of some bins, in rising order, a chunk at a time."""
    lags = [round(ms / timeline.bin_ms) for ms in features.lags_ms]
    forgotten = int(np.ceil(MEMORY * max(features.filters_ms) / timeline.bin_ms)) + max(lags)
    num_units = counts.shape[1]
    begins = np.append(0, timeline.borders)
    ends = np.append(timeline.borders, len(timeline))
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        for first in range(begin, end, CHUNK_BINS):
            last = min(first + CHUNK_BINS, end)
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
            if not len(wanted):
                continue
            known = max(begin, first - forgotten)
            given = counts[known:last].astype(np.float64)
            chunk = np.zeros((len(wanted), features.size, num_units), np.float32)
            for index, tau_ms in enumerate(features.filters_ms):
                decay = membrane_decay(timeline.bin_ms, tau_ms)
                made = lfilter([1 - decay], [1.0, -decay], given, axis=0)
                for place, lag in enumerate(lags):
                    at = wanted - known - lag
                    # Before its segment began a unit is at rest.
                    there = at >= 0
                    chunk[there, index * len(lags) + place] = made[at[there]]
            yield chunk.reshape(len(wanted), -1)
