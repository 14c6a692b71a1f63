"""The [ablation] table of a study file: what is lifted, dosed and compared, and how."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from rheobase.core.errors import did_you_mean
from rheobase.core.settings import Settings
from rheobase.study.file.search_settings import Scalar

Value = Scalar | tuple[Scalar, ...]
"""What an arm may set a setting to."""
Design = Literal["leave-one-out", "factorial", "fractional", "path"]
Mode = Literal["held", "retuned"]
Order = Literal["given", "effect"]
JOIN = "+"
MOST_FACTORS = 10
"""Arms that a factorial may combine: 1,023 combinations."""

BASELINES: Mapping[str, Mapping[str, Scalar]] = {
    "untrained": {"student.steps": 0},
    "no-dale": {"student.dale": False},
    "no-rate-penalty": {"student.rate_weight": 0.0},
    "gru": {"student.neuron": "gru"},
    "linear-readout": {"student.neuron": "linear"},
    "shuffled-spikes": {"student.input": "shuffled"},
    "no-input-signs": {"student.input_signs": "free"},
    "no-ei-balance": {"student.ei_balance": 0.0},
    "feed-forward": {"student.recurrence": "none"},
    "echo-state": {"student.recurrence": "fixed"},
}
CONTROLS = frozenset(
    {"untrained", "feed-forward", "echo-state", "gru", "linear-readout", "shuffled-spikes"}
)
"""Baselines that lift no constraint: what the others are held against, and no hypothesis."""


class AblationSettings(Settings):
    """Which constraints to lift, and how; it needs `arms`, `dose`, `baselines` or several."""

    design: Design = "leave-one-out"
    """How `arms` are combined. `leave-one-out`: each alone; `factorial`: every combination;
    `fractional`: the smallest share of them that has `resolution`; `path`: cumulative."""
    resolution: Annotated[int, Field(ge=3, le=5)] = 5
    """Of `fractional`. 5: main effects and interactions of two are told apart from one another; 4:
    main effects from interactions of two, which are not told apart; 3: main effects from one
    another alone."""
    order: Order = "given"
    """Of `path`. `given`: as `arms` are written; `effect`: at every step the arm that leaves the
    highest held-out CCA on validation, on the select seeds (Fawcett and Hoos 2016)."""
    mode: Mode = "held"
    """`held`: every other setting stays as in the baseline; `retuned`: each arm that lifts or doses
    has a search of its own, of as many trials as the baseline's, on validation."""
    least_effect: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """The least difference in held-out CCA that matters: what a plan tells the seeds or sessions
    for, and the margin of equivalence."""
    baselines: tuple[str, ...] = ()
    """Arms in one word, each alone whatever the design: `untrained` (`steps = 0`), `no-dale`
    (`dale = false`), `no-rate-penalty` (`rate_weight = 0`), `no-input-signs` (`input_signs =
    "free"`), `no-ei-balance` (`ei_balance = 0`), `feed-forward` and `echo-state` (`recurrence` none
    and fixed), `gru` and `linear-readout` (`neuron` in the network's place), `shuffled-spikes`
    (`input`)."""
    arms: dict[str, dict[str, Value]] = {}
    """Overrides by dotted path, under the arm's name, such as `"student.dale" = false` or
    `"teacher.horizons_ms" = [40.0, 80.0]`; several settings of an arm are one factor. An arm may
    set any of [student] and [teacher], and of [data] `areas`, `bin_ms`, `window_ms`, `quality`,
    `nan_metrics`, `labels.COLUMN`, `fit_states` and `fit_states_of`; one of [data] or [teacher] has
    latents of its own, which are another target."""
    dose: dict[str, tuple[float, ...]] = {}
    """Levels of a number that arms may set, by dotted path, each an arm of its own
    beside `arms`, whatever the design: `"student.ei_balance" = [0.25, 0.5, 1, 2, 4]`. The study's
    own value is one of the curve's points and is not run twice."""

    @field_validator("arms", mode="before")
    @classmethod
    def _paths_are_quoted(cls, value: Any) -> Any:
        for arm, overrides in value.items() if isinstance(value, Mapping) else ():
            inner = {} if not isinstance(overrides, Mapping) else overrides
            for room, table in inner.items():
                if isinstance(table, Mapping) and "." not in str(room):
                    name, set_to = next(iter(table.items()), ("…", "…"))
                    raise ValueError(
                        "a path must be in quotes, for dots make tables in TOML: write "
                        f'{arm} = {{ "{room}.{name}" = {json.dumps(set_to)} }}'
                    )
        return value

    @field_validator("dose")
    @classmethod
    def _doses_are_several(cls, dose: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        for path, levels in dose.items():
            if len(levels) < 2 or len({*levels}) < len(levels):
                raise ValueError(
                    f"'{path}' must have two levels at least, all different, but has "
                    f"{list(levels)}."
                )
        return dose

    @model_validator(mode="after")
    def _names_each_arm_once(self) -> AblationSettings:
        problems = [
            f"baselines: unknown word '{word}'.{did_you_mean(word, BASELINES)} "
            f"It must be one of {', '.join(BASELINES)}."
            for word in self.baselines
            if word not in BASELINES
        ]
        names = Counter([*self.baselines, *self.arms, *map(dose_name, self.dose)])
        if repeated := [name for name, num in names.items() if num > 1]:
            problems.append(
                f"baselines: an arm must have a name of its own, but '{repeated[0]}' is there "
                "twice; rename the arm or leave one out."
            )
        if not self.arms and not self.baselines and not self.dose:
            problems.append("an ablation must have arms, but has neither arms nor baselines.")
        if self.design in ("factorial", "fractional") and len(self.arms) > MOST_FACTORS:
            problems.append(
                f"design = '{self.design}' combines {MOST_FACTORS} arms at most, but got "
                f"{len(self.arms)}; leave some out, or make several settings one arm."
            )
        told = self.model_fields_set
        for name, value, design in (
            ("resolution", self.resolution, "fractional"),
            ("order", self.order, "path"),
        ):
            default = type(self).model_fields[name].default
            if name in told and value != default and self.design != design:
                problems.append(
                    f"{name} = {value!r} is of design = '{design}' alone, but design is "
                    f"'{self.design}'; leave one of the two out."
                )
        if self.order == "effect" and self.mode == "retuned":
            problems.append(
                "order = 'effect' tries steps with all other settings held, but mode is 'retuned'; "
                "leave one of the two out."
            )
        if problems:
            raise ValueError(" ; ".join(problems))
        return self


def dose_name(path: str) -> str:
    """Return the name of the factor that a dosed setting is, e.g. ``ei_balance``.

    Of [data] and [teacher] the table's name stays, e.g. ``data.bin_ms``.
    """
    return path.removeprefix("student.")
