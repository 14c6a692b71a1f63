"""Means of forecasts over seeds and sessions, and their paired differences, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from rheobase.study.file.spec import StudySpec
from rheobase.study.forecast.bins import LEAST_HZ
from rheobase.study.forecast.record import (
    Forecast,
    ForecastDifference,
    ForecastModel,
    Score,
    ScoredForecast,
    SessionForecast,
    Verdict,
)
from rheobase.study.forecast.session import MODELS
from rheobase.study.ranking.intervals import Runs, estimate_mean
from rheobase.study.ranking.ranking import MeanEstimate, RankedTrial

SCORES: tuple[Score, ...] = get_args(Score)
ASKED = (
    ("student", "teacher", "what the network and its constraints lose of the teacher's forecast"),
    ("student", "no-teacher", "whether distilling latents helps, or training on counts does"),
    ("student", "by-rates", "whether latents or forecast rates are the better thing to distil"),
    ("by-rates", "no-teacher", "whether distilling forecast rates helps"),
    ("student", "untrained", "what training gives"),
    ("student", "gru", "what the constraints lose beside gated units"),
    ("teacher", "cva", "the teacher beside the closed form"),
    ("teacher", "filtered-counts", "what few latents lose of all the counts"),
    ("student", "smoothing", "the student beside each unit's own past"),
)
"""What is held against what, and why."""
Run = tuple[str, ScoredForecast]


def summary(
    spec: StudySpec, row: RankedTrial, ahead_ms: float, sessions: Sequence[SessionForecast]
) -> Forecast:
    """Return the means and differences of the forecasts of all sessions.

    Parameters
    ----------
    spec
        The study.
    row
        The ranking's of the student's trial.
    ahead_ms
        Width of the bin that was forecast.
    sessions
        Their forecasts.

    Notes
    -----
    Intervals are those of `intervals.estimate_mean`: of one session over seeds and held-out
    blocks, of several over sessions. A model without a seed stands beside each seed of the other.
    """
    by_model: dict[str, list[Run]] = {name: [] for name in MODELS}
    for one in sessions:
        for found in one.forecasts:
            by_model[found.model].append((one.session, found))
    notes = []
    if not row.is_feasible:
        notes.append(
            f"the student is not feasible on the report seeds: {'; '.join(row.why)}; what it "
            "forecasts is not what a network within the constraints does"
        )
    if len(spec.teacher_seeds) == 1:
        notes.append("one teacher: what another start of it would move is left out")
    return Forecast(
        study=spec.name,
        trial_id=row.trial_id,
        arm=row.arm,
        tier=row.tier,
        seeds=row.seeds,
        ahead_ms=ahead_ms,
        least_hz=LEAST_HZ,
        sessions=tuple(sessions),
        models=tuple(
            ForecastModel(
                model=name,
                made_of=made_of,
                num_runs=len(by_model[name]),
                scores={score: estimate_mean(_runs(by_model[name], score)) for score in SCORES},
            )
            for name, made_of in MODELS.items()
        ),
        differences=tuple(
            _difference(by_model, model, other, asks) for model, other, asks in ASKED
        ),
        notes=tuple(notes),
    )


def _difference(
    by_model: Mapping[str, Sequence[Run]], model: str, other: str, asks: str
) -> ForecastDifference:
    pairs = [
        (ours, theirs)
        for ours in by_model[model]
        for theirs in by_model[other]
        if _belong_together(ours, theirs)
    ]
    left, right = [one for one, _ in pairs], [one for _, one in pairs]
    scores = {
        score: estimate_mean(_runs(left, score).minus(_runs(right, score))) for score in SCORES
    }
    return ForecastDifference(
        model=model,
        minus=other,
        asks=asks,
        scores=scores,
        verdict=_verdict(scores["bits_per_spike"]),
    )


def _belong_together(ours: Run, theirs: Run) -> bool:
    """Return whether two forecasts are of one session, and of one seed and teacher if of any."""
    (session, left), (other, right) = ours, theirs
    of_each = (left.seed, right.seed), (left.teacher, right.teacher)
    return session == other and all(None in pair or pair[0] == pair[1] for pair in of_each)


def _runs(runs: Sequence[Run], score: Score) -> Runs:
    teachers = [one.teacher for _, one in runs if one.teacher is not None]
    return Runs(
        [one.scores[score] for _, one in runs],
        [session for session, _ in runs],
        [one.blocks[score] for _, one in runs],
        teachers if len({*teachers}) > 1 and len(teachers) == len(runs) else (),
    )


def _verdict(found: MeanEstimate) -> Verdict:
    if found.ci95 is None:
        return "not told"
    low, high = found.ci95
    return "gains" if low > 0 else "loses" if high < 0 else "not told"
