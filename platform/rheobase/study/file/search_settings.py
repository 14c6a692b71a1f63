"""The [search] table of a study file: the space, the sampler, early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from rheobase.core.settings import Settings
from rheobase.student.settings import StudentSettings
from rheobase.study.file.objectives import ObjectiveName

Scalar = bool | int | float | str


class Range(Settings):
    """A numeric setting to search."""

    low: float
    """Least value."""
    high: float
    """Greatest value."""
    log: bool = False
    """Search on a logarithmic scale."""
    step: Annotated[float, Field(gt=0)] | None = None
    """Distance between values; with integers 1."""
    when: dict[str, Scalar] = {}
    """Settings that must have these values for this one to be searched; elsewhere it keeps the
    study's own value."""

    @model_validator(mode="after")
    def _is_ordered(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low < high must hold, but got (low={self.low}, high={self.high}).")
        if self.log and self.low <= 0:
            raise ValueError(f"low > 0 must hold on a log scale, but got low={self.low}.")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(
                f"step <= high - low must hold, or there is one value alone, but got "
                f"(low={self.low}, high={self.high}, step={self.step})."
            )
        if self.log and self.step is not None:
            raise ValueError("step and log cannot be combined; leave one out.")
        return self


class Choice(Settings):
    """A categorical setting to search."""

    choices: Annotated[tuple[Scalar, ...], Field(min_length=2)]
    """The values to choose from."""
    when: dict[str, Scalar] = {}
    """As of a numeric setting."""

    @field_validator("choices")
    @classmethod
    def _are_distinct(cls, value: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        # 1 and 1.0 are one setting; true is another, though Python calls them equal.
        if len({(isinstance(one, bool), one) for one in value}) < len(value):
            raise ValueError(f"choices must differ, but got {list(value)}.")
        return value


FORMS = "{ low = 0.001, high = 1.0, log = true } or { choices = [10, 20] }"


def _axis_kind(value: Any) -> str:
    table = value if isinstance(value, Mapping) else vars(value)
    return "choice" if "choices" in table else "range"


def _is_table(value: Any) -> Any:
    """Refuse, showing the right form, what is no range and no choice."""
    if isinstance(value, BaseModel):
        return value
    if isinstance(value, Mapping):
        other = set(value) - set(Range.model_fields) - set(Choice.model_fields)
        if other & {"type", "name", "distribution", "dist", "q", "base", "min", "max", "values"}:
            raise ValueError(
                f"a range or choices must be written as {FORMS}, but got the keys "
                f"{', '.join(map(str, value))}; leave out {', '.join(sorted(map(str, other)))}"
            )
        return value
    found = f"got {value!r}"
    if isinstance(value, list | tuple) and len(value) == 2 and not any(map(_is_word, value)):
        found += f"; write {{ low = {value[0]}, high = {value[1]} }}"
    elif isinstance(value, list | tuple):
        found += f"; write {{ choices = {list(value)!r} }}"
    elif not isinstance(value, Mapping):
        found += "; to set one value, write it under [student]"
    raise ValueError(f"a range or choices must be written as {FORMS}, but {found}")


def _is_word(value: Any) -> bool:
    return isinstance(value, str | bool)


Axis = Annotated[
    Annotated[
        Annotated[Range, Tag("range")] | Annotated[Choice, Tag("choice")], Discriminator(_axis_kind)
    ],
    BeforeValidator(_is_table),
]


class StopSettings(Settings):
    """Early stopping of trials that earlier ones leave far behind; the table turns it on."""

    reduction: Annotated[float, Field(gt=1)] = 3.0
    """At a rung, one in so many goes on: the best by what earlier trials reached there."""
    rungs: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (
        0.25,
        0.5,
    )
    """Shares of the training at which trials are judged, rounded to where they report."""
    settle: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the training before which rates still settle: earlier rungs look at held-out CCA
    alone."""
    min_trials: Annotated[int, Field(ge=2)] = 6
    """Earlier trials that must have reached a rung before anyone is stopped there."""
    audit: Annotated[int, Field(ge=0)] = 0
    """Stopped trials, drawn by seed, that are run to their end after the report stage, to tell
    what stopping has cost. They are never ranked."""


class SearchSettings(Settings):
    """The search over student settings; trial 0 is the baseline."""

    sampler: Literal["gp", "tpe", "random", "nsga2", "cmaes"] = "gp"
    """What proposes: Optuna's Gaussian process, tree-structured Parzen estimator, random draws,
    NSGA-II, or CMA-ES."""
    objectives: Annotated[tuple[ObjectiveName, ...], Field(min_length=1)] = ("cca_heldout",)
    """What is sought: `cca_heldout`, and beside it any of `cca_within_state`, `cca_cross_state`
    (the more the better), `state_cost`, `num_neurons`, `spikes_per_s`, `connections`,
    `rate_error`, `rate_change`, `ei_error` (the less the better)."""
    trials: Annotated[int, Field(ge=1)] = 12
    """Trials of the search, the baseline included."""
    generation: Annotated[int, Field(ge=1)] = 4
    """Trials proposed together. A proposal sees whole generations only, so that the search
    gives the same trials whatever the number of workers."""
    pack: Annotated[int, Field(ge=1)] = 1
    """Trials of a generation that one worker may train together; no number depends on it."""
    confirm: Annotated[int, Field(ge=1)] = 1
    """Best trials that are run again on the report seeds: `baseline`, `top-2`, `top-3`, …"""
    warm_start: str | None = None
    """Folder of an earlier run on the same inputs whose trials the sampler is told."""
    seed: int = 0
    """Root seed of the sampler."""
    space: dict[str, Axis] = {}
    """What to search, by dotted path below `student.`."""
    stop: StopSettings | None = None
    """Early stopping; without the table [search.stop] every trial runs to its end."""

    @field_validator("space", mode="before")
    @classmethod
    def _paths_are_quoted(cls, value: Any) -> Any:
        refuse_unquoted(value, "{ low = …, high = … }")
        return value

    @model_validator(mode="after")
    def _sampler_can(self) -> SearchSettings:
        problems = []
        if len(set(self.objectives)) < len(self.objectives) or (
            "cca_heldout" not in self.objectives
        ):
            problems.append(
                "objectives must differ and hold 'cca_heldout', which the gate is about, but got "
                f"{list(self.objectives)}."
            )
        if self.stop is not None and len(self.objectives) > 1:
            problems.append(
                "[search.stop] judges a half-trained network by its held-out CCA alone, which "
                "several objectives cannot be; leave one of the two out."
            )
        if self.warm_start is not None and self.sampler == "random":
            problems.append("warm_start: random draws learn from no trial; use another sampler.")
        if self.sampler == "cmaes":
            if len(self.objectives) > 1:
                problems.append(
                    "sampler = 'cmaes' follows one objective; use 'nsga2', 'tpe' or 'gp'."
                )
            odd = [p for p, axis in self.space.items() if isinstance(axis, Choice) or axis.when]
            if odd:
                problems.append(
                    "sampler = 'cmaes' moves a Gaussian over numbers and can do nothing with "
                    f"choices and conditions, but the space has {', '.join(odd)}; use another."
                )
        if problems:
            raise ValueError(" ; ".join(problems))
        return self


def refuse_unquoted(table: Any, form: str) -> None:
    """Refuse a path without quotes, of which TOML makes a table in a table.

    Raises
    ------
    ValueError
        There is one; it is shown in quotes, with `form` for what it is set to.
    """
    for name, axis in table.items() if isinstance(table, Mapping) else ():
        inner = list(axis) if isinstance(axis, Mapping) else []
        if "." not in str(name) and inner and isinstance(axis[inner[0]], Mapping):
            raise ValueError(
                f"a path must be in quotes, for dots make tables in TOML: write "
                f'"{name}.{inner[0]}" = {form}'
            )


def is_integer(path: str) -> bool:
    """Tell whether a student setting, by dotted path, is an integer."""
    field = StudentSettings.model_fields.get(path.removeprefix("student."))
    return field is not None and field.annotation is int
