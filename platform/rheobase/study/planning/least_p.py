"""The least p that an ablation's design can reach, whatever it finds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rheobase.core.errors import StudyError
from rheobase.study.file.ablation import hypotheses_of
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.resampling import ALPHA, least_p, num_paired_units


@dataclass(frozen=True, kw_only=True)
class LeastP:
    """What flipping the signs of whole units can reach at best.

    Attributes
    ----------
    unit, num_units
        What is flipped: ``sessions`` where there are several, ``teachers`` where one session has
        several, or else ``report seeds``.
    num_tested
        Hypotheses of the family that is corrected for (`hypotheses_of`).
    of_one
        The least p of one hypothesis.
    """

    unit: str
    num_units: int
    num_tested: int
    of_one: float

    @property
    def after_holm(self) -> float:
        """The least p of the best of the family, after Holm's correction."""
        return min(1.0, max(1, self.num_tested) * self.of_one)

    @property
    def num_needed(self) -> int:
        """How many units the family takes to reach `ALPHA`."""
        return math.ceil(math.log2(2 * max(1, self.num_tested) / ALPHA) - 1e-9)


def least_p_of(spec: StudySpec, num_sessions: int) -> LeastP:
    """Return what a study's ablation can reach on so many sessions."""
    num_seeds, num_teachers = len(spec.seeds.report), len(spec.teacher_seeds)
    unit = "teachers" if num_teachers > 1 else "report seeds"
    num_units = num_paired_units(num_sessions, num_seeds, num_teachers)
    return LeastP(
        unit="sessions" if num_sessions > 1 else unit,
        num_units=num_units,
        num_tested=len(hypotheses_of(spec)),
        of_one=least_p(num_units),
    )


def refuse_underpowered(spec: StudySpec, num_sessions: int) -> None:
    """Raise a StudyError where an ablation cannot reach p <= `ALPHA` whatever it finds."""
    least = least_p_of(spec, num_sessions)
    if not spec.ablation or least.after_holm <= ALPHA:
        return
    cure = {
        "report seeds": "add seeds.report",
        "teachers": "add seeds.teacher, or leave it out and speak of one teacher",
        "sessions": "name more sessions, or one alone and speak of it",
    }[least.unit]
    family = f" after Holm over {least.num_tested} hypotheses" if least.num_tested > 1 else ""
    raise StudyError(
        f"{spec.name}: an ablation must be able to reach p <= {ALPHA}{family}, which takes "
        f"{least.num_needed} {least.unit}, but has {least.num_units}, whose least is "
        f"{least.after_holm:.2g}; {cure}, or say --underpowered"
    )
