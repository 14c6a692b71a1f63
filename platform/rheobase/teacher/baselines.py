"""The codes that a teacher's latents are held against, of one session each."""

# Shape legend: T bins, N units, D latent dimensions, M features.

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.shards.covariates import true_latents_of
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import timeline_of
from rheobase.teacher.axes import factor_axes, principal_axes
from rheobase.teacher.closed_forms import closed_form_teacher
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.features import SMOOTH_MS, filtered_counts, silent_variance
from rheobase.teacher.moments import RunningMoments
from rheobase.teacher.start import start_teacher

Floats = npt.NDArray[np.float64]
Code = npt.NDArray[np.float32]
TEACHER, CVA, RANK, PCA, FACTORS, COUNTS, UNTRAINED, TRUE = (
    "teacher",
    "cva",
    "reduced_rank",
    "pca",
    "factor_analysis",
    "smoothed_counts",
    "untrained_encoder",
    "true_latents",
)
CODES = (TEACHER, CVA, RANK, PCA, FACTORS, COUNTS, UNTRAINED, TRUE)
CLOSED_FORMS = (CVA, RANK, PCA, FACTORS)
"""Codes of as many dimensions as the teacher's that linear algebra gives in seconds."""
CHUNK_BINS = 32_768  # bounds the memory of float64 copies


def codes_of(teacher: Teacher, shard: Shard, latents: Code) -> dict[str, Code]:
    """Return a session's teacher latents and what stands beside them, (T, M) each.

    ``teacher``: `latents` (T, D). ``cva`` and ``reduced_rank``: closed forms of the teacher's
    filters and horizons (`closed_form_teacher`), D dimensions. ``smoothed_counts``: the counts of
    all units through a causal exponential of `SMOOTH_MS`, each of variance 1 on train. ``pca`` and
    ``factor_analysis``: D dimensions of those, fitted on train. ``untrained_encoder``: the latents
    of a teacher of the same settings before its first step. ``true_latents``: those a simulation
    was made from; real recordings have none.
    """
    counts = smoothed_count_code(shard)
    train = timeline_of(shard).train
    centre, covariance = _moments(counts, train)
    dims = latents.shape[1]
    codes = {
        TEACHER: latents,
        **{kind: closed_form_latents(teacher, shard, kind, dims) for kind in (CVA, RANK)},
        PCA: _projected(counts, centre, principal_axes(covariance, dims)),
        FACTORS: _projected(counts, centre, factor_axes(covariance, dims)),
        COUNTS: counts,
        UNTRAINED: untrained_latents(teacher, shard),
    }
    true = true_latents_of(shard)
    return codes if true is None else {**codes, TRUE: true[1]}


def smoothed_count_code(shard: Shard) -> Code:
    """Return each unit's smoothed counts (T, N), of variance 1 on train."""
    counts, train = filtered_counts(shard, (SMOOTH_MS,)), timeline_of(shard).train
    variance = counts[train].var(axis=0)
    silent = silent_variance((SMOOTH_MS,), shard.bin_ms, int(train.sum()), shard.num_units)
    counts /= np.where(variance > silent, np.sqrt(variance), 1.0).astype(np.float32)
    return counts


def closed_form_latents(teacher: Teacher, shard: Shard, kind: str, dims: int) -> Code:
    """Return a session's latents (T, D) of a closed form with a teacher's filters and horizons."""
    changed = {"kind": kind, "latent_dim": dims, "encoder": "linear", "views": "none"}
    settings = teacher.settings.model_copy(update=changed)
    return encode(closed_form_teacher([shard], settings), shard)


def untrained_latents(teacher: Teacher, shard: Shard) -> Code:
    """Return a session's latents (T, D) from an encoder of a teacher's settings, at its start."""
    settings = teacher.settings.model_copy(update={"kind": "lejepa", "views": "none"})
    return encode(start_teacher([shard], settings, "untrained"), shard)


def first_components(
    counts: npt.NDArray[np.floating[Any]], train: npt.NDArray[np.bool_], num: int
) -> Code:
    """Return the leading principal components (T, num) of features (T, N), fitted on train."""
    centre, covariance = _moments(counts, train)
    return _projected(counts, centre, principal_axes(covariance, num))


def _moments(
    counts: npt.NDArray[np.floating[Any]], train: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return mean (N,) and covariance (N, N) over the bins of train."""
    rows = np.flatnonzero(train)
    moments = RunningMoments(counts.shape[1])
    for begin in range(0, len(rows), CHUNK_BINS):
        moments.add(counts[rows[begin : begin + CHUNK_BINS]])
    return moments.mean, moments.covariance


def _projected(counts: npt.NDArray[np.floating[Any]], centre: Floats, axes: Floats) -> Code:
    return np.asarray(counts @ axes.astype(np.float32) - (centre @ axes).astype(np.float32))
