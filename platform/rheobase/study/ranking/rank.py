"""The ranking of a study's trials, from its records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rheobase.measures.firing import total_violation
from rheobase.study.file.objectives import ObjectiveName, objective_values
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.balance import balances_of
from rheobase.study.ranking.confirm import least_network, optimism
from rheobase.study.ranking.feasibility import violations_of
from rheobase.study.ranking.gate import gate_of
from rheobase.study.ranking.intervals import estimate_mean, runs_of
from rheobase.study.ranking.measured import WITHIN, least_told
from rheobase.study.ranking.pareto import pareto_front
from rheobase.study.ranking.pruned import stopped_summary
from rheobase.study.ranking.ranking import (
    TIERS,
    HeldOutCca,
    MeanInterval,
    MeasuredTrial,
    ProbeScores,
    RankedTrial,
    Ranking,
    Rates,
    UnmeasuredTrial,
)
from rheobase.study.ranking.states import state_fields
from rheobase.study.ranking.targets import target_of
from rheobase.study.records.result import (
    ENDED,
    NULLS,
    RateSummary,
    ReplicateResult,
    TrialRecord,
)

STATES = ("active", "passive")  # None where not recorded; other states are added as found
SIZES: tuple[ObjectiveName, ...] = ("num_neurons", "spikes_per_s", "connections", "ei_error")


def rank_study(spec: StudySpec, records: Sequence[TrialRecord]) -> Ranking:
    """Return the ranking.

    Parameters
    ----------
    spec
        The study.
    records
        Every trial of its ledger.

    Notes
    -----
    Tiers: `passed` (feasible and through the gate), `feasible`, `infeasible`, `failed`. In the
    first two the higher mean held-out CCA comes first, among infeasible trials the smaller total
    violation. Trials stopped early have no held-out numbers: they are in the last tier, before
    those that failed. Ties go to the trial asked for first.

    Every number is a mean over replicates (seed × session); `rate_hz` over states too.
    Intervals are those of `intervals.estimate_mean`: of one session they speak of that recording,
    of several of recordings like these.
    `per_seed` is the mean over sessions. `violations` holds the worst replicate of each line,
    `violation` the sum of those above 0. `null_..._q95` is the largest among replicates: the mean
    CCA must exceed what chance earns on the easiest seed and session. `closed` is
    (cca - untrained) / (1 - untrained) of the means.

    The gate is `gate_of`'s, held in every session. What is missing is None with its reason in
    `notes`, never 0. A trial that lacks a seed is not feasible, and comes after the infeasible
    trials that have all of theirs.
    """
    rows = [trial_row(spec, record) for record in records if record.status in ENDED]
    by_id = {record.request.trial_id: record for record in records}
    trials = ranked([row for row in rows if row.stage == "select"])
    confirmed = ranked([row for row in rows if row.stage == "report"])
    confirmed.sort(key=lambda row: row.number)
    audited = [row for row in rows if row.stage == "audit" and isinstance(row, MeasuredTrial)]
    front = pareto_front(spec, by_id, trials)
    best = trials[0].trial_id if trials and trials[0].is_feasible else None
    if front and front.knee:
        best = front.knee
    notes = []
    if unfinished := sum(record.status not in ENDED for record in records):
        notes.append(f"not ranked: {unfinished} trials that have not ended")
    if best is None:
        notes.append("best: no trial of the search is feasible")
    if front and not front.trials:
        notes.append("pareto: no trial of the search passes the gate")
    if not confirmed:
        notes.append("confirmed: no trial has ended on the report seeds; quote nothing yet")
    beats = [not trials or _place(row) < _place(trials[0]) for row in audited]
    return Ranking(
        study=spec.name,
        best=best,
        trials=tuple(trials),
        confirmed=tuple(confirmed),
        optimism=tuple(optimism(records, trials)),
        pareto=front,
        least=least_network(spec, records, confirmed, front),
        stopped=stopped_summary(spec, records, audited, beats),
        notes=tuple(notes),
    )


def _place(row: RankedTrial) -> tuple[float, ...]:
    tier = TIERS.index(row.tier)
    if not isinstance(row, MeasuredTrial):
        return tier, row.status == "failed", 0.0, 0.0, row.number
    lacks = row.violations.get("finite", 0.0) > 0  # a seed, on some session
    beyond = 0.0 if row.is_feasible else row.violation
    return tier, lacks, beyond, -row.cca_heldout.mean, row.number


def ranked(rows: Sequence[RankedTrial]) -> list[RankedTrial]:
    """Return the rows of one stage, the best first, each with its rank."""
    return [
        row.model_copy(update={"rank": rank})
        for rank, row in enumerate(sorted(rows, key=_place), start=1)
    ]


def trial_row(spec: StudySpec, record: TrialRecord) -> RankedTrial:
    """Return what the ranking says of one trial that has ended, of any stage; its rank is None."""
    request = record.request
    asked: dict[str, Any] = {
        "trial_id": request.trial_id,
        "number": request.number,
        "stage": request.stage,
        "arm": request.arm,
        "params": request.params,
        "reads": request.reads,
        "seeds": request.seeds,
    }
    if record.result is None:
        reason = record.error or "no reason was kept"
        return UnmeasuredTrial.model_validate(
            asked
            | {
                "status": record.status,
                "cca_within": dict.fromkeys(STATES),
                "rate_hz": Rates(per_state=dict.fromkeys(STATES)),
                "notes": [f"no held-out numbers: {record.status}: {reason}"],
            }
        )
    found = record.result.replicates
    notes = list(record.result.notes)
    if request.reads:
        notes.append(f"cca_heldout: of another target than the study's: {target_of(request)}")
    trained, before = runs_of(found), runs_of(found, "untrained")
    level, gain = estimate_mean(trained), estimate_mean(trained.minus(before))
    cca, untrained = level.mean, fmean(before.means().values())
    over = estimate_mean(trained.minus(runs_of(found, "linear_readout")))
    notes += [f"ci95, gain_ci95: {note}" for note in dict.fromkeys([*level.notes, *gain.notes])]
    nulls = {name: _null_q95(found, name, notes) for name in NULLS}
    violations = violations_of(record.result)
    violation = total_violation(violations)
    gate, not_through = gate_of(spec, found, gain)
    if gate.above_nulls is None:
        notes.append("gate: no null could be drawn, so that it cannot be passed")
    for one in record.result.failed:
        notes.append(f"without numbers: seed {one.seed}: {one.reason}")
    broken = [
        "it does not spike" if line == "spiking" else f"{line} lies {value:.3g} beyond its limit"
        for line, value in violations.items()
        if value > 0
    ]
    within = _by_state([one.cca_within for one in found])
    if missing := [state for state in STATES if within[state] is None]:
        notes.append(f"cca_within: not to be had for state {' and '.join(missing)}")
    crossed = [one.cca_cross_state for one in found if one.cca_cross_state is not None]
    if not crossed and not any("cca_cross_state" in note for note in notes):
        notes.append("cca_cross_state: no session has two states")
    states = dict.fromkeys([*STATES, *(state for one in found for state in one.rates)])
    per_state = {state: _rates(found, [state]) for state in states}
    rates = _rates(found, list(states))
    if rates is None:
        notes.append("rate_hz, spikes_per_s: the network does not spike, and is never feasible")
    elif missing := [state for state in STATES if per_state[state] is None]:
        notes.append(f"rate_hz: state {' and '.join(missing)} was not recorded")
    recorded = [state for state in states if per_state[state] is not None]
    for replicate in found if rates is not None else ():
        if lacking := [state for state in recorded if state not in replicate.rates]:
            notes.append(
                f"rate_hz: seed {replicate.seed} on {replicate.session} lacks state "
                f"{' and '.join(lacking)}, which others have"
            )
    closed = (cca - untrained) / (1 - untrained) if untrained < 1 else None
    if closed is None:
        notes.append("closed: the untrained network leaves nothing to close")
    balances = balances_of(found)
    if rates is not None:
        names = ("ei_weight_balance", "ei_current_balance")
        notes += [f"{name}: excitation is nil" for name in names if balances[name].after is None]
    decoding = _decoding(found)
    if not decoding:
        notes.append("decoding: no probe was to be had, or the record is older than it")
    regularity = _mean_or_none([one.cv_isi for one in found])
    if regularity is None and rates is not None:
        notes.append("cv_isi: no neuron has enough intervals, or the record is older than it")
    sizes = objective_values(request, record.result, SIZES)
    return MeasuredTrial(
        **asked,
        tier="infeasible" if violation > 0 else "passed" if gate.holds else "feasible",
        why=(*broken, *not_through),
        cca_heldout=HeldOutCca(
            mean=cca,
            ci95=level.ci95,
            speaks_of=level.speaks_of,
            degrees_of_freedom=level.degrees_of_freedom,
            per_seed=tuple(
                fmean(one.cca_heldout for one in found if one.seed == seed)
                for seed in dict.fromkeys(one.seed for one in found)
            ),
            per_teacher={
                str(teacher): fmean(one.cca_heldout for one in found if one.teacher == teacher)
                for teacher in dict.fromkeys(one.teacher for one in found)
                if teacher is not None
            },
        ),
        cca_all_dims=_mean_or_none([one.cca_all_dims for one in found]),
        dims=found[0].dims,
        cca_validation=_mean_or_none([one.cca_validation for one in found]),
        null_shift_q95=nulls["null_shift"],
        null_clock_q95=nulls["null_clock"],
        null_session_q95=nulls["null_session"],
        null_drift=max(
            (one.null_drift for one in found if one.null_drift is not None), default=None
        ),
        untrained=untrained,
        gain=cca - untrained,
        closed=closed,
        linear_readout=fmean(one.linear_readout for one in found),
        over_linear=MeanInterval(mean=over.mean, ci95=over.ci95),
        linear_features=found[0].linear_features,
        procrustes=fmean(one.procrustes for one in found),
        cca_within=within,
        cca_cross_state=fmean(crossed) if crossed else None,
        **state_fields(found),
        rate_hz=Rates(**(rates.model_dump() if rates else {}), per_state=per_state),
        num_neurons=fmean(sizes["num_neurons"]),
        spikes_per_s=fmean(sizes["spikes_per_s"]) if rates else None,
        connections=fmean(sizes["connections"]),
        dale_violations=sum(one.dale_violations for one in found),
        **balances,
        ei_error=fmean(sizes["ei_error"]) if rates else None,
        cv_isi=regularity,
        reliability=_mean_or_none([one.reliability for one in found]),
        decoding=decoding,
        violations=violations,
        violation=violation,
        gate=gate,
        wall_s=record.result.wall_s,
        notes=tuple(notes),
    )


def _decoding(found: Sequence[ReplicateResult]) -> dict[str, ProbeScores]:
    """Return the means of each probe over the replicates that have it, student beside teacher."""
    rows = {}
    for probe in dict.fromkeys(probe for one in found for probe in one.decoding):
        seen = [one.decoding[probe] for one in found if probe in one.decoding]
        student, teacher = fmean(one.student for one in seen), fmean(one.teacher for one in seen)
        is_told = teacher > fmean(least_told(one) for one in seen)
        rows[probe] = ProbeScores(
            student=student,
            teacher=teacher,
            chance=_mean_or_none([one.chance for one in seen]),
            within_10_percent=student >= WITHIN * teacher if is_told else None,
        )
    return rows


def _null_q95(found: Sequence[ReplicateResult], name: str, notes: list[str]) -> float | None:
    nulls = {one.session: getattr(one, name) for one in found}
    without = [session for session, null in nulls.items() if null is None]
    if without:
        judged = "the others alone" if len(without) < len(nulls) else "the rest of the gate alone"
        notes.append(f"{name}: not to be had for {', '.join(without)}; judged by {judged}")
    return max(
        (getattr(one, name).q95 for one in found if getattr(one, name) is not None), default=None
    )


def _by_state(values: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    states = dict.fromkeys([*STATES, *(state for one in values for state in one)])
    return {state: _mean_or_none([one.get(state) for one in values]) for state in states}


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _rates(found: Sequence[ReplicateResult], states: Sequence[str]) -> RateSummary | None:
    seen = [one.rates[state] for one in found for state in states if state in one.rates]
    names = RateSummary.model_fields
    means = {name: fmean(getattr(one, name) for one in seen) for name in names if seen}
    return RateSummary(**means) if seen else None
