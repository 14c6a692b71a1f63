"""VICReg's guard against collapse: variance of at least one, no covariance."""

# Shape legend: B samples, D latent dimensions.

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
from torch import Tensor

VARIANCE_WEIGHT = 25.0  # Bardes et al. 2022, section 4.2, relative to the covariance term
LEAST_VARIANCE = 1e-4  # there: epsilon, keeps the square root's slope finite


def vicreg(latents: Tensor) -> Tensor:
    r"""Return the variance and covariance terms of latents (B, D).

    Notes
    -----
    :math:`25 \langle \max(0, 1 - \sigma_i) \rangle + \sum_{i \ne j} C_{ij}^2 / D`. Mean and
    covariance are taken over the samples of all workers, which must hold equally many. Unlike
    SIGReg it asks nothing of the shape of the distribution.

    References
    ----------
    Bardes, Ponce & LeCun (2022), VICReg, arXiv:2105.04906.
    """
    dims = latents.shape[1]
    moments = torch.cat([latents.mean(0, keepdim=True), latents.T @ latents / len(latents)])
    if dist.is_initialized():
        moments = dist_nn.all_reduce(moments) / dist.get_world_size()
    covariance = moments[1:] - moments[:1].T @ moments[:1]
    variance = covariance.diagonal()
    spread = (1 - (variance.clamp(min=0) + LEAST_VARIANCE).sqrt()).relu().mean()
    shared = (covariance.square().sum() - variance.square().sum()) / dims
    return VARIANCE_WEIGHT * spread + shared
