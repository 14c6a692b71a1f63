"""What one session's codes hold across brain states: readouts and the geometry of conditions."""

# Shape legend: T bins, M features, K true latents, C conditions.

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.measures.probes import ridge_r2
from rheobase.measures.state_geometry import condition_means, geometry
from rheobase.measures.tasks import Codes, Row, note_once
from rheobase.measures.transfer import pairs_of_states
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import Timeline
from rheobase.teacher.baselines import TRUE
from rheobase.teacher.features import filtered_counts

Bools = npt.NDArray[np.bool_]
CEILING = "ceiling"
CEILING_MS = (20.0, 40.0, 80.0, 160.0, 320.0)
"""Filters of all units from which a ridge that is told the truth reads it out."""
SHARED = 0.5
"""States share a true latent of whose variance their names explain less than this."""
SHARED_MEAN = "mean of shared"


def with_ceiling(shard: Shard, codes: Codes) -> Codes:
    """Return each code (T, M) but the truth, and last what a readout of it may see at most."""
    given = {code: x for code, x in codes.items() if code != TRUE}
    return {**given, CEILING: filtered_counts(shard, CEILING_MS)}


def shared_by_states(true: npt.NDArray[np.floating], line: Timeline) -> Bools:
    """Return which true latents (T, K) all states share, (K,)."""
    left = sum(
        ((true[line.state == state] - true[line.state == state].mean(axis=0)) ** 2).sum(axis=0)
        for state in np.unique(line.state)
    )
    return np.asarray(left / ((true - true.mean(axis=0)) ** 2).sum(axis=0) > 1 - SHARED)


def cross_state(
    names: Sequence[str], true: npt.NDArray[np.floating], codes: Codes, line: Timeline
) -> Iterator[Row]:
    """Yield the held-out R² of each true latent by fitted and tested state, of every code.

    One readout a latent is fitted on the train bins of one state, and tested on the held-out bins
    of that state and of the other. Last comes the mean over the latents that the states share.
    Nothing of a recording of one state.
    """
    true = true.astype(np.float64)
    shared = shared_by_states(true, line)
    try:
        pairs = pairs_of_states(line)
    except DataError:  # `transfer` says so
        return
    for pair in pairs:
        r2 = {
            code: ridge_r2(x, true, line, train=pair.train, test=pair.test)
            for code, x in codes.items()
        }
        where = {"fitted": pair.fitted, "tested": pair.tested}
        for index, name in enumerate(names):
            yield {"latent": name, **where, **{c: float(v[index]) for c, v in r2.items()}}
        if shared.any():
            means = {code: float(values[shared].mean()) for code, values in r2.items()}
            yield {"latent": SHARED_MEAN, **where, **means}


def state_geometry(shard: Shard, codes: Codes, line: Timeline, notes: list[str]) -> Iterator[Row]:
    """Yield how the means over images and times since onset lie in one state and in another.

    Rows ``angle_deg`` and ``cosine`` (`measures.state_geometry.geometry`) compare the states, and
    beside it two halves of the presentations of each. Features have variance 1 on train.
    """
    names = [str(state) for state in np.unique(line.state[line.train])]
    seen = (line.presentation >= 0) & (line.train | line.scored)
    if len(names) < 2 or not seen.any():
        return
    if not (seen & (shard.image != "")[line.presentation]).any():
        return
    _, image = np.unique(shard.image, return_inverse=True)
    length = int(line.phase.max()) + 1
    condition = np.where(seen, image[line.presentation] * length + line.phase, -1)
    condition[seen & shard.omitted[line.presentation]] = -1
    num = (int(image.max()) + 1) * length
    even = line.presentation % 2 == 0
    sides: list[tuple[str, Bools, Bools]] = []
    for number, one in enumerate(names):
        here = line.state == one
        sides.append((f"{one}: two halves", here & even, here & ~even))
        for other in names[number + 1 :]:
            sides.append((f"{one} with {other}", here, line.state == other))
    for compared, first, second in sides:
        angle: Row = {"compared": compared, "measure": "angle_deg"}
        cosine: Row = {"compared": compared, "measure": "cosine"}
        for code, x in codes.items():
            angle[code] = cosine[code] = None
            scale = x[line.train].std(axis=0)
            scaled = x / np.where(scale > 0, scale, 1)
            means = [condition_means(scaled, condition, one, num) for one in (first, second)]
            both = ~np.isnan(means[0][:, 0]) & ~np.isnan(means[1][:, 0])
            try:
                found = geometry(means[0][both], means[1][both])
            except DataError as error:
                note_once(notes, f"state_geometry: {error}")
                continue
            angle[code], cosine[code] = found.angle_deg, found.cosine
        yield angle
        yield cosine
