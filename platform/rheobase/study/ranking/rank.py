"""The ranking of a study's trials, from its records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean
from typing import Any

from rheobase.study.file.objectives import ObjectiveName, objective_values
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.confirm import least_network, optimism
from rheobase.study.ranking.pareto import pareto_front
from rheobase.study.ranking.pruned import stopped_summary
from rheobase.study.ranking.statistics import t_interval
from rheobase.study.records.result import ENDED, Decoding, ReplicateResult, TrialRecord

SCHEMA = 1
TIERS = ("passed", "feasible", "infeasible", "failed")
STATES = ("active", "passive")  # None where not recorded; other states are added as found
NULLS = ("null_shift", "null_clock")
SIZES: tuple[ObjectiveName, ...] = ("num_neurons", "spikes_per_s", "connections")
RATES = ("mean", "in_band", "silent", "saturated")
WITHIN = 0.9  # of what the teacher decodes
LEAST_R2 = 0.05  # of a teacher that decodes something


def rank_study(spec: StudySpec, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return the ranking as plain JSON values.

    Parameters
    ----------
    spec
        The study.
    records
        Every trial of its ledger.

    Returns
    -------
    ``schema``, ``study``; ``best``, the id of the first trial of the search that is feasible, or
    None, or with several objectives the knee of the front where there is one; ``trials``, those
    of the search, the best first; ``confirmed``, the winners and the arms on the report seeds, in
    the order they were asked for, the only numbers to quote; ``optimism`` of each winner
    (`confirm.optimism`); ``pareto`` (`front.pareto_front`) and ``least``, the least network that
    passed on the report seeds (`confirm.least_network`), both None for one objective; ``stopped``
    (`stopped.stopped_summary`, None without early stopping); ``notes``.

    Notes
    -----
    Tiers: `passed` (feasible and through the gate), `feasible`, `infeasible`, `failed`. In the
    first two the higher mean held-out CCA comes first, among infeasible trials the smaller total
    violation. Trials stopped early have no held-out numbers: they are in the last tier, before
    those that failed. Ties go to the trial asked for first.

    Every number is a mean over replicates (seed × session); `rate_hz` over states too.
    `per_seed` is the mean over sessions. `violations` holds the worst replicate of each line,
    `violation` the sum of those above 0. `null_..._q95` is the largest among replicates: the mean
    CCA must exceed what chance earns on the easiest seed and session. `closed` is
    (cca - untrained) / (1 - untrained) of the means.

    The gate: mean CCA above `require.cca_heldout`; above every null that the data can give, of
    which there must be one; and the 95 % Student interval of the paired gain over the untrained
    network above 0. One replicate has no interval and cannot pass. What is missing is None with
    its reason in `notes`, never 0.
    """
    rows = [trial_row(spec, record) for record in records if record.status in ENDED]
    by_id = {record.request.trial_id: record for record in records}
    trials = _ranked([row for row in rows if row["stage"] == "select"])
    confirmed = _ranked([row for row in rows if row["stage"] == "report"])
    confirmed.sort(key=lambda row: int(row["number"]))
    audited = [row for row in rows if row["stage"] == "audit" and row["status"] == "complete"]
    front = pareto_front(spec, by_id, trials)
    best = trials[0]["trial_id"] if trials and _is_feasible(trials[0]) else None
    if front and front["knee"]:
        best = front["knee"]
    notes = []
    if unfinished := sum(record.status not in ENDED for record in records):
        notes.append(f"not ranked: {unfinished} trials that have not ended")
    if best is None:
        notes.append("best: no trial of the search is feasible")
    if front and not front["trials"]:
        notes.append("pareto: no trial of the search passes the gate")
    if not confirmed:
        notes.append("confirmed: no trial has ended on the report seeds; quote nothing yet")
    beats = [not trials or _place(row) < _place(trials[0]) for row in audited]
    return {
        "schema": SCHEMA,
        "study": spec.name,
        "best": best,
        "trials": trials,
        "confirmed": confirmed,
        "optimism": optimism(spec, records, trials),
        "pareto": front,
        "least": least_network(spec, records, confirmed, front),
        "stopped": stopped_summary(spec, records, audited, beats),
        "notes": notes,
    }


def _is_feasible(row: Mapping[str, Any]) -> bool:
    return row["tier"] in ("passed", "feasible")


def _place(row: Mapping[str, Any]) -> tuple[float, ...]:
    tier, number = TIERS.index(row["tier"]), row["number"]
    if row["status"] != "complete":
        return tier, row["status"] == "failed", 0.0, number
    violation = 0.0 if _is_feasible(row) else row["violation"]
    return tier, violation, -row["cca_heldout"]["mean"], number


def _ranked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"rank": rank} for rank, row in enumerate(sorted(rows, key=_place), start=1)]


def trial_row(spec: StudySpec, record: TrialRecord) -> dict[str, Any]:
    """Return what the ranking says of one trial that has ended, of any stage; its rank is None."""
    request = record.request
    row: dict[str, Any] = {
        "trial_id": request.trial_id,
        "number": request.number,
        "stage": request.stage,
        "arm": request.arm,
        "rank": None,
        "tier": "failed",
        "status": record.status,
        "params": dict(request.params),
        "seeds": list(request.seeds),
        "notes": [],
    }
    if record.result is None:
        reason = record.error or "no reason was kept"
        row["notes"] = [f"no held-out numbers: {record.status}: {reason}"]
        return row | _no_numbers()
    found = record.result.replicates
    notes = list(record.result.notes)
    cca = fmean(one.cca_heldout for one in found)
    untrained = fmean(one.untrained for one in found)
    sessions = [one.session for one in found]
    ci95 = t_interval([one.cca_heldout for one in found], sessions)
    gain_ci95 = t_interval([one.cca_heldout - one.untrained for one in found], sessions)
    if ci95 is None:
        notes.append("ci95, gain_ci95: one replicate has no interval, and cannot pass the gate")
    nulls = {name: _null_q95(found, name, notes) for name in NULLS}
    given = [q95 for q95 in nulls.values() if q95 is not None]
    if not given:
        notes.append("gate: no null could be drawn, so that it cannot be passed")
    lines = dict.fromkeys(line for one in found for line in one.violations)
    violations = {
        line: max(one.violations[line] for one in found if line in one.violations) for line in lines
    }
    violation = sum((value for value in violations.values() if value > 0), 0.0)
    above_required = cca > spec.require.cca_heldout
    above_nulls = cca > max(given) if given else None
    above_untrained = gain_ci95 is not None and gain_ci95[0] > 0
    is_through = above_required and bool(above_nulls) and above_untrained
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
    closed = (cca - untrained) / (1 - untrained) if untrained < 1 else None
    if closed is None:
        notes.append("closed: the untrained network leaves nothing to close")
    balances = {
        name: _mean_or_none([getattr(one, name) for one in found])
        for name in ("ei_weight_balance", "ei_current_balance")
    }
    if rates is not None:
        notes += [f"{name}: excitation is nil" for name, value in balances.items() if value is None]
    decoding = _decoding(found)
    if not decoding:
        notes.append("decoding: no probe was to be had, or the record is older than it")
    regularity = _mean_or_none([one.cv_isi for one in found])
    if regularity is None and rates is not None:
        notes.append("cv_isi: no neuron has enough intervals, or the record is older than it")
    return row | {
        "tier": "infeasible" if violation > 0 else "passed" if is_through else "feasible",
        "cca_heldout": {
            "mean": cca,
            "ci95": None if ci95 is None else list(ci95),
            "per_seed": [
                fmean(one.cca_heldout for one in found if one.seed == seed)
                for seed in dict.fromkeys(one.seed for one in found)
            ],
        },
        **{f"{name}_q95": q95 for name, q95 in nulls.items()},
        "untrained": untrained,
        "gain": cca - untrained,
        "closed": closed,
        "linear_readout": fmean(one.linear_readout for one in found),
        "procrustes": fmean(one.procrustes for one in found),
        "cca_within": within,
        "cca_cross_state": fmean(crossed) if crossed else None,
        "rate_hz": {**(rates or dict.fromkeys(RATES)), "per_state": per_state},
        **{
            name: fmean(values)
            for name, values in objective_values(request, record.result, SIZES).items()
        },
        **({} if rates else {"spikes_per_s": None}),
        "dale_violations": sum(one.dale_violations for one in found),
        **balances,
        "cv_isi": regularity,
        "decoding": decoding,
        "violations": violations,
        "violation": violation,
        "gate": {
            "above_required": above_required,
            "above_nulls": above_nulls,
            "gain_ci95": None if gain_ci95 is None else list(gain_ci95),
        },
        "wall_s": record.result.wall_s,
        "notes": notes,
    }


def _no_numbers() -> dict[str, Any]:
    """Return the measures of a trial that gave none."""
    names = (
        "null_shift_q95 null_clock_q95 untrained gain closed linear_readout procrustes "
        "cca_cross_state num_neurons spikes_per_s connections dale_violations "
        "ei_weight_balance ei_current_balance cv_isi violation gate wall_s"
    )
    return {
        "cca_heldout": {"mean": None, "ci95": None, "per_seed": []},
        "cca_within": dict.fromkeys(STATES),
        "rate_hz": {**dict.fromkeys(RATES), "per_state": dict.fromkeys(STATES)},
        "decoding": {},
        "violations": {},
        **dict.fromkeys(names.split()),
    }


def _decoding(found: Sequence[ReplicateResult]) -> dict[str, dict[str, Any]]:
    """Return the means of each probe over the replicates that have it, student beside teacher."""
    rows = {}
    for probe in dict.fromkeys(probe for one in found for probe in one.decoding):
        seen = [one.decoding[probe] for one in found if probe in one.decoding]
        student, teacher = fmean(one.student for one in seen), fmean(one.teacher for one in seen)
        is_told = teacher > fmean(_least_told(one) for one in seen)
        rows[probe] = {
            "student": student,
            "teacher": teacher,
            "chance": _mean_or_none([one.chance for one in seen]),
            "within_10_percent": student >= WITHIN * teacher if is_told else None,
        }
    return rows


def _least_told(one: Decoding) -> float:
    """Return what a teacher that tells something scores: two standard errors of guessing."""
    if one.chance is None:
        return LEAST_R2
    return 2 * sqrt(one.chance / (1 - one.chance) / one.num_scored)


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


def _rates(found: Sequence[ReplicateResult], states: Sequence[str]) -> dict[str, float] | None:
    seen = [one.rates[state] for one in found for state in states if state in one.rates]
    return {name: fmean(getattr(one, name) for one in seen) for name in RATES} if seen else None
