"""The [data.paths] table of a study file: where a recording's file holds what."""

from __future__ import annotations

from rheobase.core.errors import StudyError, did_you_mean
from rheobase.core.settings import Settings


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


def parse_paths(pairs: list[str]) -> PathSettings | None:
    """Return the settings written as ``key=value``.

    Raises
    ------
    StudyError
        A key is unknown.

    Examples
    --------
    >>> parse_paths(["units=processing/ecephys/units"]).units
    'processing/ecephys/units'
    """
    known = PathSettings.model_fields
    table: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not value.strip("/") or key not in known:
            raise StudyError(
                f"--path {pair}: KEY=PATH must be given, KEY one of {', '.join(known)}."
                f"{did_you_mean(key, known)}"
            )
        table[key] = value.strip("/")
    return PathSettings(**table) if table else None
