"""The order of a path by effect, decided by what validation says of each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rheobase.study.file.ablation_settings import JOIN
from rheobase.study.file.designs import STEP, combined
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import ENDED, TrialRecord


def path_order(spec: StudySpec, records: Sequence[TrialRecord]) -> list[str]:
    """Return the arms that the path has taken so far, in order.

    Parameters
    ----------
    spec
        A study whose ablation is a path by effect.
    records
        Its trials; those of the stage `tune` are looked at.

    Notes
    -----
    At each step every arm that is left is tried on top of those taken, on the select seeds, and the
    one with the highest mean held-out CCA on validation is taken (Fawcett and Hoos 2016); of equal
    ones the first in the study file. One whose every seed failed comes last. The last arm that is
    left needs no trial.
    """
    assert spec.ablation is not None
    tried = {
        one.request.arm: one
        for one in records
        if one.request.stage == "tune" and one.status in ENDED
    }
    taken: list[str] = []
    left = list(spec.ablation.arms)
    while len(left) > 1 and all(JOIN.join([*taken, name]) in tried for name in left):
        best = max(left, key=lambda name: _cca(tried[JOIN.join([*taken, name])]))
        taken.append(best)
        left.remove(best)
    return taken + left if len(left) == 1 else taken


def path_trials(spec: StudySpec, records: Sequence[TrialRecord]) -> dict[str, dict[str, Any]]:
    """Return what decides the next step of a path by effect: overrides by name; empty at its end.

    Of any other design there is nothing to decide.
    """
    if not is_by_effect(spec):
        return {}
    assert spec.ablation is not None
    taken = path_order(spec, records)
    left = [name for name in spec.ablation.arms if name not in taken]
    return {JOIN.join([*taken, name]): combined(spec.ablation, [*taken, name]) for name in left}


def path_steps(spec: StudySpec, records: Sequence[TrialRecord]) -> Mapping[str, Mapping[str, Any]]:
    """Return what each step of a path by effect sets, once its order is decided."""
    if not is_by_effect(spec):
        return {}
    assert spec.ablation is not None
    taken = path_order(spec, records)
    return {
        f"{STEP}{num}": combined(spec.ablation, taken[:num]) for num in range(1, len(taken) + 1)
    }


def is_by_effect(spec: StudySpec) -> bool:
    """Tell whether results decide the order of a study's path."""
    ablation = spec.ablation
    return ablation is not None and ablation.design == "path" and ablation.order == "effect"


def _cca(record: TrialRecord) -> float:
    if record.result is None:
        return float("-inf")
    return fmean(one.cca_heldout for one in record.result.replicates)
