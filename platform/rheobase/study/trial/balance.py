"""Excitation and inhibition of one network on the bins that are scored, and what they break."""

# Shape legend: T bins, N units, M neurons.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.measures.balance import (
    LEAST_BALANCED,
    Currents,
    balanced_share,
    band_violations,
    ei_balance,
    held_violation,
    recurrent_share,
    synaptic_currents,
)
from rheobase.measures.firing import ei_weight_balance, firing_rates
from rheobase.shards.timeline import Timeline
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Students

EVERYWHERE = ""
"""All of the bins, whatever their state."""


@dataclass(frozen=True, eq=False)
class ScoredCounts:
    """How often units fire on bins, (N,) in Hz: on all, and by state; and which bins are whose."""

    unit_rates_hz: Mapping[str, npt.NDArray[np.float64]]
    bins: Mapping[str, npt.NDArray[np.bool_]]
    bin_ms: float

    @classmethod
    def of(
        cls, counts: npt.NDArray[np.uint8], state: npt.NDArray[np.str_], bin_ms: float
    ) -> ScoredCounts:
        """Return those of counts (T, N) of bins that have a state (T,) each."""
        bins = {EVERYWHERE: np.ones(len(state), bool)}
        bins |= {str(name) or "all": state == name for name in np.unique(state)}
        rates = {name: firing_rates(counts[chosen], bin_ms) for name, chosen in bins.items()}
        return cls(rates, bins, bin_ms)


@dataclass(frozen=True, eq=False)
class Balance:
    """Excitation and inhibition of one network; `currents` of all bins and by state."""

    weights: float | None
    currents: Mapping[str, Currents]

    @property
    def current(self) -> float | None:
        """Inhibitory over excitatory current on all bins."""
        return ei_balance(self.currents[EVERYWHERE])

    @property
    def by_state(self) -> dict[str, float | None]:
        """The same by state."""
        return {name: ei_balance(one) for name, one in self.currents.items() if name != EVERYWHERE}

    def violations(
        self, settings: StudentSettings, band: tuple[float, float] | None
    ) -> dict[str, float]:
        """Return the lines of a required band, and of what the network was to hold."""
        by_line = band_violations(self.by_state, band) if band else {}
        target, tolerance = settings.ei_balance, settings.ei_tolerance
        if not target:
            return by_line
        if settings.ei_of == "weights":
            return by_line | {"ei_held": held_violation(self.weights, target, tolerance)}
        if settings.ei_per == "neuron":
            return by_line | {
                f"{name}:ei_held": LEAST_BALANCED - balanced_share(one, target, tolerance)
                for name, one in self.currents.items()
                if name != EVERYWHERE
            }
        return by_line | {
            f"{name}:ei_held": held_violation(found, target, tolerance)
            for name, found in self.by_state.items()
        }


def balance_of(
    students: Students, row: int, spikes: npt.NDArray[Any], scored: ScoredCounts
) -> Balance:
    """Return the excitation and inhibition of one of several networks.

    Parameters
    ----------
    students, row
        The networks, and which of them.
    spikes
        (T, M) of it on the bins of `scored`.
    scored
        What the units did there.
    """
    recurrent, given = (
        tensor[row].detach().cpu().numpy().T
        for tensor in (students.recurrent, students.input_weights)
    )
    signs = students.signs[row].cpu().numpy()
    currents = {
        name: synaptic_currents(
            recurrent,
            firing_rates(spikes[chosen], scored.bin_ms),
            given,
            scored.unit_rates_hz[name],
        )
        for name, chosen in scored.bins.items()
    }
    return Balance(ei_weight_balance(recurrent, signs), currents)


def currents_over_time(
    students: Students,
    row: int,
    spikes: npt.NDArray[Any] | None,
    counts: npt.NDArray[np.uint8],
    timeline: Timeline,
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the mean excitatory and inhibitory current into a neuron at each scored bin.

    Parameters
    ----------
    students, row
        The networks, and which of them.
    spikes
        (T, M) of it; None where it does not spike, and then there is nothing to return.
    counts
        (T, N) that it was fed.
    timeline
        Labels (T,).

    Returns
    -------
    ``excitation`` and ``inhibition`` (T,) in weights times Hz, NaN where nothing is scored: their
    means over bins are the means over neurons of `measures.balance.synaptic_currents` there.
    """
    if spikes is None:
        return {}
    here, per_second = timeline.scored, 1000 / timeline.bin_ms
    active = [values[here].astype(np.float32) for values in (spikes, counts)]
    found = {}
    for side, sign in (("excitation", 1), ("inhibition", -1)):
        found[side] = np.full(len(timeline), np.nan)
        found[side][here] = per_second * sum(
            sending @ (weights[row].detach().cpu().numpy() * sign).clip(min=0).mean(axis=1)
            for sending, weights in zip(
                active, (students.recurrent, students.input_weights), strict=True
            )
        )
    return found


def told(trained: Balance | None, before: Balance | None) -> dict[str, Any]:
    """Return the fields of a replicate's result, after training and before its first step."""
    if trained is None:
        return {"ei_weight_balance": None, "ei_current_balance": None}
    return {
        "ei_weight_balance": trained.weights,
        "ei_current_balance": trained.current,
        "ei_current_by_state": trained.by_state,
        "ei_weight_before": before.weights if before else None,
        "ei_current_before": before.current if before else None,
        "recurrent_share": recurrent_share(trained.currents[EVERYWHERE]),
    }
