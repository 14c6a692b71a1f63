"""The [data] table of a study file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rheobase.core.settings import Settings
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.path_settings import PathSettings


class SplitSettings(Settings):
    """How bins are divided into train, validation and test: whole groups, never random bins."""

    by: Literal["auto", "block", "trial", "session"] = "auto"
    """`block`: contiguous stretches of a continuous recording; `trial`: whole behaviour trials of
    trial-binned data; `auto`: whichever of the two fits the recording; `session`: whole sessions
    (`rheobase bin` only: a study needs train bins of every session)."""
    block_s: Annotated[float, Field(ge=5.0)] = 5.0
    """Length of a block in seconds; 5 s at least."""
    gap_ms: Annotated[float, Field(ge=0)] = 500.0
    """Thrown away on each side of every border of two parts; at least the student's memory."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of groups on which everything is scored that chooses: search, early stopping, winners,
    and what a teacher is judged by."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of groups that the report stage alone is scored on."""
    seed: int = 0
    """Seed that draws the groups; the same for every trial of a study."""

    @model_validator(mode="after")
    def _leaves_train(self) -> SplitSettings:
        if self.validation + self.test >= 1:
            raise ValueError(
                "validation + test < 1 must hold for bins to be left to train on, but got "
                f"{self.validation:g} + {self.test:g}."
            )
        return self


class DataSettings(Settings):
    """Which recordings, which units, which bins."""

    sessions: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paths or globs to .nwb, .npz or a sorter's folder, from here or else from the study file;
    `allen-vbn:all?area=VISp` or a session's id in place of all; or
    `synthetic:planted?seed=0&minutes=20`."""
    areas: tuple[Annotated[str, Field(pattern=r"\S")], ...] = ()
    """Prefixes of structure acronyms; empty keeps every area."""
    bin_ms: Annotated[float, Field(gt=0, le=100)] = 10.0
    """Width of a bin."""
    window_ms: Annotated[float, Field(gt=0)] = 1000.0
    """Length of a training window; at least five membrane time constants of any student."""
    quality: Literal["allen", "bombcell", "ibl", "none"] = "allen"
    """Preset of unit quality thresholds."""
    nan_metrics: Literal["drop", "keep"] = "drop"
    """Whether a unit is dropped where a metric of the preset is NaN; counted either way."""
    labels: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    """Units kept by words of the units' table: `{ KSLabel = ["good", "mua"] }` keeps those that
    have one of the words, in each column named."""
    events: EventSettings | None = None
    """What the interval tables of an NWB file mean; none: the Visual Behavior layout's own."""
    paths: PathSettings | None = None
    """Where an NWB file holds units, running, pupil and series of your own; none: where the
    standard has them."""
    split: SplitSettings = SplitSettings()
    """How train, validation and test are divided."""
    fit_states: tuple[str, ...] = ()
    """States whose train bins alone are fitted, such as `["active"]`; none: those of all states.
    The parts stay as they are drawn; train bins of other states are left out."""
    fit_states_of: Literal["both", "teacher", "student"] = "both"
    """Who is fitted in `fit_states` alone: the teacher, the students with their readouts, or both;
    the other is fitted in all states."""
    score_states: tuple[str, ...] = ()
    """States whose held-out bins alone students are scored on, such as `["passive"]`; none: those
    of all states."""

    def fit_states_for(self, who: Literal["teacher", "student"]) -> tuple[str, ...]:
        """Return the states in which teacher or students are fitted; none: all."""
        return self.fit_states if self.fit_states_of in ("both", who) else ()

    @model_validator(mode="after")
    def _states_have_an_effect(self) -> DataSettings:
        for key in ("fit_states", "score_states"):
            names = getattr(self, key)
            if len({*names}) < len(names) or "" in names:
                raise ValueError(
                    f"{key} must name each state once and none without a name, but got "
                    f"{list(names)}."
                )
        if self.fit_states_of != "both" and not self.fit_states:
            raise ValueError(
                f"fit_states_of = '{self.fit_states_of}' says whom fit_states binds, but "
                'fit_states names no state; add it, such as ["active"], or leave both out.'
            )
        return self
