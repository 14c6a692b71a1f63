"""The Pareto front of trials that pass the gate, and its knee."""

# Shape legend: n trials, k objectives, smaller is better.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.study.file.objectives import DIRECTIONS, objective_values
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.statistics import t_interval
from rheobase.study.records.result import TrialRecord

Floats = npt.NDArray[np.float64]


def pareto_front(
    spec: StudySpec, records: Mapping[str, TrialRecord], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return the front as plain JSON values; None for a search of one objective.

    Parameters
    ----------
    spec
        The study.
    records
        Its trials by id.
    rows
        Rows of the ranking's search, in its order.

    Returns
    -------
    ``objectives``: the direction of each; ``trials``: those through the gate that no other of
    them dominates, in the order of the ranking, each with mean and 95 % Student t interval of
    every objective and its ``bulge`` (`bulges`); ``knee``: the id of one of them, or None where
    there is none.
    """
    names = spec.search.objectives
    if len(names) < 2:
        return None
    through = [records[row["trial_id"]] for row in rows if row["tier"] == "passed"]
    found, points = [], []
    for record in through:
        assert record.result is not None
        values = objective_values(record.request, record.result, names)
        sessions = [one.session for one in record.result.replicates]
        points.append(
            [fmean(values[n]) * (-1 if DIRECTIONS[n] == "maximize" else 1) for n in names]
        )
        found.append({"trial_id": record.request.trial_id, "number": record.request.number})
        for name in names:
            interval = t_interval(values[name], sessions)
            found[-1][name] = {
                "mean": fmean(values[name]),
                "ci95": None if interval is None else list(interval),
            }
    cost = np.array(points).reshape(-1, len(names))
    kept = np.flatnonzero(non_dominated(cost)).tolist()
    bulge = bulges(cost[kept])
    front = [found[index] | {"bulge": one} for index, one in zip(kept, bulge, strict=True)]
    # Of trials level with each other the first.
    most = front[bulge.index(max(bulge))] if front else None
    return {
        "objectives": {name: DIRECTIONS[name] for name in names},
        "trials": front,
        "knee": most["trial_id"] if most else None,
    }


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
