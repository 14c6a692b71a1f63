"""What an arm costs: paired differences with their intervals and p-values."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from rheobase.core.errors import StudyError, did_you_mean
from rheobase.core.seeds import generator
from rheobase.core.settings import Settings
from rheobase.student.settings import StudentSettings
from rheobase.study.file.ablation import arms_of, controls_of, repeated_arms
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.effect_table import OF_TARGET, effects_of
from rheobase.study.ranking.intervals import estimate_mean
from rheobase.study.ranking.measured import (
    CCA,
    measured_runs,
    measures_of,
    refuse_unknown,
)
from rheobase.study.ranking.pairs import asked_pairs, by_pair
from rheobase.study.ranking.ranking import Interval, SpeaksOf, Unit
from rheobase.study.ranking.resampling import (
    bootstrap_intervals,
    flips_told,
    holm,
    interquartile_mean,
    least_p,
    probability_of_improvement,
    sign_flip_p,
)
from rheobase.study.ranking.targets import other_targets, targets_note
from rheobase.study.records.result import BASELINE, TOP, TrialRecord


class Comparison(Settings):
    """An arm against another on the same seeds, sessions and splits; differences are arm - to.

    Numbers are null of an arm that has no result; the notes say why.
    """

    arm: str
    to: str
    mode: str
    """`held`: every other setting is the baseline's."""
    measure: str = "cca_heldout"
    seeds: tuple[int, ...]
    sessions: tuple[str, ...]
    num_pairs: int
    """Runs of the same seed and session on both sides."""
    unit: Unit | None
    """What is independent, and what signs are flipped of: sessions where there are several, then
    teachers, then seeds."""
    num_units: int
    speaks_of: SpeaksOf | None
    """Whose mean `ci95` covers."""
    mean_arm: float | None
    mean_to: float | None
    mean_difference: float | None
    """Over the seeds of a session, then over sessions."""
    ci95: Interval | None
    """Of the mean difference; null where the notes say why."""
    degrees_of_freedom: float | None
    """Of the t distribution of `ci95`; null where there is none."""
    iqm_difference: float | None
    """Mean of the middle half of the pairs' differences."""
    ci95_bootstrap: Interval | None
    """rliable's percentile interval of the pairs' mean difference: of other seeds on these sessions
    and blocks, and too narrow with few pairs."""
    iqm_ci95_bootstrap: Interval | None
    """The same of the interquartile mean."""
    p_sign_flip: float | None
    """Exact, of the units' differences; of seeds it speaks of other seeds on these blocks."""
    p_holm: float | None = None
    """Holm's. Against the baseline over the study's whole family of hypotheses (`hypotheses_of`),
    and null of an arm that is none itself: a control, a combination of a factorial, a step of a
    path, a level of a dose. Against another arm over all arms that are compared with it. An arm
    without a result counts as p = 1."""
    least_p: float | None
    """The least p that this number of units can reach: 2 / 2^n."""
    probability_of_improvement: float | None
    notes: tuple[str, ...] = ()


def compare_arms(spec: StudySpec, records: Sequence[TrialRecord]) -> list[Comparison]:
    """Return every arm against the baseline, in the study's order.

    `p_holm` is that of `effects_of`, over the family that the plan lists: main effects,
    interactions, steps and trends are a part of it, and an arm that is no hypothesis itself has
    none. An arm without a result on the report seeds stays in the list, its numbers None, and
    counts as p = 1: a family does not shrink because an arm failed.

    Nothing is returned while the baseline has no result.
    """
    reported = _reported(records)
    if BASELINE not in reported or reported[BASELINE].result is None:
        return []
    return _family(spec, records, BASELINE, CCA)


def compare(
    spec: StudySpec,
    records: Sequence[TrialRecord],
    arm: str,
    to: str = BASELINE,
    measure: str = CCA,
) -> Comparison:
    """Return one arm against another in one of `measured.measures_of`.

    Raises
    ------
    StudyError
        There is no such arm or measure, it is compared with itself, or it has no complete results.
    """
    reported = _reported(records)
    results = {name: one for name, one in reported.items() if one.result is not None}
    known = [BASELINE, *arms_of(spec), *(name for name in results if name.startswith(TOP))]
    for name in (arm, to):
        if name not in known:
            raise StudyError(
                f"{spec.name}: an arm of the study must be named, but got '{name}'."
                f"{did_you_mean(name, known)} It has: {', '.join(known)}"
            )
        if name not in results:
            raise StudyError(
                f"{spec.name}: '{name}' must have a complete trial on the report seeds, but has "
                "none; finish the run with 'rheobase run --resume'"
            )
    if arm == to:
        raise StudyError(f"{spec.name}: two arms must differ to be compared, but both are '{arm}'")
    if arm.startswith(TOP) or to.startswith(TOP):  # no arm of the ablation: a family of its own
        return paired_comparison(spec, results[arm], results[to], measure)
    sides = [one.result.replicates for one in (results[arm], results[to]) if one.result]
    refuse_unknown(spec.name, measure, *sides)
    return next(one for one in _family(spec, records, to, measure) if one.arm == arm)


def _reported(records: Sequence[TrialRecord]) -> dict[str, TrialRecord]:
    """Return each arm's trial on the report seeds, whether it has a result or not."""
    return {one.request.arm: one for one in records if one.request.stage == "report"}


def _family(
    spec: StudySpec, records: Sequence[TrialRecord], to: str, measure: str
) -> list[Comparison]:
    found, reported = [], _reported(records)
    chosen = reported.get(BASELINE)
    student = StudentSettings.model_validate(chosen.request.student) if chosen else None
    not_run = repeated_arms(spec, student).keys() - reported.keys()  # and so no hypotheses
    for name in (BASELINE, *arms_of(spec)):
        if name == to or name in not_run:
            continue
        record = reported.get(name)
        if record is None or record.result is None:
            found.append(_without_result(spec, name, to, record))
        elif measure not in measures_of(record.result.replicates):
            lacks = f"it has no {measure}"
            found.append(_without_result(spec, name, to, record, lacks, measure))
        else:
            found.append(paired_comparison(spec, record, reported[to], measure))
    if not found:
        return []
    p = {one.arm: one.p_sign_flip for one in found}
    corrected: dict[str, float | None] = dict.fromkeys(p)
    if to == BASELINE:
        arms = effects_of(spec, records, measure).arms
        p |= {one.name: one.p_sign_flip for one in arms}
        corrected |= {one.name: one.p_holm for one in arms}
        tested = {one.name for one in arms if one.in_family}
    else:
        controls = controls_of(spec)
        tested = set() if to in controls else {*p} - controls
        family = [one for one in found if one.arm in tested]
        adjusted = holm([1.0 if one.p_sign_flip is None else one.p_sign_flip for one in family])
        corrected |= {one.arm: q for one, q in zip(family, adjusted, strict=True)}
    return [_corrected(one, p[one.arm], corrected[one.arm], one.arm in tested) for one in found]


def _corrected(
    one: Comparison, p_sign_flip: float | None, p_holm: float | None, is_tested: bool
) -> Comparison:
    """Return a comparison with its p; of an arm without a result, that it counts all the same."""
    if one.p_sign_flip is not None:
        return one.model_copy(update={"p_sign_flip": p_sign_flip, "p_holm": p_holm})
    counts = tuple(f"{note}; it counts as p = 1 in Holm's family" for note in one.notes)
    return one.model_copy(update={"notes": counts}) if is_tested else one


def _without_result(
    spec: StudySpec,
    arm: str,
    to: str,
    record: TrialRecord | None,
    lacks: str = "",
    measure: str = CCA,
) -> Comparison:
    status = record.status if record else "waiting"
    why = lacks or (f"{status}: {record.error}" if record and record.error else status)
    return Comparison(
        arm=arm,
        to=to,
        mode=_mode(spec),
        measure=measure,
        seeds=(),
        sessions=(),
        num_pairs=0,
        unit=None,
        num_units=0,
        speaks_of=None,
        mean_arm=None,
        mean_to=None,
        mean_difference=None,
        ci95=None,
        degrees_of_freedom=None,
        iqm_difference=None,
        ci95_bootstrap=None,
        iqm_ci95_bootstrap=None,
        p_sign_flip=None,
        least_p=None,
        probability_of_improvement=None,
        notes=(f"no result on the report seeds: {why}",),
    )


def _mode(spec: StudySpec) -> str:
    return spec.ablation.mode if spec.ablation else "held"


def paired_comparison(
    spec: StudySpec, arm: TrialRecord, to: TrialRecord, measure: str = CCA
) -> Comparison:
    """Return the comparison of two trials, paired by seed and session.

    Parameters
    ----------
    spec
        The study.
    arm, to
        Two trials that have results.
    measure
        What is compared, one of `measured.measures_of`.

    Returns
    -------
    Of the pairs that both sides have; a note says of how many that were asked for. The interval is
    that of `intervals.estimate_mean`. Signs are flipped of whole sessions where there are several;
    in one session of teachers where there are several, else of seeds.

    Raises
    ------
    StudyError
        They share no (seed, session), or a side has no such measure.
    """
    left, right = by_pair(arm, measure), by_pair(to, measure)
    name, other = arm.request.arm, to.request.arm
    pairs = [pair for pair in left if pair in right]
    if not pairs:
        raise StudyError(
            f"{spec.name}: '{name}' and '{other}' must share seeds and sessions to be paired, but "
            "share none; run the study again in a new folder"
        )
    ours, theirs = (
        measured_runs([side[pair] for pair in pairs], measure) for side in (left, right)
    )
    runs = ours.minus(theirs)
    found, units = estimate_mean(runs), np.array(runs.units())
    notes = [*found.notes, *flips_told(found.unit, len(units))]
    asked = asked_pairs((arm, to))
    if len(asked) > len(pairs):
        notes.append(f"{len(pairs)} of {len(asked)} runs have a partner; the others are left out")
    targets = other_targets({name: 1.0, other: -1.0}, {name: arm, other: to})
    if measure in OF_TARGET and targets:
        notes.append(targets_note(targets))
    random = generator(spec.search.seed, "statistics", name, other)
    differences = np.array(runs.values)
    mean_interval: Interval | None = None
    iqm_interval: Interval | None = None
    if len(pairs) > 1:
        mean_interval, iqm_interval = bootstrap_intervals(differences, runs.sessions, random)
    return Comparison(
        arm=name,
        to=other,
        mode=_mode(spec),
        measure=measure,
        seeds=tuple(dict.fromkeys(seed for _, seed in pairs)),
        sessions=tuple(dict.fromkeys(runs.sessions)),
        num_pairs=len(pairs),
        unit=found.unit,
        num_units=found.num_units,
        speaks_of=found.speaks_of,
        mean_arm=fmean(ours.means().values()),
        mean_to=fmean(theirs.means().values()),
        mean_difference=found.mean,
        ci95=found.ci95,
        degrees_of_freedom=found.degrees_of_freedom,
        iqm_difference=float(interquartile_mean(differences)),
        ci95_bootstrap=mean_interval,
        iqm_ci95_bootstrap=iqm_interval,
        p_sign_flip=sign_flip_p(units, random),
        least_p=least_p(len(units)),
        probability_of_improvement=probability_of_improvement(
            np.array(ours.values), np.array(theirs.values), runs.sessions
        ),
        notes=tuple(notes),
    )
