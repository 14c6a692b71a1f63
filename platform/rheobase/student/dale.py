"""Dale's principle: all weights of a neuron, and of a unit that has a sign, share that sign."""

# Shape legend: R replicates, N units, M neurons; weights are [pre, post].

from __future__ import annotations

import torch
from torch import Tensor

from rheobase.core.errors import ConstraintError
from rheobase.student.settings import StudentSettings


def neuron_signs(settings: StudentSettings) -> Tensor:
    """Return +1 for excitatory and -1 for inhibitory neurons, (M,), excitatory first.

    Raises
    ------
    ConstraintError
        The fraction leaves no neuron of one kind.
    """
    if settings.missing_sign:
        raise ConstraintError(settings.missing_sign)
    signs = torch.ones(settings.num_neurons)
    signs[settings.num_excitatory :] = -1
    return signs


def project_to_signs_(recurrent: Tensor, signs: Tensor, dale: Tensor) -> None:
    """Set every weight of the wrong sign to zero, in place, in the networks that `dale` names.

    `recurrent` is (R, M, M) [pre, post]; `signs` (R, M) belong to the presynaptic neuron;
    `dale` (R,) is bool. This is the nearest point that obeys Dale's principle, and it obeys it
    exactly.
    """
    excitatory = (signs > 0)[:, :, None]
    obeying = torch.where(excitatory, recurrent.clamp(min=0), recurrent.clamp(max=0))
    recurrent.copy_(torch.where(dale[:, None, None], obeying, recurrent))


def project_inputs_(input_weights: Tensor, input_signs: Tensor) -> None:
    """Set every input weight of the wrong sign to zero, in place.

    `input_weights` is (R, N, M); `input_signs` (R, N) of the units, 0 where weights are free.
    """
    signs = input_signs[:, :, None]
    input_weights.masked_fill_(input_weights * signs < 0, 0.0)


def input_violations(input_weights: Tensor, input_signs: Tensor) -> Tensor:
    """Return how many input weights of each replicate (R,) have the wrong sign for their unit."""
    return ((input_weights * input_signs[:, :, None]) < 0).sum(dim=(1, 2))


def dale_violations(recurrent: Tensor, signs: Tensor) -> Tensor:
    """Return how many weights of each replicate (R,) have the wrong sign for their neuron."""
    return ((recurrent * signs[:, :, None]) < 0).sum(dim=(1, 2))
