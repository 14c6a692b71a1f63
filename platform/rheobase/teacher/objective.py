"""The teacher's loss, and the units that each side of it sees."""

# Shape legend: B samples, N units, D latent dimensions, H horizons, G slices.

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from scipy.linalg import hadamard
from torch import Tensor

from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.sigreg import sigreg
from rheobase.teacher.vicreg import vicreg

NUM_REFERENCE = 256
"""The statistic grows with its samples; as that of so many, its weight means the same at any
number of them."""
DROPPED_SHARE = 0.25


def lejepa_loss(
    settings: TeacherSettings,
    latents: Tensor,
    targets: Tensor,
    predicted: Tensor,
    slices: Tensor,
    num_apart: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of one batch, and its parts.

    Parameters
    ----------
    settings
        The [teacher] table.
    latents
        (B, D) of the past.
    targets
        (B, H, D) of the future.
    predicted
        (B, H, D) from `latents`.
    slices
        (D, G) of SIGReg.
    num_apart
        So many consecutive samples lie apart in time, of a worker where there are several.
        The groups that SIGReg mixes divide it: neighbours are alike, and their sums no more
        Gaussian than they are.

    Notes
    -----
    ``(1 - w) * mse + w * regulariser`` with w = `sigreg_weight`, the regulariser that of the past
    and the mean of the futures' in equal parts. No gradient is stopped and no moving average is
    kept: the regulariser alone holds both sides from collapse.

    References
    ----------
    Balestriero & LeCun (2025), LeJEPA, arXiv:2511.08544.
    """
    error = (predicted - targets).square().mean()
    if settings.regulariser == "none":
        return error, {"mse": error, "regulariser": torch.zeros_like(error)}
    past = _regulariser(settings, latents, slices, num_apart)
    ahead = torch.stack(
        [_regulariser(settings, side, slices, num_apart) for side in targets.unbind(1)]
    )
    regulariser = (past + ahead.mean()) / 2
    weight = settings.sigreg_weight
    return (1 - weight) * error + weight * regulariser, {"mse": error, "regulariser": regulariser}


def _regulariser(
    settings: TeacherSettings, latents: Tensor, slices: Tensor, num_apart: int
) -> Tensor:
    if settings.regulariser == "vicreg":
        return vicreg(latents)
    world = dist.get_world_size() if dist.is_initialized() else 1
    mixed = mixed_samples(latents, max(1, min(settings.sigreg_mix, num_apart & -num_apart)))
    return sigreg(mixed, slices) * (NUM_REFERENCE / (len(mixed) * world))


def mixed_samples(latents: Tensor, size: int) -> Tensor:
    """Return sums of samples (B', D): groups of `size` turned by a Hadamard matrix.

    Turning keeps the covariance of each group to the last digit. Sums of many samples are near
    Gaussian whatever the samples are, so that SIGReg no longer prefers a Gaussian nuisance to a
    skewed signal; and only a Gaussian has Gaussian sums (Cramer 1936).
    """
    turn = torch.from_numpy(hadamard(size) / size**0.5).to(latents)
    groups = latents[: len(latents) // size * size].unflatten(0, (-1, size))
    mixed: Tensor = (turn @ groups).flatten(0, 1)
    return mixed


def view_masks(
    views: str, draw: np.random.Generator, shape: tuple[int, int]
) -> list[npt.NDArray[np.float32]]:
    """Return what each sample's past and future weigh units by, two of (B, N), or none.

    Weights of the units left keep the mean of a sum over units.
    """
    if views in ("none", "replay"):
        return []
    chance = draw.random(shape, np.float32)
    if views == "half_units":
        half = chance < 0.5
        return [2 * half.astype(np.float32), 2 * (~half).astype(np.float32)]
    kept = (chance >= DROPPED_SHARE).astype(np.float32) / (1 - DROPPED_SHARE)
    return [kept, np.ones(shape, np.float32)]
