"""The codes that a teacher's latents are held against, of one session each."""

# Shape legend: T bins, N units, D latent dimensions, M features.

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import helmert
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning

from rheobase.measures.signs import column_signs
from rheobase.shards.covariates import true_latents_of
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import timeline_of
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.features import filtered_counts
from rheobase.teacher.moments import RunningMoments
from rheobase.teacher.start import start_teacher

Floats = npt.NDArray[np.float64]
Code = npt.NDArray[np.float32]
TEACHER, PCA, FACTORS, COUNTS, UNTRAINED, TRUE = (
    "teacher",
    "pca",
    "factor_analysis",
    "smoothed_counts",
    "untrained_encoder",
    "true_latents",
)
CODES = (TEACHER, PCA, FACTORS, COUNTS, UNTRAINED, TRUE)
SMOOTH_MS = 80.0
"""Causal exponential filter of the smoothed counts: of 20 to 320 ms, the one from which most of
the true latents of planted sessions can be read out."""
CHUNK_BINS = 32_768  # bounds the memory of float64 copies


def codes_of(teacher: Teacher, shard: Shard, latents: Code) -> dict[str, Code]:
    """Return a session's teacher latents and what stands beside them, (T, M) each.

    ``teacher``: `latents` (T, D). ``smoothed_counts``: the counts of all units through a causal
    exponential of `SMOOTH_MS`, each of variance 1 on train. ``pca`` and ``factor_analysis``: D
    dimensions of those, fitted on train. ``untrained_encoder``: the latents of a teacher of the
    same settings before its first step. ``true_latents``: those a simulation was made from; real
    recordings have none.
    """
    counts = smoothed_count_code(shard)
    train = timeline_of(shard).train
    centre, covariance = _moments(counts, train)
    dims = latents.shape[1]
    codes = {
        TEACHER: latents,
        PCA: _projected(counts, centre, principal_axes(covariance, dims)),
        FACTORS: _projected(counts, centre, factor_axes(covariance, dims)),
        COUNTS: counts,
        UNTRAINED: untrained_latents(teacher, shard),
    }
    true = true_latents_of(shard)
    return codes if true is None else {**codes, TRUE: true[1]}


def smoothed_count_code(shard: Shard) -> Code:
    """Return each unit's smoothed counts (T, N), of variance 1 on train."""
    counts = filtered_counts(shard, (SMOOTH_MS,))
    scale = counts[timeline_of(shard).train].std(axis=0)
    counts /= np.where(scale > 0, scale, 1.0).astype(np.float32)
    return counts


def untrained_latents(teacher: Teacher, shard: Shard) -> Code:
    """Return a session's latents (T, D) from an encoder of a teacher's settings, at its start."""
    return encode(start_teacher([shard], teacher.settings, "untrained"), shard)


def principal_axes(covariance: Floats, num: int) -> Floats:
    """Return the leading eigenvectors (N, num) of a covariance (N, N)."""
    _, vectors = np.linalg.eigh(covariance)
    leading = vectors[:, ::-1][:, :num]
    return np.asarray(leading * column_signs(leading))


def factor_axes(covariance: Floats, num: int) -> Floats:
    """Return the linear map (N, num) from centred data to the posterior mean of its factors.

    Notes
    -----
    Factor analysis by maximum likelihood. Its likelihood depends on data through the covariance
    alone, so that N + 1 samples of mean 0 and the same covariance stand for all bins.
    """
    values, vectors = np.linalg.eigh(covariance)
    size = len(values)
    root = (vectors * np.sqrt((size + 1) * values.clip(min=0))) @ vectors.T
    # The default decomposition is drawn at random, and stops the iteration where its error does.
    model = FactorAnalysis(num, tol=1e-10, svd_method="lapack")
    with warnings.catch_warnings():
        # Ended by its number of iterations it is a baseline all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(helmert(size + 1).T @ root)
    return np.asarray(model.transform(np.eye(size) + model.mean_))


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
