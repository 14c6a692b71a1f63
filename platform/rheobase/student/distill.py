"""What students are trained by: how much of the latents a batch of features carries."""

# Shape legend: R replicates, B samples, M neurons, D teacher dimensions.

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

MOST_RSA_SAMPLES = 256
LEAST_VARIANCE = 1e-8  # keeps a batch without a single spike solvable; it then carries nothing


def carried_by(distill: str, features: Tensor, latents: Tensor, shrinkage: Tensor) -> Tensor:
    """Return the similarity of features and latents that `student.distill` names.

    Parameters
    ----------
    distill
        ``cca``, ``readout``, ``procrustes``, ``cka`` or ``rsa``.
    features
        (R, B, M) low-pass filtered spikes.
    latents
        (R, B, D) teacher latents.
    shrinkage
        (R,) float64, of the covariances that `cca` and `readout` invert.

    Returns
    -------
    (R,), 1 where all of the latents is carried, in sample: a training signal, never quoted.

    Notes
    -----
    Each replicate's number depends on its own samples alone.
    """
    if distill == "cca":
        return squared_canonical_correlation(features, latents, shrinkage)
    if distill == "readout":
        return readout_r2(features, latents, shrinkage)
    if distill == "procrustes":
        return procrustes_cosine(features, latents)
    if distill == "cka":
        return linear_cka(features, latents)
    return rsa_correlation(features, latents)


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
    Invariant to any invertible linear map of either side, up to shrinkage (Hardoon et al.
    2004). A training signal only: in sample it is biased upwards, most so with few samples;
    `measures.cca` is the measure. The trace needs no singular vectors, whose gradients blow up
    where correlations coincide.
    """
    explained: Tensor = _SquaredCCA.apply(  # type: ignore[no-untyped-call]
        features, latents, shrinkage
    )
    return explained


class _SquaredCCA(torch.autograd.Function):
    r"""The gradient in closed form, which reads the batch once.

    With :math:`A = C_{xx}^{-1} C_{xy}` and :math:`P = A C_{yy}^{-1} A^\top`, both covariances
    shrunk, :math:`\frac{2}{BD} (Y C_{yy}^{-1} A^\top - X ((1 - s) P + s \mathrm{tr}(P) / M))`.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, latents: Tensor, shrinkage: Tensor) -> Tensor:
        features, latents = _centred(features), _centred(latents)
        within, cross = _covariance(features, features), _covariance(features, latents)
        # Factored without a check, which would raise for all networks where one fails.
        chol_x, fails_x = torch.linalg.cholesky_ex(_shrunk(within, shrinkage))
        chol_y, fails_y = torch.linalg.cholesky_ex(
            _shrunk(_covariance(latents, latents), shrinkage)
        )
        half = torch.linalg.solve_triangular(chol_x, cross, upper=False)
        whole = torch.linalg.solve_triangular(chol_y, half.transpose(1, 2), upper=False)
        ctx.save_for_backward(features, latents, shrinkage, within, chol_x, chol_y, half)
        explained: Tensor = whole.square().sum(dim=(1, 2)) / latents.shape[-1]
        return explained.masked_fill((fails_x != 0) | (fails_y != 0), math.nan)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        features, latents, shrinkage, within, chol_x, chol_y, half = ctx.saved_tensors
        weights = torch.linalg.solve_triangular(chol_x.transpose(1, 2), half, upper=True)
        back = torch.cholesky_solve(weights.transpose(1, 2), chol_y)
        pulled = weights @ back
        share = shrinkage[:, None].to(within)
        # Where the ridge is at its floor it does not move with the features.
        moves = share * _level(within)[:, None] > LEAST_VARIANCE
        ridge = torch.where(moves, share * _level(pulled)[:, None], 0.0)
        pulled *= 1 - share[:, :, None]
        pulled.diagonal(dim1=1, dim2=2).add_(ridge)
        scale = 2 / latents[0].numel() * grad_outputs[0][:, None, None]
        gradient = (latents @ (back * scale)).baddbmm_(features, pulled * -scale)
        return gradient, None, None


def readout_r2(features: Tensor, latents: Tensor, shrinkage: Tensor) -> Tensor:
    r"""Return how much of each latent a ridge readout of a batch explains, in sample.

    Parameters
    ----------
    features, latents, shrinkage
        As `squared_canonical_correlation` takes them; only the features' covariance is shrunk.

    Returns
    -------
    (R,) at most 1: the mean over the D dimensions of :math:`R^2 = 1 - \|y_d - X w_d\|^2 /
    \|y_d\|^2`, with :math:`w = (C_{xx} + \text{shrinkage})^{-1} C_{xy}`; NaN where the
    covariance cannot be factored. A latent that does not vary in the batch counts 0.

    Notes
    -----
    Invariant to invertible linear maps of the features, up to shrinkage, and to the scale of
    each latent, not to mixtures of them: unlike CCA every dimension as it stands weighs the
    same (Hoerl & Kennard 1970).
    """
    features, latents = _centred(features), _centred(latents)
    within, cross = _covariance(features, features), _covariance(features, latents)
    chol, fails = torch.linalg.cholesky_ex(_shrunk(within, shrinkage))
    half = torch.linalg.solve_triangular(chol, cross, upper=False)
    weights = torch.linalg.solve_triangular(chol.transpose(1, 2), half, upper=True)
    # Of y'y - |y - Xw|^2, so that the batch is read once.
    explained = (weights * (2 * cross - within @ weights)).sum(dim=1)
    variance = latents.square().mean(dim=1).clamp(min=LEAST_VARIANCE)
    r2: Tensor = (explained / variance).mean(dim=-1)
    return r2.masked_fill(fails != 0, math.nan)


def procrustes_cosine(features: Tensor, latents: Tensor) -> Tensor:
    r"""Return the cosine whose arc is the angular Procrustes distance of a batch.

    Parameters
    ----------
    features, latents
        (R, B, M), (R, B, D).

    Returns
    -------
    (R,) in 0..1: :math:`\|X^\top Y\|_* / (\|X\| \|Y\|)`, centred (Williams et al. 2021).

    Notes
    -----
    Invariant to rotation, shift and overall scale of either side, not to stretching. The
    nuclear norm's gradient is its polar factor :math:`U V^\top`, taken as such: that of a
    decomposition blows up where singular values coincide or vanish. Directions of singular
    value 0 have no part in it, which is the least subgradient there. The second derivative is
    not that of the function.
    """
    features, latents = _centred(features), _centred(latents)
    cross = _covariance(features, latents)
    norms = (_variance(features) * _variance(latents)).sqrt()
    with torch.no_grad():
        # LAPACK raises for all networks where one is not finite; that one is NaN below.
        finite = torch.isfinite(cross).all(dim=2).all(dim=1)[:, None, None]
        left, values, right = torch.linalg.svd(torch.where(finite, cross, 0), full_matrices=False)
        small = values[:, :1] * torch.finfo(values.dtype).eps * max(cross.shape[1:])
        polar = (left * (values > small)[:, None, :].to(left)) @ right
    cosine: Tensor = (polar * cross).sum(dim=(1, 2)) / norms
    return cosine


def linear_cka(features: Tensor, latents: Tensor) -> Tensor:
    r"""Return the linear centred kernel alignment of a batch.

    Parameters
    ----------
    features, latents
        (R, B, M), (R, B, D).

    Returns
    -------
    (R,) in 0..1: :math:`\|X^\top Y\|^2 / (\|X^\top X\| \|Y^\top Y\|)`, Frobenius norms,
    centred (Kornblith et al. 2019).

    Notes
    -----
    Invariant to rotation, shift and overall scale of either side, not to stretching. Dimensions
    of large variance dominate it: it can be near 1 though the small ones are lost.
    """
    features, latents = _centred(features), _centred(latents)
    cross = _covariance(features, latents).square().sum(dim=(1, 2))
    squares = [
        _covariance(side, side).square().sum(dim=(1, 2)).clamp(min=LEAST_VARIANCE**2)
        for side in (features, latents)
    ]
    return cross / (squares[0].sqrt() * squares[1].sqrt())


def rsa_correlation(features: Tensor, latents: Tensor) -> Tensor:
    """Return the representational similarity of a batch: how alike its samples' distances are.

    Parameters
    ----------
    features, latents
        (R, B, M), (R, B, D).

    Returns
    -------
    (R,) in -1..1: Pearson's correlation, over pairs of samples, of squared Euclidean distances
    between features and between latents (Kriegeskorte et al. 2008).

    Notes
    -----
    Of at most `MOST_RSA_SAMPLES` = 256 samples, evenly spaced over the batch: 32,640 pairs. All
    pairs of a usual batch would be a thousand times as many, and samples 10 ms apart tell
    almost the same. Invariant to rotation, shift and overall scale of either side, not to
    stretching.
    """
    num_samples = features.shape[1]
    num = min(num_samples, MOST_RSA_SAMPLES)
    chosen = torch.arange(num, device=features.device) * num_samples // num
    pairs = torch.triu_indices(num, num, offset=1, device=features.device)
    sides = []
    for side in (features, latents):
        side = _centred(side[:, chosen])
        inner = side @ side.transpose(1, 2)
        squares = inner.diagonal(dim1=1, dim2=2)
        distances = squares[:, :, None] + squares[:, None, :] - 2 * inner
        sides.append(_centred(distances[:, pairs[0], pairs[1]]))
    norms = [side.square().mean(dim=1).clamp(min=LEAST_VARIANCE**2).sqrt() for side in sides]
    return (sides[0] * sides[1]).mean(dim=1) / (norms[0] * norms[1])


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=1, keepdim=True)


def _covariance(left: Tensor, right: Tensor) -> Tensor:
    return left.transpose(1, 2) @ right / left.shape[1]


def _variance(centred: Tensor) -> Tensor:
    return centred.square().mean(dim=1).sum(dim=-1).clamp(min=LEAST_VARIANCE)


def _level(covariance: Tensor) -> Tensor:
    level: Tensor = covariance.diagonal(dim1=1, dim2=2).mean(dim=-1)
    return level


def _shrunk(covariance: Tensor, shrinkage: Tensor) -> Tensor:
    share = shrinkage[:, None, None].to(covariance)
    rest = (1 - shrinkage)[:, None, None].to(covariance)
    level = _level(covariance)[:, None, None]
    ridge = (share * level).clamp(min=LEAST_VARIANCE) * torch.eye(covariance.shape[-1]).to(
        covariance
    )
    return rest * covariance + ridge
