"""What a recording knows beside spikes, bin by bin: behaviour, and true latents of simulations."""

# Shape legend: T bins, C covariates, L samples of a signal, K true latents.

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rheobase.sessions.records.session import Session
from rheobase.shards.shard import Shard

Floats = npt.NDArray[np.float64]
TRUE = "true:"
HOLD_S = 1.0
"""A signal without a sample for longer is lost, as the finding `signal-gap` says of running."""


def names_of(session: Session) -> tuple[str, ...]:
    """Return the names of a session's covariates (C,)."""
    true = session.true_latents
    return (*sorted(session.signals), *(() if true is None else (TRUE + n for n in true.names)))


def covariates_at(session: Session, edges_s: Floats) -> npt.NDArray[np.float32]:
    """Return the covariates of bins with these edges (T + 1,), in the order of `names_of`, (C, T).

    Each is the mean of its samples in the bin. A bin without a sample holds the latest one, of
    `HOLD_S` ago at most; what is not known is NaN. Of events it is how many the bin holds, in a
    second.
    """
    rows = []
    for name in sorted(session.signals):
        signal = session.signals[name]
        binned = _rate if signal.is_events else _binned
        rows.append(binned(signal.time_s, signal.value[None], edges_s))
    if session.true_latents is not None:
        rows.append(_binned(session.true_latents.time_s, session.true_latents.value.T, edges_s))
    return np.concatenate([np.zeros((0, len(edges_s) - 1)), *rows]).astype(np.float32)


def _binned(time_s: Floats, value: npt.NDArray[np.floating], edges_s: Floats) -> Floats:
    """Return the means (C, T) of samples (C, L) in bins, the latest where a bin has none."""
    order = np.argsort(time_s, kind="stable")
    time_s, value = time_s[order], value[:, order]
    num_bins = len(edges_s) - 1
    if not len(time_s):
        return np.full((len(value), num_bins), np.nan)
    # A sample taken as a bin opens must not fall into the one before by rounding.
    edges_s = edges_s - 1e-6 * (edges_s[-1] - edges_s[0]) / num_bins
    at = np.searchsorted(edges_s, time_s, side="right") - 1
    inside = (at >= 0) & (at < num_bins)
    num = np.bincount(at[inside], minlength=num_bins)
    latest = np.searchsorted(time_s, edges_s[1:], side="left") - 1
    stale = (latest < 0) | (edges_s[1:] - time_s[latest] > HOLD_S)
    binned = np.empty((len(value), num_bins))
    for row, samples in zip(binned, value, strict=True):
        sums = np.bincount(at[inside], samples[inside], minlength=num_bins)
        held = np.where(stale, np.nan, samples[latest])
        row[:] = np.where(num > 0, sums / np.maximum(num, 1), held)
    return binned


def _rate(time_s: Floats, value: npt.NDArray[np.floating], edges_s: Floats) -> Floats:
    """Return how many events there are in a second in bins, (1, T)."""
    num, _ = np.histogram(time_s, edges_s)
    rate: Floats = num[None] * len(num) / (edges_s[-1] - edges_s[0])
    return rate


def covariates_of(shard: Shard) -> Mapping[str, npt.NDArray[np.float32]]:
    """Return each covariate of a shard's bins (T,), in the order of its timeline."""
    if not shard.covariate_names:
        return {}
    pieces = [piece for segment in shard.segments for piece in segment.covariates]
    return dict(zip(shard.covariate_names, np.concatenate(pieces, axis=1), strict=True))


def true_latents_of(shard: Shard) -> tuple[tuple[str, ...], npt.NDArray[np.float32]] | None:
    """Return names (K,) and values (T, K) of a simulation's latents; None of a real recording."""
    known = {n.removeprefix(TRUE): v for n, v in covariates_of(shard).items() if n.startswith(TRUE)}
    return (tuple(known), np.stack(list(known.values()), axis=1)) if known else None
