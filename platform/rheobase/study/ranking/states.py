"""What a trial's runs say of brain states: means, costs, nulls, the gate's lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rheobase.study.file.objectives import STATE_MEASURES, state_value
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.intervals import estimate_mean
from rheobase.study.ranking.measured import measured_runs
from rheobase.study.ranking.ranking import MeanInterval, SessionScores
from rheobase.study.records.result import STATE_NULLS, RateSummary, ReplicateResult

NULLS_OF = {
    "cca_within_state": "within_state_nulls",
    "cca_cross_state": "cross_state_nulls",
}


def state_fields(found: Sequence[ReplicateResult]) -> dict[str, Any]:
    """Return the fields of a trial's row that speak of states, means over replicates."""
    have = [one for one in found if state_value("state_cost", one) is not None]
    row: dict[str, Any] = {
        "cca_within_state": None,
        "state_cost": None,
        "cca_by_states": {},
        "rate_change": None,
        "within_state_nulls_q95": _nulls(found, "within_state_nulls"),
        "cross_state_nulls_q95": _nulls(found, "cross_state_nulls"),
        "by_session": {
            session: _session([one for one in found if one.session == session])
            for session in dict.fromkeys(one.session for one in found)
        },
    }
    if have:
        cost = estimate_mean(measured_runs(have, "state_cost"))
        row["cca_within_state"] = _mean("cca_within_state", have)
        row["state_cost"] = MeanInterval(mean=cost.mean, ci95=cost.ci95)
        row["cca_by_states"] = _by_states(have)
        row["rate_change"] = _mean("rate_change", have)
    return row


def _mean(name: str, found: Sequence[ReplicateResult]) -> float | None:
    values = [value for one in found if (value := state_value(name, one)) is not None]
    return fmean(values) if values else None


def _by_states(found: Sequence[ReplicateResult]) -> dict[str, dict[str, float]]:
    seen: dict[tuple[str, str], list[float]] = {}
    for one in found:
        for fitted, row in one.cca_by_states.items():
            for scored, value in row.items():
                seen.setdefault((fitted, scored), []).append(value)
    means: dict[str, dict[str, float]] = {}
    for (fitted, scored), values in seen.items():
        means.setdefault(fitted, {})[scored] = fmean(values)
    return means


def _nulls(found: Sequence[ReplicateResult], field: str) -> dict[str, float | None]:
    return {
        name: max((getattr(one, field)[name].q95 for one in found if name in getattr(one, field)),
                  default=None)
        for name in STATE_NULLS
    }  # fmt: skip


def _session(found: Sequence[ReplicateResult]) -> SessionScores:
    states = dict.fromkeys(state for one in found for state in one.rates)
    fields = RateSummary.model_fields
    return SessionScores(
        cca_heldout=fmean(one.cca_heldout for one in found),
        untrained=fmean(one.untrained for one in found),
        linear_readout=fmean(one.linear_readout for one in found),
        cca_within_state=_mean("cca_within_state", found),
        cca_cross_state=_mean("cca_cross_state", found),
        cca_by_states=_by_states(found),
        per_state={
            state: RateSummary(
                **{
                    name: fmean(getattr(one.rates[state], name) for one in found
                                if state in one.rates)
                    for name in fields
                }
            )
            for state in states
        },
    )  # fmt: skip


def gate_lines(spec: StudySpec, found: Sequence[ReplicateResult]) -> tuple[bool | None, list[str]]:
    """Return whether the lines of [require] on states hold, and in words which do not.

    Parameters
    ----------
    spec
        The study.
    found
        A trial's replicates.

    Returns
    -------
    None where the study requires nothing of states.

    Notes
    -----
    In each session, over its seeds: the mean above what is required; and above the largest 95 %
    quantile of each null that the data can give, on the bins that the null takes.
    """
    required = {name: getattr(spec.require, name) for name in STATE_MEASURES}
    asked = {name: limit for name, limit in required.items() if limit is not None}
    why: list[str] = []
    sessions = list(dict.fromkeys(one.session for one in found))
    for name, limit in asked.items():
        for session in sessions:
            here = [one for one in found if one.session == session]
            where = f"{session}: " if len(sessions) > 1 else ""
            mean = _mean(name, here)
            if mean is None:
                why.append(f"{where}{name} is not to be had")
                continue
            if mean <= limit:
                why.append(f"{where}{name} {mean:.3f} does not exceed {limit:g}")
            why += [f"{where}{one}" for one in _below_nulls(name, here)]
    return (not why if asked else None), why


def _below_nulls(name: str, found: Sequence[ReplicateResult]) -> list[str]:
    below = []
    for null_name in STATE_NULLS:
        nulls: list[Mapping[str, Any]] = [getattr(one, NULLS_OF[name]) for one in found]
        drawn = [one[null_name] for one in nulls if null_name in one]
        if not drawn:
            continue
        own, q95 = fmean(one.own for one in drawn), max(one.q95 for one in drawn)
        if own <= q95:
            below.append(
                f"{name} {own:.3f}, on the bins that {null_name} takes, does not exceed its 95 % "
                f"quantile {q95:.3f}"
            )
    return below
