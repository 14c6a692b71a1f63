"""A run's whole table of effects: every contrast of its design, corrected over their family."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rheobase.core.errors import StudyError
from rheobase.core.seeds import generator
from rheobase.core.settings import Settings
from rheobase.student.settings import StudentSettings
from rheobase.study.file.ablation import arms_of, controls_of, factors_of, repeated_arms
from rheobase.study.file.ablation_settings import dose_name
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.contrasts import Contrast, contrasts_of
from rheobase.study.ranking.effects import Effect, effect_of
from rheobase.study.ranking.intervals import Runs
from rheobase.study.ranking.measured import CCA, refuse_unknown
from rheobase.study.ranking.pairs import Pair, asked_pairs, by_pair, shared_runs
from rheobase.study.ranking.resampling import ALPHA, holm
from rheobase.study.ranking.targets import decoded_beside, other_targets, targets_note
from rheobase.study.records.result import BASELINE, ENDED, TrialRecord

CORRELATIONS = (
    *(CCA, "cca_within_state", "cca_cross_state", "state_cost"),
    *("gain", "above_linear", "untrained", "linear_readout"),
)
"""Measures that `ablation.least_effect` is of; of another nobody knows what is no difference."""
OF_TARGET = frozenset({*CORRELATIONS, "closed", "decoding"})
"""Measures of what is carried, which mean something else of another target."""


class MissingRuns(Settings):
    """Seeds and sessions that an arm of the study lacks."""

    arm: str
    why: str
    """`waiting`, `running` or `pruned`, or why it failed, in a line."""
    runs: tuple[tuple[int, str], ...]
    """Seed and session of each; empty where no session is known yet."""
    can_be_run: bool
    """Whether going on with the run gives them; those that failed would fail again."""


class Effects(Settings):
    """Every effect of a study's ablation, in one measure."""

    study: str
    design: str
    mode: str
    """`held`: every other setting is the baseline's."""
    measure: str
    margin: float | None
    """What is called no difference; null where nobody said it of this measure."""
    num_hypotheses: int
    """How many p are corrected for one another."""
    main_effects: tuple[Effect, ...]
    """Of factors that are combined."""
    interactions: tuple[Effect, ...]
    """Of every two of them: where costs do not add up."""
    steps: tuple[Effect, ...]
    """Of a path."""
    trends: tuple[Effect, ...]
    """Of settings over levels."""
    arms: tuple[Effect, ...]
    """Of arms that are combined with nothing, each minus the baseline."""
    missing: tuple[MissingRuns, ...]
    """What arms lack."""
    command: str | None
    """What runs those that can be run; null where there are none."""
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Effect, ...]:
        """All effects, one after another."""
        return (*self.main_effects, *self.interactions, *self.steps, *self.trends, *self.arms)


def effects_of(
    spec: StudySpec,
    records: Sequence[TrialRecord],
    measure: str = CCA,
    margin: float | None = None,
    run: Path | None = None,
) -> Effects:
    """Return the table.

    Parameters
    ----------
    spec
        The study.
    records
        Every trial of its ledger.
    measure
        What is compared, one of `measured.measures_of`.
    margin
        What is called no difference, in units of the measure. None: `ablation.least_effect` of
        what is a correlation, of another measure nothing.
    run
        Folder of the run, which the command for what is missing names.

    Returns
    -------
    Replicates are paired by seed and session: an effect takes those that all of its arms have.
    Neither the order of arms, of records nor of replicates changes a number. An arm that was not
    run because its settings are another's stands with the other's results; what then changes
    nothing is no hypothesis, and a note says so.

    Raises
    ------
    StudyError
        The study has no ablation, its baseline no result, no arm has the measure, or the margin is
        not above 0.
    """
    if spec.ablation is None:
        raise StudyError(f"{spec.name}: effects must be of an [ablation], but the study has none")
    if margin is not None and not margin > 0:
        raise StudyError(f"{spec.name}: a margin must be above 0, but got {margin:g}")
    trials = trials_of_arms(spec, records)
    base = trials.get(BASELINE)
    if base is None or base.result is None:
        raise StudyError(
            f"{spec.name}: '{BASELINE}' must have a complete trial on the report seeds, but has "
            "none; finish the run with 'rheobase run --resume'"
        )
    refuse_unknown(spec.name, measure, base.result.replicates)
    if margin is None and measure in CORRELATIONS:
        margin = spec.ablation.least_effect
    found_by = {arm: by_pair(record, measure) for arm, record in trials.items()}
    notes = [f"{arm} is {one.request.arm}: their settings are the same, and it was not run twice"
             for arm, one in trials.items() if one.request.arm != arm]  # fmt: skip
    asked = asked_pairs(trials.values())
    effects: list[Effect] = []
    shared: dict[tuple[str, ...], tuple[list[Pair], dict[str, Runs]]] = {}
    contrasts = contrasts_of(
        spec.ablation.design,
        levels_of(spec, base),
        [dose_name(path) for path in spec.ablation.dose],
        spec.ablation.baselines,
        controls_of(spec),
    )
    for contrast in contrasts:
        if _changes_nothing(contrast, trials):
            notes.append(f"{contrast.name}: changes nothing of the baseline; it is no hypothesis")
            continue
        ran = trials.get(contrast.name)
        if contrast.kind == "arm" and ran and ran.request.arm != contrast.name:
            contrast = replace(contrast, in_family=False)  # the hypothesis is the other arm's
        of = tuple(contrast.weights)
        if of not in shared:
            shared[of] = shared_runs({arm: found_by.get(arm, {}) for arm in of}, measure)
        pairs, arms = shared[of]
        random = generator(spec.search.seed, "statistics", "effect", contrast.name)
        seeds = [seed for _, seed in pairs]
        effect = effect_of(contrast, arms, seeds, len(asked), margin, random)
        if measure in OF_TARGET and (targets := other_targets(contrast.weights, trials)):
            update = {
                "other_targets": targets,
                "decoded": decoded_beside(contrast.weights, trials),
                "notes": (*effect.notes, targets_note(targets)),
            }
            effect = effect.model_copy(update=update)
        effects.append(effect)
    effects = _corrected(effects)
    missing = _missing(spec, trials, asked)
    command = None
    if any(one.can_be_run for one in missing):
        folder = "RUN" if run is None else run
        command = f"rheobase run {folder}/study.toml --out {folder} --resume"
    for lacks in missing:
        if not found_by.get(lacks.arm):
            notes.append(f"{lacks.arm}: no result on the report seeds: {lacks.why}")
    kinds = {
        name: tuple(one for one in effects if one.kind == kind)
        for name, kind in (
            ("main_effects", "main"),
            ("interactions", "interaction"),
            ("steps", "step"),
            ("trends", "trend"),
            ("arms", "arm"),
        )
    }
    return Effects(
        study=spec.name,
        design=spec.ablation.design,
        mode=spec.ablation.mode,
        measure=measure,
        margin=margin,
        num_hypotheses=sum(one.in_family for one in effects),
        **kinds,
        missing=tuple(missing),
        command=command,
        notes=tuple(notes),
    )


def levels_of(spec: StudySpec, base: TrialRecord) -> dict[str, dict[str, float]]:
    """Return `factors_of`, its dosed settings at the level that the search chose.

    Parameters
    ----------
    spec
        The study.
    base
        The baseline on the report seeds.
    """
    assert spec.ablation is not None
    overrides = {BASELINE: {}, **arms_of(spec)}
    levels = {arm: dict(row) for arm, row in factors_of(spec).items()}
    for arm, row in levels.items():
        for path in spec.ablation.dose if row else ():
            name = dose_name(path)
            if path not in overrides[arm]:
                row[name] = float(base.request.student.get(name, row[name]))
    return levels


def trials_of_arms(spec: StudySpec, records: Sequence[TrialRecord]) -> dict[str, TrialRecord]:
    """Return each arm's trial on the report seeds, the baseline's first.

    Of an arm that was not run, the trial whose settings are its own. Empty where the baseline has
    no result.
    """
    reported = {one.request.arm: one for one in records if one.request.stage == "report"}
    base = reported.get(BASELINE)
    if base is None or base.result is None:
        return {}
    repeated = repeated_arms(spec, StudentSettings.model_validate(base.request.student))
    found = {BASELINE: base}
    for arm in arms_of(spec):
        if record := reported.get(arm) or reported.get(repeated.get(arm, arm)):
            found[arm] = record
    return found


def _changes_nothing(contrast: Contrast, trials: Mapping[str, TrialRecord]) -> bool:
    """Return whether the trials of both sides are the same ones, weighed alike."""
    if not contrast.weights.keys() <= trials.keys():
        return False
    weights: dict[str, list[float]] = {}
    for arm, weight in contrast.weights.items():
        weights.setdefault(trials[arm].request.trial_id, []).append(weight)
    return all(abs(math.fsum(each)) < 1e-9 for each in weights.values())


def _corrected(effects: Sequence[Effect]) -> list[Effect]:
    """Return effects with Holm's p, of differences and of equivalence, over their family."""
    family = [one for one in effects if one.in_family]
    p = holm([1.0 if one.p_sign_flip is None else one.p_sign_flip for one in family])
    p_interval = holm([1.0 if one.p_interval is None else one.p_interval for one in family])
    p_same = holm([one.equivalence.p if one.equivalence else 1.0 for one in family])
    names = (one.name for one in family)
    adjusted = dict(zip(names, zip(p, p_interval, p_same, strict=True), strict=True))
    found = []
    for one in effects:
        if one.in_family and one.p_sign_flip is not None:
            differs, by_interval, same = adjusted[one.name]
            update: dict[str, object] = {"p_holm": differs}
            if one.p_interval is not None:
                update["p_interval_holm"] = by_interval
                if one.unit != "session" and differs <= ALPHA < by_interval:
                    told = (
                        f"of other blocks of the recording p is {by_interval:.2g} by the interval, "
                        f"corrected alike: what flipped {one.unit}s find holds on these alone"
                    )
                    update["notes"] = (*one.notes, told)
            if one.equivalence:
                update["equivalence"] = one.equivalence.model_copy(
                    update={"p_holm": same, "is_equivalent": same <= ALPHA}
                )
            one = one.model_copy(update=update)
        found.append(one)
    return found


def _missing(
    spec: StudySpec, trials: Mapping[str, TrialRecord], asked: set[Pair]
) -> list[MissingRuns]:
    found = []
    for arm in (BASELINE, *arms_of(spec)):
        record = trials.get(arm)
        have = set(by_pair(record, CCA)) if record else set()
        lacks = sorted(asked - have)
        if not lacks and have:
            continue
        status = record.status if record else "waiting"
        why = record.error if record and record.error else status
        failed = record.result.failed if record and record.result else ()
        if failed:
            why = failed[0].reason
        found.append(
            MissingRuns(
                arm=arm,
                why=why,
                runs=tuple((seed, session) for session, seed in lacks),
                can_be_run=status not in ENDED,
            )
        )
    return found
