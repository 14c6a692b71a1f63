"""Time series and events that a user names: behaviour beside running and pupil."""

# Shape legend: L samples of a signal, C columns.

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.sessions.records.session import Floats, Signal

MOST_COLUMNS = 16


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
        There is not one row of numbers for each time, or there are too many columns.

    Examples
    --------
    >>> list(series_of("position", np.arange(3.0), np.zeros((3, 2))))
    ['position_0', 'position_1']
    """
    if values.dtype.kind not in "fiub" or values.ndim not in (1, 2) or len(values) != len(time_s):
        raise DataError(
            f"{name} must have a number, or a row of numbers, for each of {len(time_s)} times, but "
            f"is {values.dtype} of shape {values.shape}"
        )
    numbers = values.astype(np.float64)
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


def events_of(time_s: Floats) -> Signal:
    """Return events at times (L,) in seconds, in whatever order."""
    return Signal(np.sort(time_s), np.ones(len(time_s)), is_events=True)
