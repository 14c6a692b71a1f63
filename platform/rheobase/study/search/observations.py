"""What a sampler is told of a trial that has ended: its settings, values and constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rheobase.measures.firing import total_violation
from rheobase.study.file.objectives import STATE_MEASURES, objective_values
from rheobase.study.file.spec import StudySpec, override_student
from rheobase.study.ranking.feasibility import violations_of
from rheobase.study.records.result import BASELINE, ENDED, TrialRecord, score
from rheobase.study.search.space import Space

GATE = "gate:cca_heldout"


@dataclass(frozen=True)
class Observation:
    """One trial as a sampler sees it.

    Attributes
    ----------
    params
        The searched settings, by dotted path.
    values
        One for each objective; None unless the trial is complete.
    constraints
        Signed violation of each line; a line holds where it is <= 0. Empty for a failed trial.
    intermediate
        Held-out CCA by training step, of a trial stopped early; empty otherwise.
    score
        What orders trials by CCA and violation together; minus infinity for a failed one.
    """

    params: dict[str, Any]
    values: list[float] | None
    constraints: dict[str, float]
    intermediate: dict[int, float]
    score: float


def observations_of(
    spec: StudySpec, space: Space, records: Sequence[TrialRecord], earlier: Sequence[TrialRecord]
) -> list[Observation]:
    """Return what a sampler is told, in the order of the trials, those of an earlier run first.

    Parameters
    ----------
    spec
        The study.
    space
        What it searches.
    records
        Its trials; only the search's own that have ended are told, and of these not those whose
        settings lie outside the space, as the study's own may.
    earlier
        Trials of the run that the search starts from; only those that differ from the study in
        searched settings alone are told.
    """
    found = []
    for record in [*earlier, *records]:
        request = record.request
        if request.stage == "select" and request.arm == BASELINE and record.status in ENDED:
            params = space.inside(request.params)
            if params is not None:
                found.append(observation_of(spec, params, record))
    return found


def usable(spec: StudySpec, earlier: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return those trials of another run that this study's search could have asked for.

    Every setting that is not searched must be the study's own, and none of their seeds one that
    this study reports. What is returned names the settings that this study searches, whatever the
    other one did.
    """
    space, found, reported = Space(spec), [], set(spec.seeds.report)
    for record in earlier:
        request = record.request
        if request.stage != "select" or record.status != "complete":
            continue
        if reported & set(request.seeds):
            continue
        params = space.inside({f"student.{key}": value for key, value in request.student.items()})
        if params is None:
            continue
        if override_student(spec.student, params).model_dump(mode="json") == request.student:
            renamed = request.model_copy(update={"params": params})
            found.append(record.model_copy(update={"request": renamed}))
    return found


def observation_of(spec: StudySpec, params: dict[str, Any], record: TrialRecord) -> Observation:
    """Return what a sampler is told of a trial that has ended, under these searched settings."""
    result = record.result
    if result is not None:
        constraints = dict(sorted(violations_of(result).items()))  # in one order for every trial
        values = {
            name: math.fsum(of_each) / len(of_each)
            for name, of_each in objective_values(
                record.request, result, spec.search.objectives
            ).items()
        }
        if len(values) > 1:
            # The smallest networks carry nothing: without this they would be most of the front.
            constraints[GATE] = spec.require.cca_heldout - values["cca_heldout"]
            for name in STATE_MEASURES:
                required = getattr(spec.require, name)
                if name in values and required is not None:
                    constraints[f"gate:{name}"] = required - values[name]
        return Observation(
            params,
            list(values.values()),
            constraints,
            {},
            score(values["cca_heldout"], total_violation(constraints), True),
        )
    seen = record.curve("cca_heldout")
    if record.status != "pruned" or not seen:
        return Observation(params, None, {}, {}, -math.inf)
    last: Mapping[str, float] = dict(record.progress)[max(seen)]
    # At a rung where rates still settle, a violation says nothing yet.
    counted = any(r.step == max(seen) and r.counts_violation for r in record.request.rungs)
    violation = last.get("violation", 0.0) if counted else 0.0
    return Observation(
        params, None, {"violation": violation}, seen, score(seen[max(seen)], violation, True)
    )
