"""The input synapses that networks begin with: which there are, their signs and sizes."""

# Shape legend: R replicates, N units, M neurons; weights are [pre, post].

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rheobase.core.seeds import child_seed
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate, Students
from rheobase.student.unit_signs import Columns, input_signs


def wired_inputs(
    drawn: Students, replicates: Sequence[Replicate], columns: Columns, session: str
) -> Students:
    """Return networks whose input weights have the signs and gaps that their settings ask for.

    Parameters
    ----------
    drawn
        R networks whose input weights are standard normal.
    replicates
        Their seeds and settings. Networks that do not spike keep what was drawn: they are what
        others are held against without constraints.
    columns
        Those of the units' table, (N,) each.
    session
        Names the generators.

    Raises
    ------
    DataError
        Signs go by a column that the session lacks.

    Notes
    -----
    Half-normal where a unit has a sign. Larger by ``1 / sqrt(input_prob)``, so that the variance
    of a neuron's input does not depend on how many units reach it.
    """
    weights, signs, connected = [], [], []
    for row, (seed, own) in enumerate(replicates):
        given = drawn.input_weights[row]
        num_units = len(given)
        sign, there = torch.zeros(num_units), torch.ones_like(given, dtype=torch.bool)
        if own.kind.spikes:
            sign = torch.from_numpy(input_signs(own, seed, columns, num_units, session)).float()
            there = _connections(own, seed, session, drawn.signs[row], num_units)
            given = torch.where(sign[:, None] == 0, given, given.abs() * sign[:, None]) * there
            given = given * (own.input_gain / math.sqrt(own.input_prob or 1.0))
        weights.append(given)
        signs.append(sign)
        connected.append(there)
    return replace(
        drawn,
        input_weights=torch.stack(weights),
        input_signs=torch.stack(signs),
        input_connected=torch.stack(connected),
    )


def _connections(
    settings: StudentSettings, seed: int, session: str, signs: Tensor, num_units: int
) -> Tensor:
    """Return which units reach which neurons, (N, M) bool."""
    neurons = len(signs)
    draw = torch.Generator().manual_seed(child_seed(seed, "student", "input", session))
    there = torch.rand(num_units, neurons, generator=draw) < settings.input_prob
    (may,) = torch.nonzero(signs > 0 if settings.input_to == "excitatory" else signs != 0).unbind(1)
    order = may[torch.randperm(len(may), generator=draw)]
    gets = torch.zeros(neurons, dtype=torch.bool)
    gets[order[: math.ceil(settings.input_share * len(may))]] = True
    return there & gets
