"""Whether a teacher is better or worse than the closed forms at what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Literal

Row = Mapping[str, Any]
LEVEL = 0.02
"""Scores closer than this are called level."""
TOLD = 0.1
"""What no code scores above is told by none, and decides nothing."""
CLOSED_FORMS = ("cva", "reduced_rank", "pca", "factor_analysis")
Standing = Literal["ahead of", "level with", "behind"]


@dataclass(frozen=True)
class Question:
    """What is asked of a teacher, its score, and the best closed form of as many dimensions."""

    asked: str
    teacher: float
    closed_form: str
    best: float

    @property
    def standing(self) -> Standing:
        """How the teacher stands to it."""
        return stands(self.teacher - self.best)


def stands(gain: float) -> Standing:
    """Return in words what a gain in score says."""
    return "ahead of" if gain > LEVEL else "behind" if gain < -LEVEL else "level with"


def questions(report: Row) -> list[Question]:
    """Return what is asked of a teacher, as its report can answer it.

    Of a simulation the true latents, and those that states share read across states. Of a real
    recording what its labels tell, the same across states, and the counts of the nearest future.
    Empty where the report has no closed form to compare with.
    """
    if report["true_latents_r2"]:
        rows = {
            "the true latents": [r for r in report["true_latents_r2"] if r["latent"] == "mean"],
            "the true latents across states": [
                row
                for row in report.get("cross_state") or []
                if row["fitted"] != row["tested"] and row["latent"] == "mean of shared"
            ],
        }
    else:
        across = [one for one in report["transfer"] or [] if one["fitted"] != one["tested"]]
        rows = {
            "the probes": list(_told(report["probes"] or [])),
            "the probes across states": list(_told(across)),
            "the counts to come": list(report["future_counts_r2"][:1]),
        }
    return [one for asked, table in rows.items() if (one := _question(asked, table))]


def standing(report: Row) -> Standing | None:
    """Return how a teacher stands to the closed forms: behind where it is in any question."""
    found = {one.standing for one in questions(report)}
    for word in ("behind", "ahead of", "level with"):
        if word in found:
            return word
    return None


def first_sentence(report: Row) -> str | None:
    """Return the answer that stands first in a verdict; None without closed forms."""
    asked = questions(report)
    if not asked:
        return None
    told = (
        "; ".join(
            f"{one.asked} {one.teacher:.3f}, {one.closed_form.replace('_', ' ')} {one.best:.3f}"
            for one in asked
        )
        .replace("cva", "CVA")
        .replace("pca", "PCA")
    )
    return f"The teacher is {standing(report)} the closed forms of as many dimensions: {told}."


def _told(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows of targets that some code tells, so that all compare over the same ones."""
    for row in rows:
        scores = [row.get(code) for code in ("teacher", *CLOSED_FORMS)]
        known = [score for score in scores if score is not None]
        if len(known) == len(scores) and max(known) > TOLD:
            yield row


def _question(asked: str, rows: Sequence[Row]) -> Question | None:
    there = [code for code in CLOSED_FORMS if all(row.get(code) is not None for row in rows)]
    if not rows or not there or any(row.get("teacher") is None for row in rows):
        return None
    scores = {code: mean(row[code] for row in rows) for code in there}
    best = max(there, key=scores.__getitem__)
    return Question(asked, mean(row["teacher"] for row in rows), best, scores[best])
