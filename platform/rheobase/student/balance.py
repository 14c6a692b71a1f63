"""A balance of inhibition and excitation that is held: the nearest weights that have it."""

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
MOST_MISSED = 1000.0
MOST_STEPS = 100  # of the search for a root: bisection alone takes 60
EXACT = 1e-9  # of a balance, as a share of all that is sent


class _Synapses(NamedTuple):
    """What a network sends: recurrent synapses, and below them those of units (pre, M), float64.

    Magnitudes `sizes` are below 0 where a weight has the wrong sign. `pull` is how much more there
    is of `ei_balance` times excitation, minus inhibition, for more of a weight: rates times
    `ei_balance`, or times -1; 0 where there is no synapse.
    """

    sizes: Tensor
    pull: Tensor
    signs: Tensor


def _synapses(
    students: Students, row: int, settings: StudentSettings, unit_rates: Tensor, rates: Tensor
) -> _Synapses:
    recurrent, given = students.recurrent[row], students.input_weights[row]
    of_neurons = students.signs[row][:, None]
    own = (of_neurons if settings.dale else recurrent.sign()) * students.connected[row]
    of_units = students.input_signs[row][:, None]
    signs = torch.where(of_units == 0, given.sign(), of_units) * students.input_connected[row]
    if settings.ei_of == "weights":
        rates, unit_rates = torch.ones_like(rates), torch.zeros_like(unit_rates)
    excites = [of_neurons.expand_as(own) if settings.ei_of == "weights" else own, signs]
    sides = torch.where(torch.cat(excites) > 0, settings.ei_balance, -1.0)
    both = torch.cat([own, signs])
    sent = torch.cat([rates, unit_rates]).double()[:, None]
    weights = torch.cat([recurrent, given])
    return _Synapses((weights * both).double(), sent * sides * (both != 0), both)


def _sums(each: Tensor, settings: StudentSettings) -> Tensor:
    """Return the sum over synapses (pre, M) of the network, or of each neuron (M,)."""
    return each.sum(dim=0) if settings.ei_per == "neuron" else each.sum()


def _sent(synapses: _Synapses, settings: StudentSettings) -> tuple[Tensor, Tensor]:
    """Return `ei_balance` times the excitation that is sent, and the inhibition."""
    each = synapses.pull * synapses.sizes.clamp(min=0)
    return _sums(each.clamp(min=0), settings), _sums(-each.clamp(max=0), settings)


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
    float64: of a network that holds each neuron's balance the largest of its neurons', at most
    `MOST_MISSED`, as where nothing excites; 0 where the balance is free.
    """
    missed = torch.zeros(len(replicates), dtype=torch.float64)
    for row, settings in _held(replicates):
        synapses = _synapses(students, row, settings, unit_rates, rates[row])
        wanted, inhibition = _sent(synapses, settings)
        beyond = (inhibition / wanted - 1).abs()
        missed[row] = float(beyond.nan_to_num(MOST_MISSED).clamp(max=MOST_MISSED).max())
    return missed


def hold_balance_(
    students: Students,
    replicates: Sequence[Replicate],
    unit_rates: Tensor,
    rates: Tensor,
    least_rate: float,
) -> list[bool]:
    r"""Move weights to the nearest ones that have `ei_balance`, in place, where it is not 0.

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
    Whether each network could be brought to its balance: not where a side has no synapse that may
    move. Of fixed recurrence the inputs alone move.

    Notes
    -----
    With magnitudes w, rates r and :math:`\sum_I r w = b \sum_E r w` to hold, the nearest weights
    of the right signs are :math:`[w + \lambda b r]_+` where they excite and
    :math:`[w - \lambda r]_+` where they inhibit; a weight of the wrong sign has a magnitude below
    0 before it is projected, so that this is the projection onto Dale's principle and the balance
    together. Lambda is found to `EXACT` by Newton's steps inside a bracket: what is held falls
    with it.
    """
    could = [True] * len(replicates)
    for row, settings in _held(replicates):
        if settings.ei_of == "weights" and settings.recurrence == "fixed":
            continue  # they stay as they were scaled at the start
        fired = rates[row].clamp(min=least_rate)
        synapses = _synapses(students, row, settings, unit_rates, fired)
        moved = synapses.pull
        if settings.recurrence == "fixed":
            moved = moved.clone()
            moved[: len(fired)] = 0.0
        shift, could[row] = _shift(synapses, moved, settings)
        if could[row]:
            sizes = synapses.sizes.add_(shift * moved).clamp_(min=0)
            recurrent, given = (sizes * synapses.signs).split([len(fired), len(unit_rates)])
            if settings.recurrence == "trained":
                students.recurrent[row] = recurrent
            if settings.ei_of == "currents":
                students.input_weights[row] = given
    return could


def _shift(synapses: _Synapses, moved: Tensor, settings: StudentSettings) -> tuple[Tensor, bool]:
    """Return lambda, of the network or of each neuron (M,), and whether there is one."""
    wanted, inhibition = _sent(synapses, settings)
    shift = torch.zeros_like(wanted)
    least, most = torch.full_like(shift, -torch.inf), torch.full_like(shift, torch.inf)
    beyond, everything = inhibition - wanted, inhibition + wanted
    for _ in range(MOST_STEPS):
        done = beyond.abs() <= EXACT * everything
        if done.all():
            return shift, bool((everything > 0).all())
        least, most = torch.where(beyond > 0, shift, least), torch.where(beyond < 0, shift, most)
        sizes = synapses.sizes + shift * moved
        slope = _sums(moved.square() * (sizes > 0), settings)
        step = shift + beyond / slope
        step = torch.where((step > least) & (step < most), step, (least + most) / 2)
        shift = torch.where(done, shift, step)
        if not torch.isfinite(shift).all():
            break
        each = synapses.pull * (synapses.sizes + shift * moved).clamp_(min=0)
        beyond, everything = -_sums(each, settings), _sums(each.abs(), settings)
    return shift, False


def balanced_start(
    students: Students, replicates: Sequence[Replicate], unit_rates: Tensor, bin_ms: float
) -> None:
    """Scale untrained networks to the balance they are to hold, in place.

    Excitatory weights are multiplied by the root of what is missing, inhibitory ones divided by
    it: a draw keeps its shape. The bias takes up what that changes of the mean current, and what
    neurons at `START_RATE_HZ` send each other, so that a network that is to be held far from
    balance starts neither silent nor saturated.

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
    at_start = torch.full_like(students.bias, START_RATE_HZ * bin_ms / 1000)
    for row, settings in _held(replicates):
        before = _sum_to_neurons(unit_rates, students.input_weights[row])
        synapses = _synapses(students, row, settings, unit_rates, at_start[row])
        wanted, inhibition = _sent(synapses, settings)
        if not ((wanted > 0).all() and (inhibition > 0).all()):
            of_whom = "every neuron" if settings.ei_per == "neuron" else "the network"
            raise ConstraintError(
                f"ei_balance = {settings.ei_balance:g} must be given by excitatory and inhibitory "
                f"synapses of {of_whom}, but with seed {replicates[row].seed} one of the two sides "
                "is nil; use a greater connection_prob or input_prob, other input_signs, or ei_per "
                "= 'network'"
            )
        root = (inhibition / wanted).sqrt()
        factors = torch.where(synapses.pull > 0, root, 1 / root).float()
        neurons = len(students.recurrent[row])
        students.recurrent[row] *= factors[:neurons]
        if settings.ei_of == "currents":
            students.input_weights[row] *= factors[neurons:]
        after = _sum_to_neurons(unit_rates, students.input_weights[row])
        recurrent = _sum_to_neurons(at_start[row], students.recurrent[row])
        students.bias[row] += before - after - recurrent


def _sum_to_neurons(rates: Tensor, weights: Tensor) -> Tensor:
    """Return the mean current (M,) into each neuron; no product of BLAS, whose order varies."""
    return (rates[:, None] * weights).sum(dim=0)
