"""A balance of inhibition and excitation that training holds: both sides are scaled to it."""

# Shape legend: R replicates, N units, M neurons; weights are [pre, post].

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rheobase.core.errors import ConstraintError
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate, Students

LEAST_RATE_HZ = 0.5  # a neuron that did not fire in a batch counts as firing this often
START_RATE_HZ = 10.0  # what neurons are taken to fire at before their first batch


class _Part(NamedTuple):
    """Weights (pre, M), how often each presynaptic side fires (pre,), and which excite."""

    weights: Tensor
    rates: Tensor
    excites: Tensor


def _parts(
    students: Students, row: int, settings: StudentSettings, unit_rates: Tensor, rates: Tensor
) -> list[_Part]:
    recurrent, given = students.recurrent[row], students.input_weights[row]
    if settings.ei_of == "weights":
        of_sources = (students.signs[row] > 0)[:, None].expand_as(recurrent)
        return [_Part(recurrent, torch.ones_like(rates), of_sources)]
    return [_Part(recurrent, rates, recurrent > 0), _Part(given, unit_rates, given > 0)]


def _balance(parts: Sequence[_Part], settings: StudentSettings) -> Tensor:
    """Return inhibition over excitation of the network, or of each neuron (M,)."""
    excitation, inhibition = (
        torch.stack([_sent_by(one, excites=sign) for one in parts]).sum(dim=0)
        for sign in (True, False)
    )
    if settings.ei_per == "network":
        excitation, inhibition = excitation.sum(), inhibition.sum()
    return inhibition / excitation


def _sent_by(part: _Part, *, excites: bool) -> Tensor:
    """Return the magnitude (M,) of what one side of synapses sends to each neuron."""
    weights = torch.where(part.excites == excites, part.weights.abs(), 0.0)
    return _sum_to_neurons(part.rates, weights)


def _held(replicates: Sequence[Replicate]) -> list[tuple[int, StudentSettings]]:
    """Return the rows and settings of the networks whose balance is held."""
    each = [(row, own) for row, (_, own) in enumerate(replicates)]
    return [(row, own) for row, own in each if own.ei_balance and own.kind.spikes]


def balance_missed(
    students: Students, replicates: Sequence[Replicate], unit_rates: Tensor, rates: Tensor
) -> Tensor:
    """Return how far each network's balance lies from `ei_balance`, (R,), as a share of it.

    Parameters
    ----------
    students, replicates
        R networks and their settings.
    unit_rates
        (N,) mean counts of the units.
    rates
        (R, M) mean spikes of the neurons, in the same unit.

    Returns
    -------
    float64: of a network that holds each neuron's balance the largest of its neurons'; 0 where the
    balance is free.
    """
    missed = torch.zeros(len(replicates), dtype=torch.float64)
    for row, settings in _held(replicates):
        parts = _parts(students, row, settings, unit_rates, rates[row])
        missed[row] = float((_balance(parts, settings) / settings.ei_balance - 1).abs().max())
    return missed


def hold_balance_(
    students: Students,
    replicates: Sequence[Replicate],
    unit_rates: Tensor,
    rates: Tensor,
    least_rate: float,
) -> list[bool]:
    r"""Scale excitatory and inhibitory weights to `ei_balance`, in place, where it is not 0.

    Parameters
    ----------
    students, replicates
        R networks and their settings.
    unit_rates
        (N,) mean counts of the units.
    rates
        (R, M) mean spikes of the neurons, in the same unit.
    least_rate
        What a neuron that fires less counts as, in that unit.

    Returns
    -------
    Whether each network could be scaled: not where one of the two sides is nil.

    Notes
    -----
    With E and I the sums of magnitudes of weights times rates, the excitatory weights are
    multiplied by :math:`\sqrt{I / (b E)}` and the inhibitory ones divided by it, so that I / E = b
    exactly at these rates and E I stays: neither side is preferred. No sign and no zero changes.
    """
    could = [True] * len(replicates)
    for row, settings in _held(replicates):
        parts = _parts(students, row, settings, unit_rates, rates[row].clamp(min=least_rate))
        beyond = _balance(parts, settings) / settings.ei_balance
        could[row] = bool((torch.isfinite(beyond) & (beyond > 0)).all())
        if could[row]:
            root = beyond.sqrt()
            for one in parts:
                one.weights.mul_(torch.where(one.excites, root, 1 / root))
    return could


def balanced_start(
    students: Students, replicates: Sequence[Replicate], unit_rates: Tensor, bin_ms: float
) -> None:
    """Scale untrained networks to the balance they are to hold, in place.

    Their bias takes up what that changes of the mean current, and what neurons at
    `START_RATE_HZ` send each other, so that a network that is to be held far from balance starts
    neither silent nor saturated.

    Parameters
    ----------
    students, replicates
        R networks and their settings.
    unit_rates
        (N,) mean counts of the units in a bin.
    bin_ms
        Width of a bin.

    Raises
    ------
    ConstraintError
        A network, or a neuron of one that holds each neuron's balance, has no synapse of one side.
    """
    held = _held(replicates)
    if not held:
        return
    at_start = torch.full_like(students.bias, START_RATE_HZ * bin_ms / 1000)
    before = [_sum_to_neurons(unit_rates, students.input_weights[row]) for row, _ in held]
    could = hold_balance_(students, replicates, unit_rates, at_start, 0.0)
    for (row, settings), given in zip(held, before, strict=True):
        if not could[row]:
            of_whom = "every neuron" if settings.ei_per == "neuron" else "the network"
            raise ConstraintError(
                f"ei_balance = {settings.ei_balance:g} must be given by excitatory and inhibitory "
                f"synapses of {of_whom}, but with seed {replicates[row].seed} one of the two sides "
                "is nil; use a greater connection_prob or input_prob, other input_signs, or ei_per "
                "= 'network'"
            )
        after = _sum_to_neurons(unit_rates, students.input_weights[row])
        recurrent = _sum_to_neurons(at_start[row], students.recurrent[row])
        students.bias[row] += given - after - recurrent


def _sum_to_neurons(rates: Tensor, weights: Tensor) -> Tensor:
    """Return the mean current (M,) into each neuron; no product of BLAS, whose order varies."""
    return (rates[:, None] * weights).sum(dim=0)
