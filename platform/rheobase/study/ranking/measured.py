"""What runs can be compared by: every measure of a replicate by its name, with its blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from statistics import fmean

from rheobase.core.errors import StudyError, did_you_mean
from rheobase.study.file.objectives import STATE_MEASURES, STATE_VALUES
from rheobase.study.ranking.intervals import BLOCKS_OF, Runs, runs_of
from rheobase.study.records.result import Decoding, RateSummary, ReplicateResult

CCA = "cca_heldout"
OF_ONE_STATE = ("rate_hz", "in_band")
PROBE = "decoding:"
"""Before a probe's name: the student's score of it."""
WITHIN = 0.9  # of what the teacher decodes
LEAST_R2 = 0.05  # of a teacher that decodes something


def _closed(found: ReplicateResult) -> float | None:
    left = 1 - found.untrained
    return (found.cca_heldout - found.untrained) / left if left > 0 else None


def _over_states(name: str) -> Callable[[ReplicateResult], float | None]:
    def value(found: ReplicateResult) -> float | None:
        rates = found.rates.values()
        return fmean(_of_rates(one, name) for one in rates) if rates else None

    return value


def _of_rates(rates: RateSummary, name: str) -> float:
    return rates.mean if name == "rate_hz" else rates.in_band


def _decoded(found: ReplicateResult) -> float | None:
    """Return the share of what the teacher tells that the student tells within 10 %."""
    told = [one for one in found.decoding.values() if one.teacher > least_told(one)]
    return fmean(float(one.student >= WITHIN * one.teacher) for one in told) if told else None


def least_told(one: Decoding) -> float:
    """Return what a teacher that tells something scores: two standard errors of guessing."""
    if one.chance is None:
        return LEAST_R2
    return 2 * sqrt(one.chance / (1 - one.chance) / one.num_scored)


VALUES: Mapping[str, Callable[[ReplicateResult], float | None]] = {
    CCA: lambda found: found.cca_heldout,
    **STATE_VALUES,
    "gain": lambda found: found.cca_heldout - found.untrained,
    "closed": _closed,
    "above_linear": lambda found: found.cca_heldout - found.linear_readout,
    "untrained": lambda found: found.untrained,
    "linear_readout": lambda found: found.linear_readout,
    "rate_hz": _over_states("rate_hz"),
    "in_band": _over_states("in_band"),
    "cv_isi": lambda found: found.cv_isi,
    "ei_current_balance": lambda found: found.ei_current_balance,
    "ei_weight_balance": lambda found: found.ei_weight_balance,
    "recurrent_share": lambda found: found.recurrent_share,
    "reliability": lambda found: found.reliability,
    "decoding": _decoded,
}
"""Measures whose names are the same in every study; None where a replicate has none."""


def measures_of(found: Sequence[ReplicateResult]) -> list[str]:
    """Return the names of what replicates can be compared by."""
    states = dict.fromkeys(state for one in found for state in one.rates)
    probes = dict.fromkeys(probe for one in found for probe in one.decoding)
    return [
        *(name for name in VALUES if any(value_of(one, name) is not None for one in found)),
        *(f"{state}:{name}" for state in states for name in OF_ONE_STATE),
        *(f"{PROBE}{probe}" for probe in probes),
    ]


def value_of(found: ReplicateResult, measure: str) -> float | None:
    """Return a number of one replicate by its name; None where it has none."""
    if measure in VALUES:
        return VALUES[measure](found)
    if measure.startswith(PROBE):
        probe = found.decoding.get(measure.removeprefix(PROBE))
        return probe.student if probe else None
    state, _, name = measure.rpartition(":")
    if name not in OF_ONE_STATE or state not in found.rates:
        return None
    return _of_rates(found.rates[state], name)


def measured_runs(found: Sequence[ReplicateResult], measure: str) -> Runs:
    """Return a number of each replicate as runs, with its blocks where they are kept.

    Parameters
    ----------
    found
        Replicates that all have it (`value_of`).
    measure
        One of `measures_of`.
    """
    for name in BLOCKS_OF:
        if measure == name:
            return runs_of(found, name)
    if measure == "gain":
        return runs_of(found).minus(runs_of(found, "untrained"))
    if measure == "above_linear":
        return runs_of(found).minus(runs_of(found, "linear_readout"))
    if measure == "state_cost":
        within, across = (_runs(found, name) for name in STATE_MEASURES)
        return within.minus(across)
    return _runs(found, measure)


def _runs(found: Sequence[ReplicateResult], measure: str) -> Runs:
    values = [value_of(one, measure) for one in found]
    blocks: Sequence[Sequence[float]] = ()
    if measure == "cca_within_state":
        blocks = [one.within_state_blocks for one in found]
    elif measure == "cca_cross_state":
        blocks = [one.cross_state_blocks for one in found]
    return Runs(
        [value for value in values if value is not None],
        [one.session for one in found],
        blocks,
        tuple(one.teacher for one in found if one.teacher is not None),
    )


def refuse_unknown(study: str, measure: str, *sides: Sequence[ReplicateResult]) -> None:
    """Refuse a measure that some side of a comparison does not have at all.

    Raises
    ------
    StudyError
        It is unknown, or no replicate of a side has it.
    """
    for found in sides:
        known = measures_of(found)
        if measure not in known:
            raise StudyError(
                f"{study}: a measure that both arms have must be named, but got '{measure}'."
                f"{did_you_mean(measure, known)} There is: {', '.join(known)}"
            )
