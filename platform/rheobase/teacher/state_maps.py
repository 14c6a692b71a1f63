"""Linear maps of each brain state, turned so that what both states share lies alike in both."""

# Shape legend: T bins, N units, M features, D latent dimensions, C states.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rheobase.shards.shard import TRAIN, Shard
from rheobase.shards.timeline import timeline_of
from rheobase.shards.windows import window_starts
from rheobase.teacher.encoder import ReadIn
from rheobase.teacher.features import filtered_counts, future_counts, horizon_bins
from rheobase.teacher.replay import replayed_bins
from rheobase.teacher.settings import TeacherSettings

Floats = npt.NDArray[np.float64]
REPLAYED = 0.3
"""Correlation over replayed frames from which a pair of directions is taken to be shared."""
KEPT = 0.8
"""Cosine of a unit's loadings on those in the two states, from which its code is taken as kept."""
LEAST_KEPT = 0.25
"""Share of such units from which they tie what the replay does not: in a code drawn anew some
loadings point alike by chance."""
ALL_KEPT = 0.65
"""Share of such units from which one map serves both states."""
FAINT = 0.3
"""Size of what one state puts into a latent that is the other's own: none would be a latent that
does not vary, and a readout fitted where it hardly varies goes astray where it does."""
SPARE = 2
"""Directions of each state, as a multiple of the latents: the least foretold are fillers."""
CHUNK_BINS = 32_768


@dataclass(frozen=True, eq=False)
class StateCode:
    """What a state's own map makes of its train bins.

    Attributes
    ----------
    bins
        (T,) train bins of the state, those with a future of their own.
    latents
        (T, D) of them.
    loadings
        (N, D) covariance of each unit's standardised counts to come with the latents.
    foretells
        (D,) correlation of each latent with the future.
    """

    bins: npt.NDArray[np.int64]
    latents: Floats
    loadings: Floats
    foretells: Floats


@dataclass(frozen=True, eq=False)
class Alignment:
    """How a state's latents lie to those of a reference state.

    Attributes
    ----------
    turn, own
        (K, D): the state's K directions times `turn`, and the reference's times `own`, are
        latents that mean the same as far as anything ties them. The last is foretold least, and
        carries which state it is.
    correlation
        (K,) of matched directions over replayed frames, falling.
    num_tied
        How many of the D the replay or units that keep their code tie; the last is not counted.
    kept_share
        Share of the units that load on the shared directions as in the reference.
    """

    turn: Floats
    own: Floats
    correlation: Floats
    num_tied: int
    kept_share: float


def state_code(
    shard: Shard, settings: TeacherSettings, state: str, weights: Floats, foretells: Floats
) -> StateCode:
    """Return what a map (F * N, D) of filtered counts makes of a state's train bins."""
    line = timeline_of(shard)
    longest = horizon_bins(settings.horizons_ms, shard.bin_ms)[-1]
    used = np.zeros(len(line), bool)
    used[window_starts(line, TRAIN, longest + 1)] = True
    used &= line.state == state
    latents, products, squares, sums = [], 0.0, 0.0, 0.0
    for begin in range(0, len(line), CHUNK_BINS):
        end = min(begin + CHUNK_BINS, len(line))
        here = np.flatnonzero(used[begin:end])
        if not len(here):
            continue
        made = filtered_counts(shard, settings.filters_ms, begin, end)[here] @ weights
        counts = future_counts(shard, settings.horizons_ms, begin, end)[here, 0].astype(np.float64)
        latents.append(made)
        products = products + counts.T @ made
        squares, sums = squares + (counts**2).sum(axis=0), sums + counts.sum(axis=0)
    code = np.concatenate(latents)
    num = len(code)
    scale = np.sqrt(np.maximum(squares / num - (sums / num) ** 2, 0))
    covariance = products / num - np.outer(sums / num, code.mean(axis=0))
    loadings = covariance / np.where(scale > 0, scale, 1.0)[:, None]
    return StateCode(np.flatnonzero(used), code, loadings, foretells)


def alignment(
    shard: Shard, reference: tuple[str, StateCode], other: tuple[str, StateCode], dims: int
) -> Alignment:
    r"""Return how the directions of two states are brought together in `dims` latents.

    Notes
    -----
    Both sides are uncorrelated with variance 1, so that the singular vectors of their covariance
    over replayed frames are canonical directions: those of a correlation above `REPLAYED` are
    shared through the replay. What the stimulus does not drive is foretold by no replay. There the
    units tie the states that keep their code, which is seen in the shared directions: the rest is
    turned so that their loadings lie alike (orthogonal Procrustes). Where too few keep their code,
    nothing ties the rest, and taking it for one would be a guess: what either state foretells
    best gets a latent of its own, in which the other state has a direction that foretells least,
    of `FAINT` size.

    References
    ----------
    Hotelling (1936), Biometrika 28, 321. Schönemann (1966), Psychometrika 31, 1.
    """
    line = timeline_of(shard)
    (name, one), (beside, two) = reference, other
    usable = np.zeros(len(line), bool)
    usable[one.bins] = usable[two.bins] = True
    rows, rows_beside = replayed_bins(shard, line, name, beside, usable)
    x = one.latents[np.searchsorted(one.bins, rows)]
    y = two.latents[np.searchsorted(two.bins, rows_beside)]
    covariance = (x - x.mean(axis=0)).T @ (y - y.mean(axis=0)) / max(len(x), 1)
    u, correlation, vt = np.linalg.svd(covariance)
    num = min(int((correlation > REPLAYED).sum()), dims - 1)
    shared, shared_beside = u[:, :num], vt[:num].T
    kept = _kept(one.loadings @ shared, two.loadings @ shared_beside)
    # Of the rest, what is foretold best first.
    rest, rest_beside = _by_foretelling(u[:, num:], one), _by_foretelling(vt[num:].T, two)
    room = dims - 1 - num
    if kept.mean() >= LEAST_KEPT:
        tied, tied_beside = _tied(one.loadings[kept] @ rest, two.loadings[kept] @ rest_beside)
        more = (rest @ tied)[:, :room], (rest_beside @ tied_beside)[:, :room]
        last = (rest @ tied)[:, -1:], (rest_beside @ tied_beside)[:, -1:]
        num_tied = dims - 1
    else:
        more = _kept_apart((one, rest), (two, rest_beside), room)
        last = rest[:, -1:], rest_beside[:, -1:]
        num_tied = num
    return Alignment(
        own=np.hstack([shared, more[0], last[0]]),
        turn=np.hstack([shared_beside, more[1], last[1]]),
        correlation=correlation,
        num_tied=num_tied,
        kept_share=float(kept.mean()),
    )


def _by_foretelling(directions: Floats, code: StateCode) -> Floats:
    """Return an orthonormal basis of some directions (K, Q), that foretells best first."""
    foretold = (directions.T * code.foretells**2) @ directions
    return np.asarray(directions @ np.linalg.eigh(foretold)[1][:, ::-1])


def _tied(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Return the turns (Q, Q) of two sides under which loadings (N, Q) lie most alike."""
    u, _, vt = np.linalg.svd(one.T @ other)
    return u, vt.T


def _kept_apart(
    one: tuple[StateCode, Floats], other: tuple[StateCode, Floats], room: int
) -> tuple[Floats, Floats]:
    """Return `room` directions (K, room) of either side, in each of which one side is faint."""
    strength = [np.einsum("kq,k->q", rest**2, code.foretells**2) for code, rest in (one, other)]
    order = np.argsort(-np.concatenate(strength), kind="stable")[:room]
    width = one[1].shape[1]
    sides: tuple[list[Floats], list[Floats]] = ([], [])
    # The faint side takes from its end, before the last, which carries the state.
    next_faint = [width - 2, width - 2]
    for index in order.tolist():
        strong, faint = divmod(index, width)[0], 1 - divmod(index, width)[0]
        sides[strong].append((one, other)[strong][1][:, index % width])
        sides[faint].append(FAINT * (one, other)[faint][1][:, next_faint[faint]])
        next_faint[faint] -= 1
    empty = np.zeros((len(one[1]), 0))
    return (
        np.stack(sides[0], axis=1) if room else empty,
        np.stack(sides[1], axis=1) if room else empty,
    )


def _kept(one: Floats, other: Floats) -> npt.NDArray[np.bool_]:
    """Return the units (N,) whose loadings on the shared directions point alike."""
    if one.shape[1] < 2:  # of one direction a sign is all there is
        return np.zeros(len(one), bool)
    norm = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) > KEPT * np.where(norm > 0, norm, np.inf))


def said(alignments: Mapping[str, Alignment], states: Sequence[str]) -> dict[str, Any]:
    """Return what a report says of a session's alignment, as plain JSON values."""
    return {
        "reference": states[0],
        "states": [
            {
                "state": state,
                "replay_correlation": [float(value) for value in one.correlation],
                "shared_by_replay": int((one.correlation > REPLAYED).sum()),
                "tied": one.num_tied,
                "units_that_keep_their_code": one.kept_share,
            }
            for state, one in alignments.items()
        ],
    }


def as_map(weight: torch.Tensor, layer: ReadIn) -> Floats:
    """Return the map (F * N, K) of inputs that weights (K, M) on a read-in's components are."""
    components = layer.components.to(weight.dtype)
    return np.asarray(((weight @ components) / layer.scale).detach().double().numpy().T)
