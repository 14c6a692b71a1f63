"""How much of an unseen session a trained teacher needs to read it."""

# Shape legend: T bins, D latent dimensions.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rheobase.core.errors import DataError
from rheobase.measures.tasks import WINDOW_MS
from rheobase.shards.covariates import true_latents_of
from rheobase.shards.shard import GAP, TRAIN, Shard
from rheobase.shards.timeline import Timeline, timeline_of
from rheobase.teacher.baselines import (
    COUNTS,
    PCA,
    TRUE,
    Code,
    first_components,
    smoothed_count_code,
)
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.evaluate import FUTURES_MS
from rheobase.teacher.evidence import evidence
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import RANDOM_START
from rheobase.teacher.start import start_teacher

ALL, OWN, START = "all", "own_teacher", "untrained_read_in"
SUFFICIENT_SHARE = 0.95
"""Share of what all minutes give at which fewer are sufficient."""


def adapt(
    teacher: Teacher,
    shard: Shard,
    minutes: Sequence[float],
    window_ms: float,
    on_code: Callable[[str], None] = lambda name: None,
) -> tuple[Teacher, Code, dict[str, Any]]:
    """Fit the read-in of an unseen session with the teacher's trunk and predictor kept as they are.

    Parameters
    ----------
    teacher
        Trained on other sessions.
    shard
        The unseen session.
    minutes
        Amounts of its train bins to fit on, the first of each state; all are tried besides.
    window_ms
        As of `fit_teacher`.
    on_code
        Called with the name of each code as it is made.

    Returns
    -------
    The teacher of the session, its read-in fitted on all train bins; its latents (T, D); and a
    report. The report's tables are those of `rheobase.teacher.evidence.evidence`, all scored on
    the same test bins, with a column for each of ``codes``: the amounts, ``all``,
    ``untrained_read_in``, and, fitted on all train bins, ``own_teacher`` (trunk and predictor of
    the session's own), ``pca`` and ``smoothed_counts``. ``train_minutes`` is how much there is,
    ``enough_minutes`` the least amount whose ``judged_by`` reaches `SUFFICIENT_SHARE` times that
    of all.

    Raises
    ------
    DataError
        The teacher knows the session, or an amount is more than there is or less than a window.
    """
    if shard.session_id in teacher.num_units:
        raise DataError(
            f"{shard.session_id}: a session to adapt to must be unseen, but the teacher "
            "was trained on it; name another"
        )
    line = timeline_of(shard)
    there = train_minutes(line)
    for amount in minutes:
        if not window_ms / 60_000 <= amount <= there:
            raise DataError(
                f"{shard.session_id}: minutes to fit on must lie between a window and its "
                f"{there:.2f} minutes of train, but got {amount:g}"
            )
    settings = teacher.settings

    def fitted(given: Shard, shared: Teacher | None) -> Teacher:
        # A trunk of other sessions lies where their read-ins do, not at the canonical variates.
        own = settings if shared is None else settings.model_copy(update=RANDOM_START)
        return fit_teacher([given], own, window_ms, shared=shared)

    codes: dict[str, Code] = {}
    for amount in sorted({*minutes}):
        on_code(f"{amount:g} min")
        codes[f"{amount:g} min"] = encode(fitted(first_minutes(shard, amount), teacher), shard)
    on_code(ALL)
    adapted = fitted(shard, teacher)
    codes[ALL] = encode(adapted, shard)
    on_code(OWN)
    codes[OWN] = encode(fitted(shard, None), shard)
    codes[START] = encode(start_teacher([shard], settings, "untrained"), shard)
    counts = smoothed_count_code(shard)
    codes[PCA] = first_components(counts, line.train, settings.num_dims)
    codes[COUNTS] = counts
    true = true_latents_of(shard)
    given = codes if true is None else {**codes, TRUE: true[1]}
    tables = evidence(shard, given, FUTURES_MS)
    tables.pop("spectra")
    return (
        adapted,
        codes[ALL],
        {
            "session": shard.session_id,
            "trained_on": sorted(teacher.num_units),
            "train_minutes": there,
            "window_ms": WINDOW_MS,
            "codes": list(codes),
            **_minutes_needed(tables, sorted({*minutes}), there),
            **tables,
        },
    )


def train_minutes(line: Timeline) -> float:
    """Return how much of a session is there to train on."""
    return int(line.train.sum()) * line.bin_ms / 60_000


def first_minutes(shard: Shard, minutes: float) -> Shard:
    """Return a shard of whose train bins only the first of each state are left to train on.

    Every state keeps its share of the minutes, so that few of them hold all states.
    """
    left = _shares(shard, round(minutes * 60_000 / shard.bin_ms))
    segments = []
    for segment in shard.segments:
        train = segment.split == TRAIN
        beyond = train & (np.cumsum(train) > left[segment.state])
        left[segment.state] -= int((train & ~beyond).sum())
        segments.append(replace(segment, split=np.where(beyond, GAP, segment.split)))
    return replace(shard, segments=tuple(segments))


def _shares(shard: Shard, num_bins: int) -> dict[str, int]:
    """Return how many of a number of train bins each state has, as of all of them."""
    of_state = dict.fromkeys((segment.state for segment in shard.segments), 0)
    for segment in shard.segments:
        of_state[segment.state] += int((segment.split == TRAIN).sum())
    total = sum(of_state.values())
    shares = {state: num_bins * num // total for state, num in of_state.items()}
    shares[segment.state] += num_bins - sum(shares.values())
    return shares


def _minutes_needed(
    tables: Mapping[str, Any], minutes: Sequence[float], all_minutes: float
) -> dict[str, Any]:
    """Return the least amount that reads nearly as well as all, judged by the truth if known."""
    judged_by = "true_latents_r2" if tables["true_latents_r2"] else "future_counts_r2"
    # The mean over latents is the last row; the nearest future is the first.
    row = tables[judged_by][-1 if judged_by == "true_latents_r2" else 0]
    sufficient = [one for one in minutes if row[f"{one:g} min"] >= SUFFICIENT_SHARE * row[ALL]]
    return {"judged_by": judged_by, "enough_minutes": min([*sufficient, all_minutes])}
