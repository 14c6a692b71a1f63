"""Dale's principle: each neuron's outgoing recurrent weights share one sign."""

# Shape legend: R replicates, M neurons; recurrent weights are [pre, post].

from __future__ import annotations

import torch
from torch import Tensor

from rheobase.core.errors import ConstraintError


def neuron_signs(num_neurons: int, num_excitatory: int) -> Tensor:
    """Return +1 for excitatory and -1 for inhibitory neurons, (M,), excitatory first.

    Raises
    ------
    ConstraintError
        There is no neuron of one kind.
    """
    if not 0 < num_excitatory < num_neurons:
        raise ConstraintError(
            f"at least one neuron of each sign must be there, but {num_excitatory} of "
            f"{num_neurons} are excitatory; use more neurons or a less extreme excitatory_fraction"
        )
    signs = torch.ones(num_neurons)
    signs[num_excitatory:] = -1
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


def dale_violations(recurrent: Tensor, signs: Tensor) -> Tensor:
    """Return how many weights of each replicate (R,) have the wrong sign for their neuron."""
    return ((recurrent * signs[:, :, None]) < 0).sum(dim=(1, 2))
