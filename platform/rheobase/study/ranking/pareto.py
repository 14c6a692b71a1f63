"""The Pareto front of trials that pass the gate, and its knee."""

# Shape legend: n points, k objectives, smaller is better.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

from rheobase.study.file.objectives import DIRECTIONS, STATE_MEASURES, objective_values
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.intervals import Runs, estimate_mean
from rheobase.study.ranking.measured import measured_runs
from rheobase.study.ranking.ranking import FrontTrial, MeanInterval, ParetoFront, RankedTrial
from rheobase.study.records.result import TrialRecord

Floats = npt.NDArray[np.float64]
WITH_BLOCKS = ("cca_heldout", "state_cost", *STATE_MEASURES)


def pareto_front(
    spec: StudySpec, records: Mapping[str, TrialRecord], rows: Sequence[RankedTrial]
) -> ParetoFront | None:
    """Return the front; None for a search of one objective.

    Parameters
    ----------
    spec
        The study.
    records
        Its trials by id.
    rows
        Rows of the ranking's search, in its order.
    """
    names = spec.search.objectives
    if len(names) < 2:
        return None
    through = [records[row.trial_id] for row in rows if row.tier == "passed"]
    sought: list[dict[str, MeanInterval]] = []
    points = []
    for record in through:
        assert record.result is not None
        values = objective_values(record.request, record.result, names)
        found = record.result.replicates
        sessions = [one.session for one in found]
        runs = {name: Runs(values[name], sessions) for name in names}
        for name in names:
            if name in WITH_BLOCKS:
                runs[name] = measured_runs(found, name)
        points.append(
            [fmean(values[n]) * (-1 if DIRECTIONS[n] == "maximize" else 1) for n in names]
        )
        sought.append(
            {
                name: MeanInterval(mean=fmean(values[name]), ci95=estimate_mean(runs[name]).ci95)
                for name in names
            }
        )
    cost = np.array(points).reshape(-1, len(names))
    kept = np.flatnonzero(non_dominated(cost)).tolist()
    front = [
        FrontTrial(
            trial_id=through[index].request.trial_id,
            number=through[index].request.number,
            bulge=bulge,
            **sought[index],
        )
        for index, bulge in zip(kept, bulges(cost[kept]), strict=True)
    ]
    # Of trials level with each other the first.
    knee = max(front, key=lambda trial: trial.bulge, default=None)
    return ParetoFront(
        objectives={name: DIRECTIONS[name] for name in names},
        trials=tuple(front),
        knee=knee.trial_id if knee else None,
    )


def non_dominated(cost: Floats) -> npt.NDArray[np.bool_]:
    """Return which of the points (n, k) no other is at least as good as, and better once.

    Examples
    --------
    >>> non_dominated(np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 2.0]])).tolist()
    [True, True, False]
    """
    no_worse = (cost[:, None] <= cost[None]).all(axis=2)
    better = (cost[:, None] < cost[None]).any(axis=2)
    return np.asarray(~(no_worse & better).any(axis=0))


def bulges(cost: Floats) -> list[float]:
    """Return how far each point of a front (n, k) bulges towards the ideal; the most is the knee.

    Notes
    -----
    Every objective is scaled to 0 at the front's best value and 1 at its worst; one that does
    not vary is left out. The bulge is ``1 - sum(x)``: the signed distance, times sqrt(k), from the
    plane ``sum(x) = 1``, which with two objectives is the chord between the front's ends. After
    Das 1999, *On characterizing the "knee" of the Pareto curve based on Normal-Boundary
    Intersection*.

    Examples
    --------
    >>> bulges(np.array([[0.0, 1.0], [0.1, 0.2], [1.0, 0.0]]))
    [0.0, 0.7, 0.0]
    """
    if not len(cost):
        return []
    low, width = cost.min(axis=0), np.ptp(cost, axis=0)
    varies = width > 0
    scaled = (cost[:, varies] - low[varies]) / width[varies]
    # Rounded, so that points level but for the last bit are level.
    return [float(one) for one in np.round(1 - scaled.sum(axis=1), 12)]
