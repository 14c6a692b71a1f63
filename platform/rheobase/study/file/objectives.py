"""What a search seeks: each objective's direction, and its value in every replicate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log2
from statistics import fmean
from typing import Literal

from rheobase.core.errors import DataError
from rheobase.study.records.result import ReplicateResult, TrialRequest, TrialResult

ObjectiveName = Literal[
    "cca_heldout",
    "cca_within_state",
    "cca_cross_state",
    "state_cost",
    "num_neurons",
    "spikes_per_s",
    "connections",
    "rate_error",
    "rate_change",
    "ei_error",
]
Direction = Literal["maximize", "minimize"]

DIRECTIONS: Mapping[ObjectiveName, Direction] = {
    "cca_heldout": "maximize",
    "cca_within_state": "maximize",
    "cca_cross_state": "maximize",
    "state_cost": "minimize",
    "num_neurons": "minimize",
    "spikes_per_s": "minimize",
    "connections": "minimize",
    "rate_error": "minimize",
    "ei_error": "minimize",
    "rate_change": "minimize",
}
STATE_MEASURES: Sequence[ObjectiveName] = ("cca_within_state", "cca_cross_state")
"""Those that [require] may have a line for; no session of one state has them."""
OF_STATES: Sequence[ObjectiveName] = (*STATE_MEASURES, "state_cost", "rate_change")
"""Those that a session of one state cannot give."""
MOST_DOUBLINGS = 10.0
"""What a network without excitation, inhibition or spikes counts as."""


def objective_values(
    request: TrialRequest, result: TrialResult, names: Sequence[ObjectiveName]
) -> dict[str, list[float]]:
    """Return the values of objectives, one for each replicate.

    Parameters
    ----------
    request
        The trial.
    result
        What it found.
    names
        Which objectives.

    Notes
    -----
    ``num_neurons``: M. ``spikes_per_s``: the network's spikes a second, M times the mean rate
    over states on test bins. ``connections``: recurrent weights that are not 0; in records from
    before they were counted, all M (M - 1) that there can be. ``rate_error``: share of neurons
    whose rate lies outside the required band, mean over states. ``ei_error``: doublings between
    inhibitory over excitatory current, mean over states, and `ei_balance`, or 1 where that is
    free; at most 10. ``rate_change``: greatest minus least mean rate of a state, over the mean of
    all states. ``state_cost``: `cca_within_state` minus `cca_cross_state`. A network that does not
    spike, which is never feasible, sends 0 spikes, has all of its neurons outside the band, and is
    10 doublings from any balance.

    Raises
    ------
    DataError
        An objective is of states, and a session has fewer than two.
    """
    replicates = result.replicates
    num_neurons = float(request.student.get("num_neurons", 0))
    every = num_neurons * (num_neurons - 1)
    target = float(request.student.get("ei_balance", 0.0)) or 1.0
    values = {
        "cca_heldout": [one.cca_heldout for one in replicates],
        "num_neurons": [num_neurons for _ in replicates],
        "spikes_per_s": [
            num_neurons * _mean([rate.mean for rate in one.rates.values()]) for one in replicates
        ],
        "connections": [
            every if one.connections is None else float(one.connections) for one in replicates
        ],
        "rate_error": [
            1 - _mean([rate.in_band for rate in one.rates.values()]) for one in replicates
        ],
        "ei_error": [_doublings(one, target) for one in replicates],
    }
    for name in names:
        if name in STATE_VALUES:
            values[name] = [_of_states(name, one) for one in replicates]
    return {name: values[name] for name in names}


def state_value(name: str, found: ReplicateResult) -> float | None:
    """Return a number of `STATE_VALUES`; None where the session has fewer than two states."""
    return STATE_VALUES[name](found)


def _of_states(name: str, found: ReplicateResult) -> float:
    value = state_value(name, found)
    if value is None:
        raise DataError(
            f"{found.session}: objective {name} needs two states, but the session has fewer; seek "
            "another, or leave the session out"
        )
    return value


def _within(found: ReplicateResult) -> float | None:
    # Records from before the mean was kept hold what it is of.
    return fmean(found.cca_within.values()) if found.cca_within else None


def _cost(found: ReplicateResult) -> float | None:
    within, across = _within(found), found.cca_cross_state
    return None if within is None or across is None else within - across


def _rate_change(found: ReplicateResult) -> float | None:
    means = [rate.mean for rate in found.rates.values()]
    if len(found.cca_within) < 2:
        return None
    mean = _mean(means)
    return (max(means) - min(means)) / mean if mean > 0 else 0.0


STATE_VALUES: Mapping[str, Callable[[ReplicateResult], float | None]] = {
    "cca_within_state": _within,
    "cca_cross_state": lambda found: found.cca_cross_state,
    "state_cost": _cost,
    "rate_change": _rate_change,
}
"""What a replicate's states say, by name."""


def _doublings(one: ReplicateResult, target: float) -> float:
    """Return the mean over states of how many doublings a balance lies from its target."""
    found = list(one.ei_current_by_state.values()) or [one.ei_current_balance]
    return fmean(
        min(abs(log2(value / target)), MOST_DOUBLINGS) if value else MOST_DOUBLINGS
        for value in found
    )


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
