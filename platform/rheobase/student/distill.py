"""The distillation loss: differentiable CCA with shrinkage over a batch."""

# Shape legend: R replicates, B samples, M neurons, D teacher dimensions.

from __future__ import annotations

import math

import torch
from torch import Tensor


def squared_canonical_correlation(features: Tensor, latents: Tensor, shrinkage: Tensor) -> Tensor:
    r"""Return the mean squared canonical correlation of a batch, in sample.

    Parameters
    ----------
    features
        (R, B, M) low-pass filtered spikes.
    latents
        (R, B, D) teacher latents.
    shrinkage
        (R,) float64, s in ``(1 - s) C + s tr(C) / n I`` for both covariances.

    Returns
    -------
    (R,) in 0..1: :math:`\frac{1}{D} \mathrm{tr}(C_{yy}^{-1} C_{yx} C_{xx}^{-1} C_{xy})`, which
    is the mean of the squared canonical correlations; NaN where a covariance cannot be
    factored.

    Notes
    -----
    Invariant to any invertible linear map of either side, up to shrinkage. A training signal
    only: in sample it is biased upwards, most so with few samples; `measures.cca` is the
    measure. The trace needs no singular vectors, whose gradients blow up where correlations
    coincide.
    """
    features = features - features.mean(dim=1, keepdim=True)
    latents = latents - latents.mean(dim=1, keepdim=True)
    num_samples = features.shape[1]
    cross = features.transpose(1, 2) @ latents / num_samples
    # Factored without a check, which would raise for all networks where one fails.
    chol_x, fails_x = torch.linalg.cholesky_ex(_shrunk_covariance(features, shrinkage))
    chol_y, fails_y = torch.linalg.cholesky_ex(_shrunk_covariance(latents, shrinkage))
    half = torch.linalg.solve_triangular(chol_x, cross, upper=False)
    whole = torch.linalg.solve_triangular(chol_y, half.transpose(1, 2), upper=False)
    explained: Tensor = whole.square().sum(dim=(1, 2)) / latents.shape[-1]
    return explained.masked_fill((fails_x != 0) | (fails_y != 0), math.nan)


def _shrunk_covariance(centred: Tensor, shrinkage: Tensor) -> Tensor:
    size = centred.shape[-1]
    share = shrinkage[:, None, None].to(centred)
    rest = (1 - shrinkage)[:, None, None].to(centred)
    covariance = centred.transpose(1, 2) @ centred / centred.shape[1]
    level = covariance.diagonal(dim1=1, dim2=2).mean(dim=-1)[:, None, None]
    # The floor keeps a batch without a single spike solvable; its correlation is then zero.
    ridge = (share * level).clamp(min=1e-8) * torch.eye(size).to(covariance)
    return rest * covariance + ridge
