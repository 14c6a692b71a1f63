"""The search space: which settings are searched under which conditions, and over what values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from rheobase.study.file.search_settings import Choice, Range, is_integer
from rheobase.study.file.spec import StudySpec


class Space:
    """The searched settings of a study, by dotted path, each after those it depends on."""

    def __init__(self, spec: StudySpec) -> None:
        self._own = {
            f"student.{key}": value for key, value in spec.student.model_dump(mode="json").items()
        }
        axes = spec.search.space
        order: list[str] = []
        while len(order) < len(axes):
            order += [
                path
                for path, axis in axes.items()
                if path not in order and not (axis.when.keys() & axes.keys()) - set(order)
            ]
        self._conditions = {path: axes[path].when for path in order}
        self.distributions = {path: _distribution(path, axes[path]) for path in order}

    @property
    def is_conditional(self) -> bool:
        """Whether any setting is searched only where another has a certain value."""
        return any(self._conditions.values())

    def drawn(self, draw: Callable[[str, BaseDistribution], Any]) -> dict[str, Any]:
        """Return values of the active settings, each from a call of `draw`."""
        params: dict[str, Any] = {}
        for path, distribution in self.distributions.items():
            if self._is_active(path, params):
                params[path] = draw(path, distribution)
        return params

    def own(self) -> dict[str, Any]:
        """Return the study's own values of the settings it searches."""
        return self.drawn(lambda path, _: self._own[path])

    def inside(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the searched ones among settings; None where they could not be proposed."""
        missing = object()
        searched = self.drawn(lambda path, _: params.get(path, missing))
        if missing in searched.values():
            return None
        try:
            create_trial(
                state=TrialState.FAIL, params=searched, distributions=self.active(searched)
            )
        except (ValueError, TypeError):  # a value that its distribution does not hold
            return None
        return searched

    def active(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """Return the distributions of settings that have been drawn."""
        return {path: self.distributions[path] for path in params}

    def _is_active(self, path: str, params: Mapping[str, Any]) -> bool:
        return all(
            params.get(given, self._own[given]) == wanted
            for given, wanted in self._conditions[path].items()
        )


def _distribution(path: str, axis: Range | Choice) -> BaseDistribution:
    if isinstance(axis, Choice):
        return CategoricalDistribution(axis.choices)
    if not is_integer(path):
        return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
    low, high = math.ceil(axis.low), math.floor(axis.high)
    return IntDistribution(low, high, log=axis.log, step=max(1, round(axis.step or 1)))
