"""The arms of a study's ablation: what each sets, and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from typing import Any

from rheobase.core.errors import RheobaseError
from rheobase.student.settings import StudentSettings
from rheobase.study.file.ablation_settings import CONTROLS, dose_name
from rheobase.study.file.designs import STEP, designed, fraction_of
from rheobase.study.file.spec import (
    READ,
    StudySpec,
    of_tables,
    override_student,
    override_study,
    value_at,
)
from rheobase.study.records.result import BASELINE

TUNED_RATES = (1 / 3, 1.0, 3.0)
"""Learning rates that a gated network chooses from, in the study's own."""
TUNED_STEPS = (1, 3)
"""Steps that it chooses from, in the study's own."""
BETWEEN = " x "
"""Between the factors of an interaction's name."""


def arms_of(spec: StudySpec) -> dict[str, dict[str, Any]]:
    """Return every arm's overrides of the baseline by dotted path, in the order they run.

    Parameters
    ----------
    spec
        The study; without an [ablation] table it has no arms.

    Returns
    -------
    `leave-one-out`: the arms as written. `factorial`: every combination of them, 2^k - 1 beside
    the baseline, the smaller first; `fractional`: those of a fraction. `path`: the first, the first
    two, and so on; where results decide the order, ``step-1``, ``step-2``, …, of which the last
    alone is known to set something. Names of a combination are joined by ``+``. After them an arm
    for each level of a dosed setting, named ``ei_balance=0.5``, and the `baselines`, each alone in
    every design: they are what the others are held against, and no constraint to combine.

    Raises
    ------
    StudyError
        Arms to be combined set one setting to different values, a name holds a ``+``, or no
        fraction has the resolution.
    """
    if spec.ablation is None:
        return {}
    return {name: dict(arm.overrides) for name, arm in designed(spec.ablation).items()}


def factors_of(spec: StudySpec) -> dict[str, dict[str, float]]:
    """Return the level of every factor in the baseline and in every arm.

    Parameters
    ----------
    spec
        The study; without an [ablation] table there is the baseline alone, and no factor.

    Returns
    -------
    By arm, `baseline` first, then by factor: 0 where what the factor names is kept and 1 where it
    is lifted, and of a dosed setting its level. Arms of `baselines` have no factor: they are
    combined with nothing. Nor have the steps of a path whose order the results decide, but for
    the last.
    """
    if spec.ablation is None:
        return {BASELINE: {}}
    ablation = spec.ablation
    kept = dict.fromkeys(ablation.arms, 0.0) | {
        dose_name(path): float(value_at(spec, path)) for path in ablation.dose
    }
    levels = {BASELINE: kept}
    for name, arm in designed(ablation).items():
        changed = dict.fromkeys(arm.lifted, 1.0) | (dict([arm.dose]) if arm.dose else {})
        levels[name] = {**kept, **changed} if changed else {}
    return levels


def repeated_arms(spec: StudySpec, baseline: StudentSettings | None = None) -> dict[str, str]:
    """Return the arms that are not run, and for each the earlier one that it is.

    Parameters
    ----------
    spec
        The study.
    baseline
        All settings of the report stage's baseline, which the search chose. None: the study's own,
        and arms that set what is searched are left open.

    Returns
    -------
    By arm, `baseline` or the first arm whose settings are the same. Arms that have a search of
    their own are never the same, for nobody knows what it will choose.
    """
    seen: dict[str, str] = {}
    found = {}
    base = baseline or spec.student
    own_search = retuned_arms(spec)
    seen[_identity(spec, base, {})] = BASELINE
    for name, overrides in arms_of(spec).items():
        is_open = baseline is None and bool(overrides.keys() & spec.search.space.keys())
        if name in own_search or not overrides or is_open:
            continue
        same = seen.setdefault(_identity(spec, base, overrides), name)
        if same != name:
            found[name] = same
    return found


def repeated_told(repeated: Mapping[str, str]) -> str:
    """Return in a line which arms are not run; empty if all are.

    Examples
    --------
    >>> repeated_told({"ei_balance=1": "baseline"})
    'not run twice: ei_balance=1 is baseline'
    """
    told = ", ".join(f"{arm} is {same}" for arm, same in repeated.items())
    return f"not run twice: {told}" if told else ""


def hypotheses_of(
    spec: StudySpec, baseline: StudentSettings | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the family of hypotheses that is corrected for together, by name.

    Parameters
    ----------
    spec
        The study.
    baseline
        As `repeated_arms` takes it.

    Returns
    -------
    What each is about. Of `leave-one-out` each arm, of `path` each step; of `factorial` the main
    effect of each arm and, under ``a x b``, the interaction of each two; of `fractional` the same
    where the resolution is 5, and below it main effects alone, for interactions of two are not
    told apart. Then a trend over each dosed setting, and each of the `baselines` that lifts a
    constraint. Controls are no hypothesis, and neither is an arm that is not run.
    """
    if spec.ablation is None:
        return {}
    ablation, repeated = spec.ablation, repeated_arms(spec, baseline)
    found: dict[str, tuple[str, ...]] = {}
    if ablation.design in ("factorial", "fractional"):
        part = fraction_of(ablation)
        factors = [name for name, one in ablation.arms.items() if _changes(spec, baseline, one)]
        found = {name: (name,) for name in factors}
        if part is None or part.resolution >= 5:
            found |= {BETWEEN.join(pair): pair for pair in combinations(factors, 2)}
    else:
        found = {
            name: (name,)
            for name, arm in designed(ablation).items()
            if not arm.dose and name not in (*ablation.baselines, *repeated)
        }
    found |= {dose_name(path): (dose_name(path),) for path in ablation.dose}
    tested = [word for word in ablation.baselines if word not in (*CONTROLS, *repeated)]
    return found | {word: (word,) for word in tested}


def _changes(
    spec: StudySpec, baseline: StudentSettings | None, overrides: Mapping[str, Any]
) -> bool:
    """Return whether overrides change the baseline, as far as that is known."""
    is_open = baseline is None and bool(overrides.keys() & spec.search.space.keys())
    base = baseline or spec.student
    return is_open or _identity(spec, base, overrides) != _identity(spec, base, {})


def _identity(spec: StudySpec, base: StudentSettings, overrides: Mapping[str, Any]) -> str:
    """Return all that an arm's numbers depend on beside seeds, as text."""
    student = override_student(base, overrides).model_dump_json()
    return f"{student} {reads_told(reads_of(spec, overrides))}"


def reads_of(spec: StudySpec, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an arm sets of [data] and [teacher] that is not the study's own.

    Parameters
    ----------
    spec
        The study.
    overrides
        Of the arm.

    Returns
    -------
    By dotted path, as plain JSON values; empty where the arm reads what the study reads. With it
    `override_study` gives the study whose shards and latents the arm reads.
    """
    if not of_tables(overrides, *READ):
        return {}
    other = override_study(spec, overrides)
    return {
        path: value
        for name in READ
        for path, value in _by_path(name, other).items()
        if _by_path(name, spec).get(path) != value
    }


def _by_path(name: str, spec: StudySpec) -> dict[str, Any]:
    table = {
        f"{name}.{key}": one for key, one in getattr(spec, name).model_dump(mode="json").items()
    }
    labels = table.pop("data.labels", {})
    return table | {f"data.labels.{column}": words for column, words in labels.items()}


def reads_told(reads: Mapping[str, Any]) -> str:
    """Return in words what of [data] and [teacher] an arm sets; the same words of the same.

    Examples
    --------
    >>> reads_told({"teacher.horizons_ms": [40.0, 80.0], "data.areas": ["VISp"]})
    "data.areas = ['VISp'], teacher.horizons_ms = [40.0, 80.0]"
    """
    return ", ".join(f"{path} = {value!r}" for path, value in sorted(reads.items()))


def study_of_arm(spec: StudySpec, arm: str) -> StudySpec:
    """Return the study that an arm by itself would be.

    What the arm sets is set, and no longer searched; budget, sampler, seeds and every other setting
    are the study's.
    """
    overrides = arms_of(spec)[arm]
    space = {path: one for path, one in spec.search.space.items() if path not in overrides}
    return override_study(spec, overrides).model_copy(
        update={
            "search": spec.search.model_copy(update={"space": space}),
            "ablation": None,
        }
    )


@contextmanager
def naming_arms(told: str) -> Iterator[None]:
    """Say in an error that it is of arms that read something else, and what they set."""
    try:
        yield
    except RheobaseError as error:
        raise type(error)(f"arms with {told}: {error}") from error


def other_inputs(spec: StudySpec) -> dict[str, list[str]]:
    """Return the arms that read other shards or latents than the study, by `reads_told`.

    Arms that are not run because they are others' are left out.
    """
    found: dict[str, list[str]] = {}
    repeated = repeated_arms(spec)
    for name, overrides in arms_of(spec).items():
        reads = {} if name in repeated else reads_of(spec, overrides)
        if reads:
            found.setdefault(reads_told(reads), []).append(name)
    return found


def controls_of(spec: StudySpec) -> frozenset[str]:
    """Return the arms that lift no constraint, and so take no part in Holm's correction."""
    return CONTROLS & set(spec.ablation.baselines) if spec.ablation else frozenset()


def retuned_arms(spec: StudySpec) -> list[str]:
    """Return the arms that have a search of their own; none where all are held."""
    if spec.ablation is None or spec.ablation.mode == "held" or not spec.seeds.report:
        return []
    return [name for name in arms_of(spec) if name not in CONTROLS]


def tuned_trials(spec: StudySpec) -> list[dict[str, Any]]:
    """Return the overrides of every trial from which the settings of a study's arms are chosen.

    Those of gated controls, of each arm's own search, and of the steps of a path by effect, of
    which the whole path stands for each.
    """
    if spec.ablation is None or not spec.seeds.report:
        return []
    arms = arms_of(spec)
    found = [one for arm in arms.values() for one in tuned_settings(spec.student, arm)]
    found += [arms[name] for name in retuned_arms(spec) for _ in range(spec.search.trials)]
    num = len(spec.ablation.arms)
    if spec.ablation.order == "effect" and num:
        found += [arms[f"{STEP}{num}"]] * (num * (num + 1) // 2 - 1)
    return found


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
