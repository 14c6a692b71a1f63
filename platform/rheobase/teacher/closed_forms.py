"""Teachers in closed form: linear maps of a session's filtered past that need no training."""

# Shape legend: T bins, N units, F filters, D latent dimensions, H horizons, M features.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from rheobase.core.errors import DataError
from rheobase.measures.signs import column_signs, rounded
from rheobase.shards.shard import TRAIN, Shard
from rheobase.shards.timeline import timeline_of
from rheobase.shards.windows import window_starts
from rheobase.teacher.axes import factor_axes, principal_axes
from rheobase.teacher.encoder import ReadIn, Teacher
from rheobase.teacher.features import SMOOTH_MS, filtered_counts, future_counts, horizon_bins
from rheobase.teacher.moments import RunningMoments
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.sizes import STRETCH_BINS
from rheobase.teacher.source import train_moments
from rheobase.teacher.start import start_teacher
from rheobase.teacher.state_maps import (
    ALL_KEPT,
    SPARE,
    alignment,
    as_map,
    said,
    state_code,
)

Floats = npt.NDArray[np.float64]
SHRINKAGES = (0.03, 0.1, 0.3)
"""Ridges, as shares of a standardised input's variance, of which the best held out is taken."""
CARRIED = 3.0
"""How far, in standard deviations, the inferred state moves the latent that is foretold least: the
state's name is then in the latents, and a readout of the others is not led astray by it."""
CHUNK_BINS = 8192
AXES: Mapping[str, Callable[[Floats, int], Floats]] = {
    "pca": principal_axes,
    "factor_analysis": factor_axes,
}
LEAST = 1e-9
"""Variance of a component below which it is none."""


@dataclass(frozen=True, eq=False)
class PastAndFutureMoments:
    """Covariances of the read-ins' components on train bins.

    Attributes
    ----------
    past, future
        (M, M) of either side's components.
    cross
        (M, M) of the past's with the future's.
    penalty_past, penalty_future
        (M,) what a ridge of 1 on standardised inputs adds to either diagonal.
    """

    past: Floats
    future: Floats
    cross: Floats
    penalty_past: Floats
    penalty_future: Floats


def settings_of(settings: TeacherSettings) -> TeacherSettings:
    """Return the settings that a closed form goes by.

    Principal components and factors are those of counts through one filter of `SMOOTH_MS`: two
    filters of a unit share its noise, which factor analysis would take for a factor.

    Raises
    ------
    DataError
        The encoder is not linear.
    """
    if settings.encoder != "linear":
        raise DataError(
            f"teacher.encoder must be linear with teacher.kind = '{settings.kind}', which is a "
            f"linear map, but got {settings.encoder}; leave one of them out"
        )
    if settings.views == "replay" and settings.kind in AXES:
        raise DataError(
            "teacher.views = 'replay' goes with teacher.kind = 'cva' or 'reduced_rank', but got "
            f"{settings.kind}; name one of them"
        )
    if settings.kind in AXES:
        return settings.model_copy(update={"filters_ms": (SMOOTH_MS,)})
    return settings


def closed_form_teacher(shards: Sequence[Shard], settings: TeacherSettings) -> Teacher:
    """Return the teacher of a closed form, each session's map fitted on its own train bins.

    Parameters
    ----------
    shards
        Binned sessions.
    settings
        The [teacher] table, its `kind` a closed form: ``cva``, canonical variates of the past
        with the future; ``reduced_rank``, what of the past predicts most of the future's
        variance; ``pca``; or ``factor_analysis``.

    Returns
    -------
    Its latents, of whatever form, are turned into the canonical directions of the past's part
    with the future, the most predictive first, of variance 1 on train. So the first of one
    session is matched with the first of another, which is all that sessions share.

    Raises
    ------
    DataError
        The encoder is not linear, or the sessions do not go together.

    References
    ----------
    Larimore (1990), CDC, 596 (canonical variate analysis, state-space order). Izenman (1975),
    J. Multivariate Analysis 5, 248 (reduced-rank regression).
    """
    settings = settings_of(settings)
    teacher = start_teacher(sorted(shards, key=lambda shard: shard.session_id), settings)
    fit_closed_form_(teacher, shards, settings)
    return teacher


def fit_closed_form_(
    teacher: Teacher, shards: Sequence[Shard], settings: TeacherSettings | None = None
) -> None:
    """Let a teacher that has made no step be a closed form, in place; CVA without `settings`.

    The trunk and the hidden layer of the predictor begin with nothing, so that a teacher that has
    them is the closed form to the last digit until training changes it.
    """
    settings = settings or teacher.settings.model_copy(update={"kind": "cva"})
    predictors = []
    for shard in shards:
        if settings.kind in AXES:
            _read_axes_(teacher, shard)
        if settings.views == "replay":
            predictors.append(_install_states_(teacher, shard, settings))
            continue
        folds = moments_by_fold(teacher, shard)
        past, future = _canonical(_maps(settings, folds), folds)
        predictors.append(_install_(teacher, shard.session_id, "", past, future, pooled(folds)))
    layer = teacher.predictor.linear
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.mean(predictors, axis=0)))
        layer.bias.zero_()


def moments_by_fold(
    teacher: Teacher, shard: Shard, state: str | None = None
) -> list[PastAndFutureMoments]:
    """Return the moments of the even and of the odd train groups of a session, or of a state."""
    settings, line = teacher.settings, timeline_of(shard)
    longest = horizon_bins(settings.horizons_ms, shard.bin_ms)[-1]
    used = np.zeros(len(line), bool)
    used[window_starts(line, TRAIN, longest + 1)] = True
    if state is not None:
        used &= line.state == state
    fold = np.unique(line.group, return_inverse=True)[1] % 2
    own = teacher.states_of(shard.session_id)[0]
    past = teacher.reader(shard.session_id, own)
    ahead = teacher.future_layers(shard.session_id, own)
    width = len(past.components)
    sums = [RunningMoments(width + sum(len(one.components) for one in ahead)) for _ in range(2)]
    begins = np.unique(np.flatnonzero(used) // CHUNK_BINS) * CHUNK_BINS
    most = STRETCH_BINS // CHUNK_BINS
    if len(begins) > most:
        begins = begins[np.linspace(0, len(begins) - 1, most).round().astype(int)]
    for begin in begins.tolist():
        end = min(begin + CHUNK_BINS, len(line))
        here = np.flatnonzero(used[begin:end])
        filtered = filtered_counts(shard, settings.filters_ms, begin, end)[here]
        counts = future_counts(shard, settings.horizons_ms, begin, end)[here].astype(np.float32)
        both = np.concatenate(
            [
                on_components(past, filtered),
                *(on_components(one, counts[:, index]) for index, one in enumerate(ahead)),
            ],
            axis=1,
        )
        for number, moments in enumerate(sums):
            moments.add(both[fold[begin + here] == number])
    return [_moments(one, width) for one in sums if one.count > 1]


def on_components(layer: ReadIn, inputs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return inputs (T, F * N) on a read-in's components, (T, M)."""
    standard = (torch.from_numpy(inputs) - layer.mean) / layer.scale
    return np.asarray((standard @ layer.components.T).numpy().astype(np.float64))


def _moments(sums: RunningMoments, width: int) -> PastAndFutureMoments:
    covariance = sums.covariance
    variance = covariance.diagonal()
    # A component of variance v was divided by the root of v + 1.
    penalty = np.where(variance > LEAST, (1 - variance).clip(min=1e-3), 1.0)
    return PastAndFutureMoments(
        past=covariance[:width, :width],
        future=covariance[width:, width:],
        cross=covariance[:width, width:],
        penalty_past=penalty[:width],
        penalty_future=penalty[width:],
    )


def pooled(folds: Sequence[PastAndFutureMoments]) -> PastAndFutureMoments:
    """Return the mean of the folds' moments, which hold about as many bins each."""
    names = ("past", "future", "cross", "penalty_past", "penalty_future")
    return PastAndFutureMoments(
        *(np.mean([getattr(one, name) for one in folds], axis=0) for name in names)
    )


def _read_axes_(teacher: Teacher, shard: Shard) -> None:
    """Let a session's read-in have the axes of the settings' kind for its only components."""
    settings, reader = teacher.settings, teacher.reader(shard.session_id)
    past, _ = train_moments(shard, settings)
    scale = reader.scale.double().numpy()
    axes = AXES[settings.kind](past.covariance / np.outer(scale, scale), settings.num_dims)
    reader.components.zero_()
    reader.components[: settings.num_dims] = torch.from_numpy(rounded(axes.T))


def _maps(settings: TeacherSettings, folds: Sequence[PastAndFutureMoments]) -> Floats:
    """Return the map (M, D) from components of the past to latents, of the settings' kind."""
    dims = settings.num_dims
    if settings.kind in AXES:
        return np.eye(len(folds[0].past), dims)
    fitted = cva if settings.kind == "cva" else reduced_rank
    return fitted(pooled(folds), best_shrinkage(folds, dims), dims)


def cva(moments: PastAndFutureMoments, shrinkage: float, dims: int) -> Floats:
    """Return the map (M, D) to the canonical variates of the past with the future."""
    return _variates(moments, shrinkage, dims)[0]


def _variates(moments: PastAndFutureMoments, shrinkage: float, dims: int) -> tuple[Floats, Floats]:
    """Return the maps (M, D) to the canonical variates of the past and of the future."""
    left = inverse_root(moments.past, shrinkage * moments.penalty_past)
    right = inverse_root(moments.future, shrinkage * moments.penalty_future)
    u, _, v = np.linalg.svd(left @ moments.cross @ right, full_matrices=False)
    return np.asarray(left @ u[:, :dims]), np.asarray(right @ v[:dims].T)


def reduced_rank(moments: PastAndFutureMoments, shrinkage: float, dims: int) -> Floats:
    """Return the map (M, D) to what of the past predicts most of the future's variance."""
    ridged = moments.past + np.diag(shrinkage * moments.penalty_past)
    # To standardised counts, of which the components were scaled.
    cross = moments.cross / np.sqrt(moments.penalty_future)
    weights = np.linalg.solve(ridged, cross)
    _, vectors = np.linalg.eigh(weights.T @ moments.past @ weights)
    return np.asarray(weights @ vectors[:, ::-1][:, :dims])


def best_shrinkage(folds: Sequence[PastAndFutureMoments], dims: int) -> float:
    """Return the ridge whose canonical variates of one fold predict best in the other."""
    if len(folds) < 2:
        return SHRINKAGES[1]
    reached = []
    for shrinkage in SHRINKAGES:
        total = 0.0
        for fitted, scored in (folds, folds[::-1]):
            a, b = _variates(fitted, shrinkage, dims)
            shared = np.einsum("md,mk,kd->d", a, scored.cross, b)
            of_past = np.einsum("md,mk,kd->d", a, scored.past, a)
            of_future = np.einsum("md,mk,kd->d", b, scored.future, b)
            total += float((shared / np.sqrt(of_past * of_future)).clip(min=0).sum())
        reached.append(total)
    return SHRINKAGES[int(np.argmax(reached))]


def inverse_root(covariance: Floats, ridge: Floats) -> Floats:
    """Return the symmetric inverse root (M, M) of a covariance with a ridge (M,) added."""
    values, vectors = np.linalg.eigh(covariance + np.diag(ridge))
    return np.asarray((vectors / np.sqrt(values.clip(min=LEAST))) @ vectors.T)


def _canonical(maps: Floats, folds: Sequence[PastAndFutureMoments]) -> tuple[Floats, Floats]:
    """Return maps (M, D) of past and future to the canonical directions of some of the past.

    Both sides have variance 1 on train; the past's are uncorrelated.
    """
    whole, dims = pooled(folds), maps.shape[1]
    covariance = maps.T @ whole.past @ maps
    white = inverse_root(covariance, np.full(dims, LEAST * np.trace(covariance)))
    ridge = best_shrinkage(folds, dims) * whole.penalty_future
    right = inverse_root(whole.future, ridge)
    u, _, v = np.linalg.svd(white @ maps.T @ whole.cross @ right, full_matrices=False)
    past = maps @ white @ u
    signs = column_signs(past)
    future = right @ v.T
    scale = np.sqrt(np.einsum("md,mk,kd->d", future, whole.future, future)).clip(min=LEAST)
    return past * signs, future * signs / scale


def _install_(
    teacher: Teacher,
    session: str,
    state: str,
    past: Floats,
    future: Floats,
    whole: PastAndFutureMoments,
) -> Floats:
    """Set read-ins in place to maps (M, D); return a linear predictor's weights (H * D, D)."""
    past, future = rounded(past), rounded(future)
    _become_(teacher.reader(session, state), past)
    blocks: list[Floats] = []
    begin = 0
    for layer in teacher.future_layers(session, state):
        end = begin + len(layer.components)
        weights = future[begin:end]
        _become_(layer, weights)
        # Latents have variance 1 and are uncorrelated: a covariance is a weight.
        blocks.append(weights.T @ whole.cross[:, begin:end].T @ past)
        begin = end
    return np.concatenate(blocks)


def _install_states_(teacher: Teacher, shard: Shard, settings: TeacherSettings) -> Floats:
    """Set a session's read-ins of each state, aligned, and its gate; return a predictor's weights.

    Where nearly all units keep their code, one map, fitted on all bins, serves every state.
    """
    session = shard.session_id
    states = teacher.states_of(session)
    layer = teacher.reader(session, states[0])
    many = settings.model_copy(
        update={"latent_dim": min(SPARE * settings.num_dims, len(layer.components))}
    )
    folds = {state: moments_by_fold(teacher, shard, state) for state in states}
    maps = {state: _canonical(_maps(many, folds[state]), folds[state]) for state in states}
    codes = {}
    for state in states:
        past, future = maps[state]
        foretells = np.einsum("md,mk,kd->d", past, pooled(folds[state]).cross, future)
        weights = as_map(torch.from_numpy(past.T), layer)
        code = state_code(shard, settings, state, weights, foretells)
        codes[state] = replace(code, latents=code.latents - code.latents.mean(axis=0))
    reference = (states[0], codes[states[0]])
    found = {
        state: alignment(shard, reference, (state, codes[state]), settings.num_dims)
        for state in states[1:]
    }
    teacher.gate_of(session).fit_(shard, states)
    teacher.alignment[session] = said(found, states)
    if all(one.kept_share >= ALL_KEPT for one in found.values()):
        both = moments_by_fold(teacher, shard)
        past, future = _canonical(_maps(settings, both), both)
        made = [_install_(teacher, session, one, past, future, pooled(both)) for one in states]
        return made[0]
    shares, variances = [], []
    for number, state in enumerate(states):
        turn = found[state].turn if number else found[states[1]].own
        past, future = (side @ turn for side in maps[state])
        whole = pooled(folds[state])
        shares.append(_install_(teacher, session, state, past, future, whole))
        variances.append(np.einsum("md,mk,kd->d", past, whole.past, past))
        level = CARRIED * (1 - 2 * number / (len(states) - 1))
        _centre_(teacher, shard, state, level)
    return np.asarray(np.mean(shares, axis=0) / np.mean(variances, axis=0))


def _centre_(teacher: Teacher, shard: Shard, state: str, level: float) -> None:
    """Give a state's read-in a bias: latents of mean 0 there, but the last, which has a level."""
    layer = teacher.reader(shard.session_id, state)
    weights = as_map(layer.weight, layer)
    none = np.zeros(weights.shape[1])
    mean = state_code(shard, teacher.settings, state, weights, none).latents.mean(axis=0)
    # The layer takes off the session's mean; the state's is another.
    bias = layer.mean.double().numpy() @ weights - mean
    bias[-1] += level
    with torch.no_grad():
        layer.bias.copy_(torch.from_numpy(bias))


def _become_(layer: ReadIn, maps: Floats) -> None:
    """Let a read-in be a map (M, D) of its components."""
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(maps.T))
        layer.bias.zero_()
