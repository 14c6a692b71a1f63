"""Time series and events that a user names: behaviour beside running and pupil."""

# Shape legend: L samples of a signal, C columns.

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.sessions.records.series_names import refuse_name
from rheobase.sessions.records.session import Floats, Signal

MOST_COLUMNS = 16
LARGEST = 1e30
"""Of a sample; what is larger was never measured, and no float32 holds it."""


def series_of(name: str, time_s: Floats, values: npt.NDArray[np.generic]) -> dict[str, Signal]:
    """Return the signals that samples make: one, or one for each column.

    Parameters
    ----------
    name
        Of the series.
    time_s
        (L,) seconds.
    values
        (L,) or (L, C) numbers or truths.

    Returns
    -------
    By name; columns are ``name_0``, ``name_1``, …

    Raises
    ------
    DataError
        It cannot have that name, there is not one row of numbers for each time, or there are too
        many columns.

    Examples
    --------
    >>> list(series_of("position", np.arange(3.0), np.zeros((3, 2))))
    ['position_0', 'position_1']
    """
    refuse_name(name)
    if values.dtype.kind not in "fiub" or values.ndim not in (1, 2) or len(values) != len(time_s):
        raise DataError(
            f"{name} must have a number, or a row of numbers, for each of {len(time_s)} times, but "
            f"is {values.dtype} of shape {values.shape}"
        )
    numbers = measured(values.astype(np.float64))
    if numbers.ndim == 1 or numbers.shape[1] == 1:
        return {name: Signal(time_s, numbers.reshape(-1))}
    if numbers.shape[1] > MOST_COLUMNS:
        raise DataError(
            f"{name} must have at most {MOST_COLUMNS} columns, but has {numbers.shape[1]}; keep "
            "those that matter"
        )
    return {
        f"{name}_{column}": Signal(time_s, numbers[:, column]) for column in range(numbers.shape[1])
    }


def events_of(name: str, time_s: Floats) -> dict[str, Signal]:
    """Return the signal of events at times (L,) in seconds, in whatever order, by its name.

    Raises
    ------
    DataError
        It cannot have that name.
    """
    refuse_name(name)
    return {name: Signal(np.sort(time_s), np.ones(len(time_s)), is_events=True)}


def measured(values: Floats) -> Floats:
    """Return samples, those that nobody can have measured as NaN."""
    return np.where(np.abs(values) > LARGEST, np.nan, values)
