"""What a time series of a recording may be called."""

from __future__ import annotations

import re

from rheobase.core.errors import DataError

SIGNALS = ("running", "pupil")
"""Measures of behaviour whose places in a file of the Allen Institute are known."""
NAME = r"[A-Za-z][A-Za-z0-9_-]{0,39}"
"""A regular expression of them."""
TAKEN = (
    "image",
    "change",
    "omission",
    "stimulus_presence",
    "stimulus_side",
    "state",
    "true",
    "true_latents",
)
"""What is read from presentations, states and simulations under these names."""
OF_UNITS = ("probe", "location", "brain_area")
"""What an archive holds of its units under these names."""


def refuse_name(name: str) -> None:
    """Refuse a name that a time series cannot have.

    Raises
    ------
    DataError
        It is no short word, or names something else.
    """
    if not re.fullmatch(NAME, name):
        raise DataError(
            f"a time series must be named by a letter and up to 39 letters, digits, _ or -, but "
            f"got '{name}'"
        )
    if name in TAKEN:
        raise DataError(
            f"a time series must not be named as what labels tell, {', '.join(TAKEN)}, but got "
            f"'{name}'; give it a name of its own"
        )
    if name in OF_UNITS or name.startswith("unit_"):
        raise DataError(
            f"a time series must not be named as what is known of units, {', '.join(OF_UNITS)} or "
            f"unit_…, but got '{name}'; give it a name of its own"
        )
