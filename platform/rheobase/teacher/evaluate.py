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
from rheobase.teacher.encoder import Teacher, filtered_counts
from rheobase.teacher.sigreg import random_slices, sigreg

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
NUM_GAUSSIAN_SAMPLES = 1024
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
    horizon the share of the latents' variance that the predictor, persistence and the mean leave
    unexplained (1: no better than the mean). ``future_counts_r2``: for each horizon the held-out
    R² of the smoothed counts' leading principal components that many milliseconds ahead, by
    ridge regression from the teacher's latents, from as many principal components of the present,
    from all smoothed counts, and from an encoder that was never trained. ``notes``: why a number
    is missing; a missing number is None. Numbers are means over sessions.
    """
    notes: list[str] = []
    settings = teacher.settings
    lines = [timeline_of(shard) for shard in shards]
    latents = [encode(teacher, shard).astype(np.float64) for shard in shards]
    tested = [z[line.test] for z, line in zip(latents, lines, strict=True)]
    everything = np.concatenate(tested)
    predictions = [_prediction(teacher, z, line) for z, line in zip(latents, lines, strict=True)]
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


def _prediction(teacher: Teacher, latents: Floats, timeline: Timeline) -> list[dict[str, Any]]:
    settings = teacher.settings
    lags = [round(ms / timeline.bin_ms) for ms in sorted(settings.history_ms)]
    ahead = [round(ms / timeline.bin_ms) for ms in sorted(settings.horizons_ms)]
    now = _ahead(timeline, max(ahead), max(lags))
    now = now[timeline.test[now]]
    if not len(now):
        none = {"predictor": None, "persistence": None, "mean": None}
        return [{"horizon_ms": ms, **none} for ms in sorted(settings.horizons_ms)]
    history = torch.from_numpy(np.stack([latents[now - lag] for lag in lags], axis=1)).float()
    with torch.no_grad():
        predicted = teacher.predict(history).double().numpy()
    centre = latents[timeline.train].mean(axis=0)
    rows = []
    for index, num_bins in enumerate(ahead):
        future = latents[now + num_bins]
        total = ((future - future.mean(axis=0)) ** 2).sum()
        guesses = {"predictor": predicted[:, index], "persistence": latents[now], "mean": centre}
        rows.append(
            {
                "horizon_ms": num_bins * timeline.bin_ms,
                **{
                    name: float(((future - guess) ** 2).sum() / total) if total > 0 else None
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
    counts = filtered_counts(shard, settings.filters_ms).astype(np.float64)
    scale = counts[timeline.train].std(axis=0)
    smooth = counts / np.where(scale > 0, scale, 1.0)
    seed = torch.Generator().manual_seed(child_seed(settings.seed, "teacher", "untrained"))
    untrained = Teacher(settings, {shard.session_id: shard.num_units}, seed)
    untrained.standardise(shard.session_id, counts.astype(np.float32), shard)
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
