"""What the workers of one training share: their batch, and the mean of their gradients."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn


def place() -> tuple[int, int]:
    """Return this worker's number and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def share(num: int) -> slice:
    """Return which of so many runs are this worker's."""
    rank, world = place()
    return slice(rank * num // world, (rank + 1) * num // world)


def average_gradients_(module: nn.Module) -> None:
    """Give every parameter the mean of all workers' gradients, in place."""
    _, world = place()
    if world == 1:
        return
    # One message for all gradients: a step is short, and each message costs a round trip.
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
