"""Which recorded units excite and which inhibit, as a column of their table says, or drawn."""

# Shape legend: N units.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError, did_you_mean
from rheobase.core.seeds import generator
from rheobase.student.settings import StudentSettings

Signs = npt.NDArray[np.int8]
Columns = Mapping[str, npt.NDArray[Any]]

EXCITATORY_WORDS = frozenset(
    {"e", "exc", "excitatory", "rs", "regular", "regular spiking", "pyramidal", "pyramidal cell",
     "pyr", "glutamatergic", "broad", "broad spiking"}
)  # fmt: skip
INHIBITORY_WORDS = frozenset(
    {"i", "inh", "inhibitory", "fs", "fast", "fast spiking", "interneuron", "narrow interneuron",
     "gabaergic", "pv", "sst", "vip", "narrow", "narrow spiking"}
)  # fmt: skip
LONGEST_LIST = 9  # of columns or words that an error repeats


def signs_of_column(values: npt.NDArray[Any], fast_spiking_below: float) -> Signs:
    """Return +1 of units that excite, -1 of those that inhibit, 0 where the column does not say.

    Parameters
    ----------
    values
        (N,) words, or numbers of which those below `fast_spiking_below` inhibit; NaN and other
        words say nothing.
    fast_spiking_below
        In the numbers' unit.

    Examples
    --------
    >>> signs_of_column(np.array(["RS", "fast-spiking", ""]), 0.4).tolist()
    [1, -1, 0]
    >>> signs_of_column(np.array([0.6, 0.25, np.nan]), 0.4).tolist()
    [1, -1, 0]
    """
    if values.dtype.kind in "fiu":
        told = np.where(values < fast_spiking_below, -1, 1)
        return np.where(np.isnan(values), 0, told).astype(np.int8)
    words = [str(one).strip().casefold().replace("-", " ").replace("_", " ") for one in values]
    signs = [(word in EXCITATORY_WORDS) - (word in INHIBITORY_WORDS) for word in words]
    return np.array(signs, np.int8)


def told_signs(settings: StudentSettings, columns: Columns, num_units: int, session: str) -> Signs:
    """Return the signs (N,) that a session's column tells, 0 where it says nothing.

    Parameters
    ----------
    settings
        Whose `input_sign_column` is read.
    columns
        Those of the units' table, (N,) each.
    num_units
        N.
    session
        Named in errors.

    Raises
    ------
    DataError
        The session has no such column, or it says nothing of any unit.
    """
    name = settings.input_sign_column
    if not name:
        return np.zeros(num_units, np.int8)
    if name not in columns:
        has = ", ".join(sorted(columns)[:LONGEST_LIST]) or "none"
        raise DataError(
            f"{session}: input_signs = 'by_unit' needs the column '{name}' of the units' table, "
            f"but it has {has}.{did_you_mean(name, columns)} Name one with input_sign_column, or "
            'write "" to draw signs by seed'
        )
    signs = signs_of_column(columns[name], settings.fast_spiking_below)
    if num_units and not signs.any():
        found = ", ".join(dict.fromkeys(map(repr, columns[name].tolist()[:LONGEST_LIST])))
        raise DataError(
            f"{session}: the column '{name}' must say excitatory or inhibitory, RS or FS, or a "
            f"number of some unit, but holds {found}; name another with input_sign_column"
        )
    return signs


def input_signs(
    settings: StudentSettings, seed: int, columns: Columns, num_units: int, session: str
) -> Signs:
    """Return the signs (N,) of a network's input weights, 0 where they are free.

    Parameters
    ----------
    settings
        Of the network.
    seed
        Its root seed: of the units of which the column says nothing `input_excitatory_share`
        excite, drawn anew for each seed.
    columns, num_units, session
        As `told_signs` takes them.

    Raises
    ------
    DataError
        `by_unit`, and no column says which.
    """
    if settings.input_signs == "free":
        return np.zeros(num_units, np.int8)
    if settings.input_signs == "excitatory":
        return np.ones(num_units, np.int8)
    signs = told_signs(settings, columns, num_units, session)
    (unknown,) = np.nonzero(signs == 0)
    # Shares as exact as counts allow: which units, not how many, is chance.
    order = generator(seed, "student", "unit signs", session).permutation(unknown)
    num_excitatory = round(settings.input_excitatory_share * len(unknown))
    signs[order[:num_excitatory]], signs[order[num_excitatory:]] = 1, -1
    return signs
