"""The [data.events] table of a study file: which tables of a recording mean what."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError, model_validator

from rheobase.core.errors import StudyError, did_you_mean
from rheobase.core.settings import Settings


class EventSettings(Settings):
    """Which interval tables and columns of an NWB file mean presentation, stimulus and state."""

    table: str = ""
    """Interval table with a row for each presentation, such as `trials`; empty: none is read."""
    start: str = "start_time"
    """Column of the onsets in seconds; a row without one is no presentation."""
    stop: str = "stop_time"
    """Column of the ends in seconds."""
    image: str = ""
    """Column that names the stimulus; a row without a name is no presentation."""
    change: str = ""
    """Column that is true where the stimulus changed; empty: found from `image`."""
    omitted: str = ""
    """Column that is true where the stimulus was left out; empty: where `image` is `omitted`."""
    block: str = ""
    """Column of the block's number; empty: a stretch of one state is a block."""
    state: str = ""
    """Column that names the brain state, of `state_table` or else of `table`."""
    state_table: str = ""
    """Interval table with a row for each stretch of one state, such as `epochs`."""
    states: dict[str, str] = {}
    """What values of `state` mean, `{ "task" = "active", "replay" = "passive" }`; others keep
    their name. `active` and `passive` are what the cross-state scores compare."""

    @model_validator(mode="after")
    def _names_fit(self) -> EventSettings:
        if not self.table and not self.state_table:
            raise ValueError("table or state_table must be named, or the whole of events left out")
        if self.state_table and not self.state:
            raise ValueError("state must name a column of state_table")
        if self.states and not self.state:
            raise ValueError("state must name the column whose values states translates")
        return self


def parse_events(pairs: list[str]) -> EventSettings | None:
    """Return the settings written as ``key=value``, ``states.task=active`` among them.

    Raises
    ------
    StudyError
        A key is unknown, or the settings do not fit each other.

    Examples
    --------
    >>> parse_events(["table=trials", "state=context", "states.go=active"]).states
    {'go': 'active'}
    """
    if not pairs:
        return None
    known = EventSettings.model_fields
    settings: dict[str, Any] = {"states": {}}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        name, _, state = key.partition(".")
        if not equals or name not in known or (name == "states") != bool(state):
            raise StudyError(
                f"--events {pair}: KEY=VALUE must be given, KEY one of "
                f"{', '.join(known)} (states.NAME).{did_you_mean(name, known)}"
            )
        if state:
            settings["states"][state] = value
        else:
            settings[name] = value
    try:
        return EventSettings.model_validate(settings)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise StudyError(f"--events: {reason}") from None
