"""The weights of packed students, and the settings of each."""

# Shape legend: R replicates, N units, M neurons.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rheobase.student.settings import StudentSettings


class Replicate(NamedTuple):
    """One network of a population: its root seed and its settings.

    Networks that are packed share a `population_key`; all other settings are each one's own.
    """

    seed: int
    settings: StudentSettings


class TrainCounts(NamedTuple):
    """Mean (N,) of the units' counts on train, and the root of their summed variances."""

    mean: Tensor
    spread: float


@dataclass(kw_only=True)
class Students:
    """R networks on one session.

    `input_weights` (R, N, M); `recurrent` (R, M, M) [pre, post]; `bias` (R, M); `log_tau` (R, M),
    the logarithm of each membrane's time constant in ms; `signs` (R, M); `connected` (R, M, M)
    bool, the recurrent weights there are; `input_signs` (R, N) of the units, 0 where they are
    free; `input_connected` (R, N, M) bool, the input weights there are. A gated network has three
    columns for each unit.
    """

    input_weights: Tensor
    recurrent: Tensor
    bias: Tensor
    log_tau: Tensor
    signs: Tensor
    connected: Tensor
    input_signs: Tensor
    input_connected: Tensor

    def chosen(self, rows: Tensor) -> Students:
        """Return a copy of some of the networks."""
        return Students(**{name: tensor[rows] for name, tensor in vars(self).items()})

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the weights as NumPy arrays under their names."""
        return {f.name: getattr(self, f.name).detach().cpu().numpy() for f in fields(self)}


def of_each(replicates: Sequence[Replicate], setting: str) -> Tensor:
    """Return a setting of every replicate (R,), as float64; bool as bool.

    Parameters
    ----------
    replicates
        The networks.
    setting
        The name of a number, a band or a flag of `StudentSettings`.
    """
    values = [getattr(replicate.settings, setting) for replicate in replicates]
    is_bool = isinstance(values[0], bool)
    return torch.tensor(values, dtype=torch.bool if is_bool else torch.float64)


def weights_of(students: Students) -> tuple[Tensor, ...]:
    """Return what an optimiser may change of any network: input weights, recurrent ones, bias."""
    return students.input_weights, students.recurrent, students.bias
