"""The teacher's report: is it predictive, alive and more than a clock, beside plain baselines."""

# Shape legend: T bins, D latent dimensions, B samples, L lags, H horizons.

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rheobase.core.seeds import child_seed, generator
from rheobase.measures.shares import effective_rank, session_share
from rheobase.measures.tasks import WINDOW_MS, Row
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import Timeline, timeline_of
from rheobase.teacher.baselines import CODES, COUNTS, TEACHER, Code, codes_of
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.evidence import evidence, unless, with_future
from rheobase.teacher.features import future_counts, horizon_bins
from rheobase.teacher.sigreg import random_slices, sigreg
from rheobase.teacher.state_evidence import CEILING

Floats = npt.NDArray[np.float64]
NUM_GAUSSIAN_SAMPLES = 1024
FUTURES_MS = (20.0, 40.0, 80.0, 160.0)
"""How far ahead every code must tell the smoothed counts."""
TABLES = (
    "future_counts_r2",
    "true_latents_r2",
    "cross_state",
    "state_geometry",
    "probes",
    "transfer",
    "shares",
)


def evaluate(
    teacher: Teacher,
    shards: Sequence[Shard],
    latents: Mapping[str, Code],
    kept: int | None = None,
) -> dict[str, Any]:
    """Return the report of a teacher on held-out bins, as plain JSON values.

    Parameters
    ----------
    teacher
        Trained on all of `shards`.
    shards
        Binned sessions.
    latents
        Those of each session (T, D), as `encode` returns them.
    kept
        How many of them, the first, a study keeps; None: all of them.

    Returns
    -------
    ``latents``: `effective_rank` and `least_std` over dimensions, `sigreg` beside that of a
    Gaussian sample of the same size, `clock_share`, `session_share`.

    ``prediction``: for each horizon the share of the future latents' variance that the predictor,
    persistence and the mean leave unexplained (1: no better than the mean), and `target_std`,
    the mean standard deviation of the future's dimensions: near 0 it has collapsed.

    Tables with a column for each of `codes`, in which the teacher stands beside the baselines of
    `rheobase.teacher.baselines.codes_of`: ``future_counts_r2``, the held-out R² of the smoothed
    counts' leading components by horizon; ``true_latents_r2`` of a simulation's latents, beside
    the ``ceiling`` of a readout that sees all filtered counts; ``cross_state`` of those by fitted
    and tested state; ``state_geometry`` of stimulus means in the two states;
    ``probes`` of stimulus, behaviour and state; ``transfer`` of those from each state to each;
    ``shares`` that the clock and the session explain. Their numbers are means over sessions;
    ``sessions`` holds the same of each, and its spectra.

    ``alignment``: of ``views = "replay"``, by session, the correlation of both states' latents over
    replayed frames, the share of units that keep their code, and of held-out bins the share whose
    state is inferred; else None.

    ``notes``: why a number is missing; a missing number, and a table without rows, is None.
    """
    notes: list[str] = []
    settings = teacher.settings
    tested: defaultdict[str, list[Code]] = defaultdict(list)
    predictions: list[list[Row]] = []
    sessions: dict[str, dict[str, Any]] = {}
    for shard in shards:
        line, own = timeline_of(shard), latents[shard.session_id]
        codes = codes_of(teacher, shard, own[:, :kept])
        predictions.append(_prediction(teacher, shard, own.astype(np.float64), line))
        sessions[shard.session_id] = evidence(shard, codes, FUTURES_MS)
        for name, x in codes.items():
            if name != COUNTS:  # of other units in each session
                tested[name].append(x[line.scored])
    everything = np.concatenate(tested[TEACHER]).astype(np.float64)
    tables = {name: _means([one[name] or [] for one in sessions.values()]) for name in TABLES}
    # The teacher's share comes with a note where it is missing; the others' reason is the same.
    sharing = {name: unless(notes, "session_share", session_share, x) for name, x in tested.items()}
    tables["shares"].append({"measure": "session_share", **sharing})
    clock = next(row for row in tables["shares"] if row["measure"] == "clock_share")
    for session, one in sessions.items():
        notes += [note if len(shards) == 1 else f"{session}: {note}" for note in one["notes"]]
    return {
        "latents": {
            "effective_rank": unless(notes, "effective_rank", effective_rank, everything),
            "dimensions": everything.shape[1],
            "least_std": float(everything.std(axis=0).min()),
            **_gaussianity(settings.seed, everything),
            "clock_share": clock[TEACHER],
            "session_share": sharing[TEACHER],
        },
        "prediction": _means(predictions),
        "codes": [
            name
            for name in (*CODES, CEILING)
            if any(name in row for row in (*tables["shares"], *tables["true_latents_r2"]))
        ],
        "window_ms": WINDOW_MS,
        "alignment": _alignment(teacher, shards),
        **{name: rows or None for name, rows in tables.items()},
        "sessions": sessions,
        "notes": list(dict.fromkeys(notes)),
    }


def _alignment(teacher: Teacher, shards: Sequence[Shard]) -> dict[str, Any] | None:
    """Return how the read-ins of a session's states lie, and how often their state is inferred."""
    told = {}
    for shard in shards:
        if shard.session_id not in teacher.states:
            continue
        line, odds = timeline_of(shard), teacher.odds(shard)
        assert odds is not None
        names = np.array(teacher.states_of(shard.session_id))
        right = names[odds.argmax(dim=1).numpy()] == line.state
        told[shard.session_id] = {
            **teacher.alignment[shard.session_id],
            "state_inferred": float(right[line.scored].mean()) if line.scored.any() else None,
        }
    return told or None


def _means(tables: Sequence[Sequence[Row]]) -> list[Row]:
    """Return the rows of all sessions' tables, each number averaged over those that have it.

    Rows belong together where their words and horizon are the same; they keep their order.
    """
    together: defaultdict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for table in tables:
        for row in table:
            words = (v for k, v in row.items() if isinstance(v, str) or k == "horizon_ms")
            together[tuple(words)].append(row)
    return [
        {
            key: value if isinstance(value, str) else _mean([row.get(key) for row in rows])
            for key, value in {k: v for row in rows for k, v in row.items()}.items()
        }
        for rows in together.values()
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


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
        told = teacher.encode_future(shard.session_id, counts, odds=teacher.odds(shard))
        targets = told.double().numpy()
        predicted = teacher.predict(torch.from_numpy(latents).float()).double().numpy()
    rows = []
    for index, num_bins in enumerate(horizon_bins(settings.horizons_ms, timeline.bin_ms)):
        now = with_future(timeline, num_bins, num_bins)
        future, train = targets[:, index], now[timeline.train[now]]
        now = now[timeline.scored[now]]
        guesses = {
            "predictor": predicted[now, index],
            "persistence": future[now - num_bins],
            "mean": future[train].mean(axis=0) if len(train) else np.nan,
        }
        truth = future[now]
        total = ((truth - truth.mean(axis=0)) ** 2).sum() if len(now) else 0.0
        rows.append(
            {
                "horizon_ms": num_bins * timeline.bin_ms,
                "target_std": float(truth.std(axis=0).mean()) if len(now) else None,
                **{
                    name: float(((truth - guess) ** 2).sum() / total) if total > 0 else None
                    for name, guess in guesses.items()
                },
            }
        )
    return rows
