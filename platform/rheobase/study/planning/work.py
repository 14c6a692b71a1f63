"""What a study will run and can find, known before a recording is read."""

from __future__ import annotations

import math

from rheobase.study.file.ablation import arms_of, hypotheses_of, other_inputs, repeated_arms
from rheobase.study.file.designs import fraction_of
from rheobase.study.file.spec import StudySpec
from rheobase.study.planning.least_p import LeastP, least_p_of
from rheobase.study.planning.plan import DesignPlan, PowerPlan, Spread, Work
from rheobase.study.planning.power import AIM, DZ_TOLD, smallest_dz, units_for
from rheobase.study.planning.trials import num_replicates
from rheobase.study.ranking.resampling import ALPHA


def work_of(spec: StudySpec, num_sessions: int, spread: Spread | None = None) -> Work:
    """Return what a study will run, what it asks, and what it can find.

    Parameters
    ----------
    spec
        The study.
    num_sessions
        Recordings that its addresses stand for.
    spread
        Of the differences of arms, as an earlier run shows it; None: effects are told in units of
        it.
    """
    least = least_p_of(spec, num_sessions)
    return Work(
        study=spec.name,
        question=spec.question,
        search_trials=spec.search.trials,
        select_seeds=spec.seeds.select,
        report_seeds=spec.seeds.report,
        teacher_seeds=spec.teacher_seeds,
        arms=arms_of(spec),
        other_inputs={told: tuple(arms) for told, arms in other_inputs(spec).items()},
        not_run=repeated_arms(spec),
        design=_design(spec),
        replicates_per_session=num_replicates(spec),
        hypotheses=hypotheses_of(spec),
        least_p=least.of_one,
        num_tested=least.num_tested,
        least_p_after_holm=least.after_holm,
        power=_power(spec, num_sessions, least, spread),
    )


def _design(spec: StudySpec) -> DesignPlan | None:
    if spec.ablation is None:
        return None
    part, ablation = fraction_of(spec.ablation), spec.ablation
    return DesignPlan(
        name=ablation.design,
        mode=ablation.mode,
        factors=tuple(ablation.arms),
        resolution=part.resolution if part else None,
        generators=part.generators if part else {},
        doses={path: tuple(levels) for path, levels in ablation.dose.items()},
    )


def _power(
    spec: StudySpec, num_sessions: int, least: LeastP, spread: Spread | None
) -> PowerPlan | None:
    if spec.ablation is None or not least.num_tested or not least.num_units:
        return None
    level = ALPHA / least.num_tested
    smallest = smallest_dz(least.num_units, level)
    unit_sd = _of_unit(spec, num_sessions, least, spread) if spread else None
    effect = spec.ablation.least_effect
    needed = units_for(effect / unit_sd, level) if unit_sd else None
    notes = []
    if spread and least.unit == "sessions" and spread.of_sessions is None:
        notes.append(
            "the pilot has one session: how far sessions differ is not in the spread, so that "
            "effects must be larger, and sessions more, than it says"
        )
    if spread and least.unit == "teachers":
        notes.append("how far teachers differ is not in the spread, which is of seeds alone")
    return PowerPlan(
        aim=AIM,
        alpha=ALPHA,
        unit=least.unit,
        num_units=least.num_units,
        num_units_for_alpha=least.num_needed,
        smallest_dz=smallest,
        spread=spread,
        unit_sd=unit_sd,
        smallest_effect=smallest * unit_sd if smallest is not None and unit_sd else None,
        least_effect=effect,
        num_units_for_least_effect=needed,
        num_units_for_dz={f"{d_z:g}": units_for(d_z, level) for d_z in DZ_TOLD},
        notes=tuple(notes),
    )


def _of_unit(spec: StudySpec, num_sessions: int, least: LeastP, spread: Spread) -> float:
    """Return the standard deviation of one unit's effect.

    An effect of a factorial is the mean of half its cells minus that of the others: the noise of
    training, which each cell has of its own, is smaller in it than in one arm minus another, by 2
    over the number of cells. How sessions differ in an effect is not.
    """
    assert spec.ablation is not None
    of_seeds = spread.of_seeds**2
    if spec.ablation.design in ("factorial", "fractional") and spec.ablation.arms:
        part = fraction_of(spec.ablation)
        of_seeds *= 2 / 2 ** (len(spec.ablation.arms) - len(part.generators if part else ()))
    if least.unit == "report seeds":
        return math.sqrt(of_seeds)
    of_unit = of_seeds / max(1, len(spec.seeds.report))
    if least.unit == "teachers":
        return math.sqrt(of_unit * least.num_units)
    return math.sqrt((spread.of_sessions or 0.0) ** 2 + of_unit)
