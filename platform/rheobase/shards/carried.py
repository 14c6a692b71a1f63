"""What students of a session are to carry: latents of a teacher, or a time series of its own."""

# Shape legend: T bins of a session in the order of its timeline, D dimensions.

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError, did_you_mean
from rheobase.shards.covariates import TRUE, covariates_of
from rheobase.shards.latents import Latents
from rheobase.shards.shard import GAP, TRAIN, Shard
from rheobase.shards.targets import SERIES, Target
from rheobase.shards.timeline import timeline_of

TRUTH = "true"
"""The name under which a target has all true latents of a simulation."""


def carried_of(
    shard: Shard, latents: Latents, target: Target
) -> tuple[npt.NDArray[np.float32], int | None]:
    """Return what students of a session are to carry.

    Parameters
    ----------
    shard
        The session.
    latents
        Those of its teacher.
    target
        ``student.target``.

    Returns
    -------
    (T, D), and how many of D count, the first; None: all of them. A time series has mean 0 and
    variance 1 on train, each of its columns by itself.

    Raises
    ------
    ArtifactError
        As `Latents.of_target`.
    DataError
        The session has no such time series, or not all of it.
    """
    if not target.startswith(SERIES):
        return np.asarray(latents.of_target(target)[shard.session_id]), latents.dims
    return target_series(shard, target), None


def target_series(shard: Shard, target: Target) -> npt.NDArray[np.float32]:
    """Return the time series (T, D) that a target names, standardised on train.

    Parameters
    ----------
    shard
        The session.
    target
        ``series:`` and its name; `TRUTH` names all true latents of a simulation.

    Raises
    ------
    DataError
        The session has no such time series, it is not known in every bin of train, validation
        and test, or it does not vary on train.
    """
    name = target.removeprefix(SERIES)
    columns = re.compile(rf"{TRUE}.*" if name == TRUTH else rf"{re.escape(name)}(_\d+)?")
    known = covariates_of(shard)
    found = [values for key, values in known.items() if columns.fullmatch(key)]
    where = f"{shard.session_id}: student.target = '{target}'"
    if not found:
        there = dict.fromkeys(TRUTH if key.startswith(TRUE) else key for key in known)
        raise DataError(
            f"{where} must name a time series of the session, which has "
            f"{', '.join(there) or 'none'}.{did_you_mean(name, there)}"
        )
    values = np.stack(found, axis=1).astype(np.float64)
    line = timeline_of(shard)
    used = line.split != GAP
    if num_lost := int((~np.isfinite(values[used])).any(axis=1).sum()):
        raise DataError(
            f"{where} must be known in every bin of train, validation and test, but is not in "
            f"{num_lost} of {int(used.sum())}; fill its gaps, or leave their time out of the "
            "recording"
        )
    inside = values[line.split == TRAIN]
    spread = inside.std(axis=0)
    if not (spread > 0).all():
        raise DataError(f"{where} must vary on train, but does not; choose another")
    return np.asarray((values - inside.mean(axis=0)) / spread, np.float32)
