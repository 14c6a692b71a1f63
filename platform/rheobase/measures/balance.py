"""Excitation against inhibition in what a network's synapses send, and how far from required."""

# Shape legend: N units, M neurons; weights are [post, pre].

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEAST_BALANCED = 0.80
"""Share of neurons that must be balanced where each neuron's balance is held, as of rates."""


class Currents(NamedTuple):
    """Mean magnitudes of what reaches each neuron through its synapses, all (M,).

    Attributes
    ----------
    excitation, inhibition
        (M,) through weights above and below 0, of units and neurons together.
    recurrent
        (M,) through synapses of neurons, of either sign.
    """

    excitation: Floats
    inhibition: Floats
    recurrent: Floats


def synaptic_currents(
    recurrent: npt.NDArray[Any],
    rates_hz: Floats,
    input_weights: npt.NDArray[Any],
    unit_rates_hz: Floats,
) -> Currents:
    r"""Return the mean magnitude of the currents into each neuron.

    Parameters
    ----------
    recurrent
        (M, M) weights [post, pre].
    rates_hz
        (M,) rate of each neuron in Hz.
    input_weights
        (M, N) weights [post, pre] of the units.
    unit_rates_hz
        (N,) rate of each unit in Hz.

    Returns
    -------
    In weights times Hz.

    Notes
    -----
    :math:`E_i = \sum_j [w_{ij}]_+ r_j` and :math:`I_i = \sum_j [-w_{ij}]_+ r_j`, over units and
    neurons. As each spike brings its weight whatever else arrives, these are the means over time of
    the summed magnitudes, whatever is correlated. A neuron's bias is no synapse and takes no part.

    Examples
    --------
    >>> found = synaptic_currents(np.array([[0.0, -2.0], [1.0, 0.0]]), np.array([1.0, 3.0]),
    ...                           np.array([[4.0], [-1.0]]), np.array([0.5]))
    >>> found.excitation.tolist(), found.inhibition.tolist(), found.recurrent.tolist()
    ([2.0, 1.0], [6.0, 0.5], [6.0, 1.0])
    """
    own, given = recurrent.astype(np.float64), input_weights.astype(np.float64)
    sides = [
        (own * sign).clip(min=0) @ rates_hz + (given * sign).clip(min=0) @ unit_rates_hz
        for sign in (1, -1)
    ]
    return Currents(sides[0], sides[1], np.abs(own) @ rates_hz)


def ei_balance(currents: Currents) -> float | None:
    """Return a network's inhibitory over excitatory current.

    Parameters
    ----------
    currents
        Of its neurons.

    Returns
    -------
    1 is balanced; None where there is no excitation.
    """
    excitation = float(currents.excitation.sum())
    return float(currents.inhibition.sum()) / excitation if excitation > 0 else None


def recurrent_share(currents: Currents) -> float | None:
    """Return what share of the magnitude of all synaptic current comes from the network itself.

    Parameters
    ----------
    currents
        Of its neurons.

    Returns
    -------
    0 of a feed-forward network; None where there is no current.
    """
    everything = float(currents.excitation.sum() + currents.inhibition.sum())
    return float(currents.recurrent.sum()) / everything if everything > 0 else None


def balanced_share(currents: Currents, target: float, tolerance: float) -> float:
    """Return the share of neurons whose own inhibition over excitation lies near a target.

    Parameters
    ----------
    currents
        Of the neurons.
    target
        Inhibition over excitation.
    tolerance
        How far from it a neuron's may lie, as a share of it.

    Returns
    -------
    0 to 1; a neuron without excitation lies near none.
    """
    wanted = target * currents.excitation
    near = np.abs(currents.inhibition - wanted) <= tolerance * wanted
    return float((near & (currents.excitation > 0)).mean())


def band_violations(
    by_state: Mapping[str, float | None], band: tuple[float, float]
) -> dict[str, float]:
    """Return the signed violation of a required band of E/I balance; a line holds at <= 0.

    Parameters
    ----------
    by_state
        Inhibitory over excitatory current under each state's name; None where there is no
        excitation, which lies one width of the band beyond it.
    band
        Lower and upper end.

    Returns
    -------
    ``<state>:ei_low`` and ``<state>:ei_high``, in widths of the band.

    Examples
    --------
    >>> band_violations({"all": 1.25}, (0.5, 1.0))
    {'all:ei_low': -1.5, 'all:ei_high': 0.5}
    """
    low, high = band
    by_line = {}
    for state, found in by_state.items():
        by_line[f"{state}:ei_low"] = 1.0 if found is None else (low - found) / (high - low)
        by_line[f"{state}:ei_high"] = 1.0 if found is None else (found - high) / (high - low)
    return by_line


def held_violation(found: float | None, target: float, tolerance: float) -> float:
    """Return how far a held balance lies beyond its tolerance, as a share of its target.

    Parameters
    ----------
    found
        The measured balance; None where there is no excitation.
    target
        What was to be held.
    tolerance
        As a share of the target.

    Returns
    -------
    It is held at <= 0; 1 where nothing can be measured.

    Examples
    --------
    >>> held_violation(2.5, 2.0, 0.25)
    0.0
    """
    return 1.0 if found is None else abs(found / target - 1) - tolerance
