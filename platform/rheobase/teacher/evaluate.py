"""The teacher's report: is it predictive, alive and more than a clock, beside plain baselines."""

# Shape legend: T bins, N units, D latent dimensions, M features, H horizons, B samples.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rheobase.core.errors import DataError
from rheobase.core.seeds import child_seed, generator
from rheobase.measures.probes import ridge_r2
from rheobase.measures.shares import clock_share, effective_rank, session_share
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import Timeline, timeline_of
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.features import filtered_counts, future_counts, horizon_bins
from rheobase.teacher.sigreg import random_slices, sigreg

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
NUM_GAUSSIAN_SAMPLES = 1024
SMOOTHING_MS = 80.0
"""Time constant of the smoothed counts."""
NUM_TARGETS = 16
"""Principal components of the smoothed counts whose future every representation predicts."""


def evaluate(teacher: Teacher, shards: Sequence[Shard]) -> dict[str, Any]:
    """Return the report of a teacher on held-out bins, as plain JSON values.

    Parameters
    ----------
    teacher
        Trained on all of `shards`.
    shards
        Binned sessions.

    Returns
    -------
    ``latents``: `effective_rank` and `least_std` over dimensions, `sigreg` beside that of a
    Gaussian sample of the same size, `clock_share`, `session_share`. ``prediction``: for each
    horizon the share of the future latents' variance that the predictor, persistence and the mean
    leave unexplained (1: no better than the mean). ``future_counts_r2``: for each horizon the
    held-out R² of the smoothed counts' leading principal components that many milliseconds ahead,
    by ridge regression from the teacher's latents, from as many principal components of the
    present, from all smoothed counts, and from an encoder that was never trained. ``notes``: why a
    number is missing; a missing number is None. Numbers are means over sessions.
    """
    notes: list[str] = []
    settings = teacher.settings
    lines = [timeline_of(shard) for shard in shards]
    latents = [encode(teacher, shard).astype(np.float64) for shard in shards]
    tested = [z[line.test] for z, line in zip(latents, lines, strict=True)]
    everything = np.concatenate(tested)
    predictions = [
        _prediction(teacher, shard, z, line)
        for shard, z, line in zip(shards, latents, lines, strict=True)
    ]
    futures = [
        _future_counts(teacher, shard, z, line)
        for shard, z, line in zip(shards, latents, lines, strict=True)
    ]
    return {
        "latents": {
            "effective_rank": _unless(notes, "effective_rank", effective_rank, everything),
            "dimensions": settings.latent_dim,
            "least_std": float(everything.std(axis=0).min()),
            **_gaussianity(settings.seed, everything),
            "clock_share": _mean(
                [
                    _unless(notes, "clock_share", clock_share, z, line)
                    for z, line in zip(latents, lines, strict=True)
                ]
            ),
            "session_share": _unless(notes, "session_share", session_share, tested),
        },
        "prediction": _means(predictions),
        "future_counts_r2": _means(futures),
        "notes": list(dict.fromkeys(notes)),
    }


def _unless(notes: list[str], name: str, measure: Any, *given: Any) -> float | None:
    """Return a measure, or None and a note of why the data cannot give it."""
    try:
        return float(measure(*given))
    except DataError as error:
        notes.append(f"{name}: {error}")
        return None


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else None


def _means(rows: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the rows of the first session with each value averaged over sessions."""
    return [
        {name: _mean([session[index][name] for session in rows]) for name in rows[0][index]}
        for index in range(len(rows[0]))
    ]


def _gaussianity(seed: int, latents: Floats) -> dict[str, float]:
    draw = generator(seed, "teacher", "evaluate")
    num = min(NUM_GAUSSIAN_SAMPLES, len(latents))
    sample = latents[draw.choice(len(latents), num, replace=False)]
    true = draw.standard_normal(sample.shape)
    slices = random_slices(
        latents.shape[1], 256, torch.Generator().manual_seed(child_seed(seed, "evaluate"))
    ).double()
    return {
        "sigreg": float(sigreg(torch.from_numpy(sample), slices)),
        "sigreg_gaussian": float(sigreg(torch.from_numpy(true), slices)),
    }


def _ahead(timeline: Timeline, num_bins: int, num_back: int = 0) -> npt.NDArray[np.int64]:
    """Return the bins whose past and future lie in their own segment, split and group, (B,)."""
    now = np.arange(num_back, len(timeline) - num_bins)
    fits = timeline.train[now] | timeline.test[now]
    for other in (now - num_back, now + num_bins):
        for label in (timeline.segment, timeline.split, timeline.group):
            fits &= label[now] == label[other]
    return now[fits]


def _at(timeline: Timeline, bins: npt.NDArray[np.int64]) -> Timeline:
    """Return the labels of some bins."""
    labels = {
        field.name: getattr(timeline, field.name)[bins]
        for field in fields(timeline)
        if field.name not in ("kind", "bin_ms")
    }
    return replace(timeline, **labels)


def _prediction(
    teacher: Teacher, shard: Shard, latents: Floats, timeline: Timeline
) -> list[dict[str, Any]]:
    """Return how much of the future latents each guess misses; persistence guesses the last ones.

    The latents of the stretch (t, t + horizon] are guessed from those up to t; the last stretch
    that is over at t is (t - horizon, t].
    """
    settings = teacher.settings
    counts = torch.from_numpy(future_counts(shard, settings.horizons_ms).astype(np.float32))
    with torch.no_grad():
        targets = teacher.encode_future(shard.session_id, counts).double().numpy()
        predicted = teacher.predict(torch.from_numpy(latents).float()).double().numpy()
    rows = []
    for index, num_bins in enumerate(horizon_bins(settings.horizons_ms, timeline.bin_ms)):
        now = _ahead(timeline, num_bins, num_bins)
        future, train = targets[:, index], now[timeline.train[now]]
        now = now[timeline.test[now]]
        guesses = {
            "predictor": predicted[now, index],
            "persistence": future[now - num_bins],
            "mean": future[train].mean(axis=0) if len(train) else np.nan,
        }
        asked = future[now]
        total = ((asked - asked.mean(axis=0)) ** 2).sum() if len(now) else 0.0
        rows.append(
            {
                "horizon_ms": num_bins * timeline.bin_ms,
                **{
                    name: float(((asked - guess) ** 2).sum() / total) if total > 0 else None
                    for name, guess in guesses.items()
                },
            }
        )
    return rows


def _principal_components(x: Floats, train: Bools, num: int) -> Floats:
    """Return the leading components (T, num) of features (T, M), fitted on train."""
    centred = x - x[train].mean(axis=0)
    _, vectors = np.linalg.eigh(centred[train].T @ centred[train])
    return np.asarray(centred @ vectors[:, ::-1][:, :num])


def _future_counts(
    teacher: Teacher, shard: Shard, latents: Floats, timeline: Timeline
) -> list[dict[str, Any]]:
    settings = teacher.settings
    counts = filtered_counts(shard, (SMOOTHING_MS,)).astype(np.float64)
    scale = counts[timeline.train].std(axis=0)
    smooth = counts / np.where(scale > 0, scale, 1.0)
    seed = torch.Generator().manual_seed(child_seed(settings.seed, "teacher", "untrained"))
    untrained = Teacher(settings, {shard.session_id: shard.num_units}, seed)
    untrained.prepare(
        shard.session_id,
        filtered_counts(shard, settings.filters_ms)[timeline.train],
        future_counts(shard, settings.horizons_ms)[timeline.train],
    )
    representations = {
        "teacher": latents,
        "pca": _principal_components(smooth, timeline.train, settings.latent_dim),
        "smoothed_counts": smooth,
        "untrained_encoder": encode(untrained, shard).astype(np.float64),
    }
    targets = _principal_components(smooth, timeline.train, NUM_TARGETS)
    rows = []
    for ms in sorted(settings.horizons_ms):
        num_bins = round(ms / timeline.bin_ms)
        now = _ahead(timeline, num_bins)
        labels = _at(timeline, now)
        rows.append(
            {
                "horizon_ms": num_bins * timeline.bin_ms,
                **{
                    name: float(ridge_r2(x[now], targets[now + num_bins], labels).mean())
                    for name, x in representations.items()
                },
            }
        )
    return rows
