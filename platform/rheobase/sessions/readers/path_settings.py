"""The [data.paths] table of a study file: where a recording's file holds what."""

from __future__ import annotations

from pydantic import ValidationError, field_validator

from rheobase.core.errors import DataError, StudyError, did_you_mean
from rheobase.core.settings import Settings
from rheobase.sessions.records.series_names import SIGNALS, refuse_name

SERIES = "series."


class PathSettings(Settings):
    """Where an NWB file holds units and behaviour, as paths inside it."""

    units: str | None = None
    """Table of the sorted units; `units` by default."""
    running: str | None = None
    """Time series of the running speed, in cm/s or what its `unit` says; by default
    `processing/running/speed`."""
    pupil: str | None = None
    """Time series of the pupil's area, its `area` or else its `data`; by default
    `acquisition/EyeTracking/pupil_tracking`."""
    series: dict[str, str] = {}
    """Further time series by a name of your own, such as
    `{ position = "processing/behavior/Position/maze", licks = "processing/licking/licks" }`: each
    is a probe of that name. One that has times alone, or the same value always, is read as events,
    whose rate is told."""

    @field_validator("series")
    @classmethod
    def _named_apart(cls, series: dict[str, str]) -> dict[str, str]:
        for name in series:
            try:
                refuse_name(name)
            except DataError as error:
                raise ValueError(f"{error}.") from None
            if name in SIGNALS:
                raise ValueError(f"series must not hold '{name}', which has a key of its own.")
        return series


def parse_paths(pairs: list[str]) -> PathSettings | None:
    """Return the settings written as ``key=value``.

    Raises
    ------
    StudyError
        A key is unknown, or a series' name cannot be one.

    Examples
    --------
    >>> parse_paths(["units=processing/ecephys/units"]).units
    'processing/ecephys/units'
    >>> parse_paths(["series.licks=processing/licking/licks"]).series
    {'licks': 'processing/licking/licks'}
    """
    known = ("units", *SIGNALS)
    table: dict[str, str] = {}
    series: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        own = key.removeprefix(SERIES)
        if not equals or not value.strip("/") or (key not in known and own == key):
            raise StudyError(
                f"--path {pair}: KEY=PATH must be given, KEY one of {', '.join(known)} or "
                f"{SERIES}NAME.{did_you_mean(key, known)}"
            )
        (table if own == key else series)[own] = value.strip("/")
    try:
        return PathSettings(**table, series=series) if table or series else None
    except ValidationError as error:
        raise StudyError(
            f"--path: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
        ) from None
