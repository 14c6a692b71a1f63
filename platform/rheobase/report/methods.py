"""The methods of a run as a paragraph for a paper, from the run's own records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rheobase.core.settings import Settings
from rheobase.core.versions import OWN
from rheobase.report.methods_words import (
    baseline_of,
    data_told,
    design_told,
    from_to,
    listed,
    network_told,
    num,
    search_told,
    teacher_told,
)
from rheobase.report.references import (
    RHEOBASE,
    bibtex,
    cited,
    known_references,
    with_names,
)
from rheobase.study.file.spec import StudySpec
from rheobase.study.planning.plan import Work
from rheobase.study.ranking.effect_table import Effects, effects_of
from rheobase.study.ranking.intervals import estimate_mean, runs_of
from rheobase.study.ranking.resampling import MOST_EXACT_PAIRS, NUM_FLIPS, least_p
from rheobase.study.records.result import BASELINE, ENDED, NULLS, TrialRecord
from rheobase.study.run_folder import RunFolder, read_record
from rheobase.study.run_inputs import RunInputs
from rheobase.teacher.settings import TeacherSettings

NULL_WORDS = {
    "null_shift": "the teacher moved in time",
    "null_clock": "presentations permuted",
    "null_session": "other sessions' teachers",
}


class Methods(Settings):
    """What a run did, for a paper."""

    study: str
    paragraph: str
    """All sentences, with authors and years where they cite."""
    sentences: Mapping[str, tuple[str, ...]]
    """By topic; they cite as Pandoc does, ``[@holm1979]``."""
    references: Mapping[str, str]
    """Authors and year of each source by its key, in the order they are cited."""
    bibtex: str
    """Of those sources."""


def methods_of(run: RunFolder) -> Methods:
    """Return what a run did, in words; what it did not do or keep is said so.

    Parameters
    ----------
    run
        A run that has begun. Its study, inputs, ledger, plan and teacher's report are read; nothing
        is trained, measured or looked up elsewhere.

    Raises
    ------
    ArtifactError
        The folder is not of a run that has begun, or something in it is damaged.
    """
    spec, inputs, records = run.read_study(), run.read_inputs(), run.read_records()
    latents, shards = run.read_manifests()
    made_by = TeacherSettings.model_validate(latents.get("settings", spec.teacher.model_dump()))
    base = next((one for one in _reported(records) if one.request.arm == BASELINE), None)
    effects = None
    if spec.ablation is not None and base is not None:
        effects = effects_of(spec, records)
    versions = _versions(inputs, records)
    sentences = {
        "data": data_told(spec.data, shards),
        "teacher": teacher_told(made_by, spec.teacher_seeds, run.read_teacher_report()),
        "network": network_told(baseline_of(records) or spec.student),
        "search": search_told(spec, records),
        "design": design_told(spec, records),
        "plan": _plan_told(
            read_record(run.plan, Work, "what was planned") if run.plan.exists() else None, effects
        ),
        "seeds": _seeds_told(spec, records),
        "statistics": [*_measure_told(spec, base), *_statistics_told(base, effects)],
        "software": _software_told(spec, inputs, records, versions),
    }
    flat = [one for told in sentences.values() for one in told]
    keys, known = cited(flat), known_references(versions[0].get(OWN, "of no recorded version"))
    return Methods(
        study=spec.name,
        paragraph=with_names(" ".join(flat), known),
        sentences={topic: tuple(told) for topic, told in sentences.items()},
        references={key: known[key].short for key in keys},
        bibtex=bibtex(keys, known),
    )


def _reported(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [one for one in records if one.request.stage == "report" and one.result is not None]


def _plan_told(plan: Work | None, effects: Effects | None) -> list[str]:
    """Return what was planned before the first trial, and what is asked otherwise now."""
    if plan is None:
        return ["No plan was written down before the first trial."]
    if not plan.hypotheses:
        return ["The plan that was written down before the first trial tests no hypothesis."]
    sentences = [
        f"{num(len(plan.hypotheses), 'hypothesis')} had been written down before the first trial "
        f"(least p after Holm {plan.least_p_after_holm:.2g})"
    ]
    power = plan.power
    if power is not None and power.smallest_dz is not None:
        sentences[0] += (
            f", and that {power.num_units} {power.unit} find effects of {power.smallest_dz:.2g} "
            f"standard deviations of a unit in {power.aim:.0%} of such studies"
        )
        if power.smallest_effect is not None and power.spread is not None:
            sentences[0] += (
                f", of {power.smallest_effect:.3f} CCA by the spread of {power.spread.source}"
            )
    elif power is not None:
        sentences[0] += f", which {power.num_units} {power.unit} cannot find"
    sentences[0] += "."
    if effects is not None:
        tested = [one.name for one in effects.rows if one.in_family]
        lost = [name for name in plan.hypotheses if name not in tested]
        new = [name for name in tested if name not in plan.hypotheses]
        for names, told in ((lost, "Planned, not tested"), (new, "Tested, not planned")):
            if names:
                sentences.append(f"{told}: {listed(names)}.")
        if not lost and not new:
            sentences.append("These and no others were tested.")
    return sentences


def _seeds_told(spec: StudySpec, records: Sequence[TrialRecord]) -> list[str]:
    """Return how many networks the numbers rest on, and which are missing."""
    asked = [one for one in records if one.request.stage == "report"]
    reported = _reported(records)
    running = sum(one.status not in ENDED for one in records)
    sentences = []
    if running or not reported:
        left = num(running, "trial") + (" has" if running == 1 else " have")
        ended = f"{left} not ended" if running else "no report stage has run"
        sentences.append(f"This run is not done: {ended}.")
    if not reported:
        return sentences
    results = [one.result for one in reported if one.result]
    networks = sum(len(one.replicates) for one in results)
    sentences.append(
        f"{num(len(reported), 'arm')} of {len(asked)}, the baseline among them, were trained anew "
        f"on root seeds {listed(spec.seeds.report)} on each recording, {num(networks, 'network')}, "
        "the seeds the same in every arm."
    )
    failed = [f"{fail.seed} of {fail.session} in {one.request.arm}"
              for one in reported if one.result for fail in one.result.failed]  # fmt: skip
    failed += [f"all of {one.request.arm}" for one in asked if one.status == "failed"]
    if failed:
        sentences.append(f"Seeds that failed: {listed(failed)}.")
    return sentences


def _measure_told(spec: StudySpec, base: TrialRecord | None) -> list[str]:
    """Return what is measured, and what it is held beside, as the baseline's replicates show."""
    if base is None or base.result is None:
        return []
    found = base.result.replicates
    dims = sorted({one.dims if one.dims is not None else len(one.cca_pairs) for one in found})
    where = (
        "test bins, which nothing before the report stage had seen"
        if all(one.cca_validation is not None for one in found)
        else "held-out bins"
    )
    sentences = [
        "The measure is held-out CCA: the mean signed correlation of the "
        f"{from_to(dims)} canonical pairs of filtered spikes and latents [@hardoon2004], fitted on "
        f"training bins, scored on {where}."
    ]
    beside = [
        f"{NULL_WORDS[name]} ({from_to(draws)} draws)"
        for name in NULLS
        if (draws := [null.num_draws for one in found if (null := getattr(one, name))])
    ]
    told = "the same networks untrained and the best linear readout of past counts"
    if beside:
        told = f"nulls of {listed(beside)} [@harris2020], {told}"
    sentences.append(f"It is held beside {told}.")
    return sentences


def _statistics_told(base: TrialRecord | None, effects: Effects | None) -> list[str]:
    """Return how intervals and p are made, of the units that the results really have."""
    if base is None or base.result is None:
        return []
    level = estimate_mean(runs_of(base.result.replicates))
    interval = {
        "session": f"Student's t [@student1908] over the means of {level.num_units} sessions",
        "teacher": f"Student's t [@student1908] over {level.num_units} teachers and held-out "
        "blocks",
        "seed": f"Student's t [@student1908] over {num(level.num_units, 'seed')} and held-out "
        "blocks",
    }[level.unit]
    blocks = any(one.blocks for one in base.result.replicates)
    if level.unit != "session":
        interval = interval if blocks else interval.removesuffix(" and held-out blocks")
        if blocks:
            interval += (
                " (jackknife pseudo-values [@tukey1958], degrees of freedom between those of "
                "Satterthwaite and of Zou and Donner [@satterthwaite1946; @zou2008])"
            )
    sentences = [f"Intervals are 95 % intervals of {interval}; they speak of {level.speaks_of}."]
    units = [one.num_units for one in effects.rows if one.num_units] if effects else []
    if effects is None or not units:
        return sentences
    kind = next(one.unit for one in effects.rows if one.unit)
    exact = max(units) <= MOST_EXACT_PAIRS
    flips = "exact" if exact else f"{NUM_FLIPS:,} random flips"
    tested = num(effects.num_hypotheses, "hypothesis")
    sentences.append(
        "Effects are differences of arms within seed and recording; p is that of a two-sided test "
        f"of flipped signs [@fisher1935] of {from_to(units)} {kind}s ({flips}; the least that so "
        f"many reach is {least_p(min(units)):.2g})"
        + (f", corrected over {tested} [@holm1979]." if effects.num_hypotheses > 1 else ".")
    )
    if kind != "session":
        sentences.append(
            f"Flips of {kind}s speak of these held-out blocks; of the recording p is that of the "
            "interval, corrected alike."
        )
    if effects.main_effects:
        sentences.append(
            "A main effect is the mean of the arms that lift a factor minus the mean of those that "
            "keep it; an interaction half the difference between one factor's effect where the "
            "other is lifted and where it is kept [@box2005]."
        )
    if effects.trends:
        sentences.append("A trend is what a least-squares line gains over the levels of a dose.")
    if effects.margin is not None:
        sentences.append(
            f"No difference is claimed where two one-sided tests [@schuirmann1987] put an effect "
            f"within ±{effects.margin:g}, corrected alike."
        )
    sentences.append(
        "Beside the mean stand the interquartile mean, the probability of improvement "
        "[@agarwal2021] and the Hodges-Lehmann estimate [@hodges1963]."
    )
    return sentences


def _versions(inputs: RunInputs, records: Sequence[TrialRecord]) -> list[Mapping[str, str]]:
    """Return the versions that results were made with, each set once; the run's if none says."""
    found = [one.result.versions for one in _reported(records) if one.result.versions]  # type: ignore[union-attr]
    distinct = {tuple(sorted(one.items())): one for one in found}
    return list(distinct.values()) or [inputs.versions]


def _software_told(
    spec: StudySpec,
    inputs: RunInputs,
    records: Sequence[TrialRecord],
    versions: Sequence[Mapping[str, str]],
) -> list[str]:
    first, *others = versions
    packages = listed(f"{name} {one}" for name, one in first.items() if name != OWN)
    own = f"rheobase {first[OWN]}" if OWN in first else "rheobase of no recorded version"
    sentences = [f"All was done with {own} [@{RHEOBASE}]" + (f", {packages}." if packages else ".")]
    differ = {
        f"{name} {one[name]}"
        for one in others
        for name in one
        if first.get(name) != one[name]
    }  # fmt: skip
    if differ:
        sentences.append(f"Some arms ran with other versions: {listed(sorted(differ))}.")
    hosts = [one.result.host for one in _reported(records) if one.result and one.result.host]
    machines = dict.fromkeys(
        " ".join(str(one[key]) for key in ("device", "cpu", "system") if key in one)
        for one in hosts
    )
    if machines:
        sentences.append(f"Networks ran on {listed(machines)}.")
    digests = inputs.digests
    sentences.append(
        f"Root seed of search and statistics {spec.search.seed}; digests of code "
        f"{digests.code}, latents {listed((digests.latents, *digests.further_latents))} and "
        f"recordings {listed(digests.shards.values())}."
    )
    return sentences
