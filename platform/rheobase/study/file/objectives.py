"""What a search seeks: each objective's direction, and its value in every replicate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from statistics import fmean
from typing import Literal

from rheobase.study.records.result import ReplicateResult, TrialRequest, TrialResult

ObjectiveName = Literal[
    "cca_heldout", "num_neurons", "spikes_per_s", "connections", "rate_error", "ei_error"
]
Direction = Literal["maximize", "minimize"]

DIRECTIONS: Mapping[ObjectiveName, Direction] = {
    "cca_heldout": "maximize",
    "num_neurons": "minimize",
    "spikes_per_s": "minimize",
    "connections": "minimize",
    "rate_error": "minimize",
    "ei_error": "minimize",
}
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
    free; at most 10. A network that does not spike, which is never feasible, sends 0 spikes, has
    all of its neurons outside the band, and is 10 doublings from any balance.
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
    return {name: values[name] for name in names}


def _doublings(one: ReplicateResult, target: float) -> float:
    """Return the mean over states of how many doublings a balance lies from its target."""
    found = list(one.ei_current_by_state.values()) or [one.ei_current_balance]
    return fmean(
        min(abs(log2(value / target)), MOST_DOUBLINGS) if value else MOST_DOUBLINGS
        for value in found
    )


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
