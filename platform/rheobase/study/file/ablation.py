"""The arms of an ablation: which overrides each one sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from rheobase.core.errors import StudyError
from rheobase.student.settings import StudentSettings
from rheobase.study.file.spec import BASELINES, CONTROLS, StudySpec, override_student
from rheobase.study.records.result import BASELINE

JOIN = "+"
TUNED_RATES = (1 / 3, 1.0, 3.0)
"""Learning rates that a gated network chooses from, in the study's own."""
TUNED_STEPS = (1, 3)
"""Steps that it chooses from, in the study's own."""


def arms_of(spec: StudySpec) -> dict[str, dict[str, Any]]:
    """Return every arm's overrides of the baseline by dotted path, in the order they run.

    Parameters
    ----------
    spec
        The study; without an [ablation] table it has no arms.

    Returns
    -------
    `leave-one-out`: the arms as written. `factorial`: every combination of them, 2^k - 1 beside
    the baseline, the smaller first. `path`: the first, the first two, and so on. Names of a
    combination are joined by ``+``. After them the `baselines`, each alone in every design: they
    are what the others are held against, and no constraint to combine.

    Raises
    ------
    StudyError
        Arms to be combined set one setting to different values, or a name holds a ``+``.
    """
    if spec.ablation is None:
        return {}
    arms, design = spec.ablation.arms, spec.ablation.design
    names = list(arms)
    together: Iterable[tuple[str, ...]]
    if design == "leave-one-out":
        together = [(name,) for name in names]
    elif design == "factorial":
        together = [chosen for num in range(len(names)) for chosen in combinations(names, num + 1)]
    else:
        together = [tuple(names[: num + 1]) for num in range(len(names))]
    combined: dict[str, dict[str, Any]] = {}
    for chosen in together:
        overrides: dict[str, Any] = {}
        for name in chosen:
            if JOIN in name and design != "leave-one-out":
                raise StudyError(
                    f"[ablation.arms.{name}]: names of arms to be combined must not hold "
                    f"'{JOIN}', which joins them; rename it"
                )
            for path, value in arms[name].items():
                if overrides.setdefault(path, value) != value:
                    raise StudyError(
                        f"[ablation.arms.{name}]: arms combined by design = '{design}' must agree "
                        f"on a setting, but '{path}' is {value!r} here and {overrides[path]!r} "
                        "in another; use design = 'leave-one-out'"
                    )
        combined[JOIN.join(chosen)] = overrides
    return combined | {word: dict(BASELINES[word]) for word in spec.ablation.baselines}


def factors_of(spec: StudySpec) -> dict[str, dict[str, float]]:
    """Return the level of every factor in the baseline and in every arm.

    Parameters
    ----------
    spec
        The study; without an [ablation] table there is the baseline alone, and no factor.

    Returns
    -------
    By arm, `baseline` first, then by factor: 0 where what the factor names is kept and 1 where it
    is lifted. Arms of `baselines` have no factor: they are combined with nothing.
    """
    if spec.ablation is None:
        return {BASELINE: {}}
    factors, alone = list(spec.ablation.arms), set(spec.ablation.baselines)
    levels = {BASELINE: dict.fromkeys(factors, 0.0)}
    for arm in arms_of(spec):
        parts = {arm} if spec.ablation.design == "leave-one-out" else {*arm.split(JOIN)}
        levels[arm] = {} if arm in alone else {name: float(name in parts) for name in factors}
    return levels


def controls_of(spec: StudySpec) -> frozenset[str]:
    """Return the arms that lift no constraint, and so take no part in Holm's correction."""
    return CONTROLS & set(spec.ablation.baselines) if spec.ablation else frozenset()


def tuned_trials(spec: StudySpec) -> list[dict[str, Any]]:
    """Return the overrides of every trial from which the settings of a study's arms are chosen."""
    arms = arms_of(spec).values() if spec.seeds.report else ()
    return [one for arm in arms for one in tuned_settings(spec.student, arm)]


def tuned_settings(student: StudentSettings, overrides: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the settings that an arm chooses from on validation, each beside its overrides.

    Parameters
    ----------
    student
        Of the baseline.
    overrides
        Of the arm.

    Returns
    -------
    Of a network of gated units in the place of one that spikes: learning rates and steps around
    the baseline's, which were chosen for another kind of network; what the arm itself sets is
    kept. Of any other arm nothing: it is held at the baseline's settings.
    """
    arm = override_student(student, overrides)
    if arm.kind.spikes or not arm.kind.is_trained or not student.kind.spikes:
        return []
    return [
        {"student.learning_rate": student.learning_rate * rate, "student.steps": student.steps * n}
        | dict(overrides)
        for n in TUNED_STEPS
        for rate in TUNED_RATES
    ]
