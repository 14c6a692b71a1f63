"""What a design asks of its arms: every effect as weights of arms, and its aliases."""

# Shape legend: C arms.

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from rheobase.study.file.ablation import BETWEEN
from rheobase.study.records.result import BASELINE

Floats = npt.NDArray[np.float64]
Kind = Literal["main", "interaction", "arm", "step", "trend"]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One effect of a design.

    Attributes
    ----------
    name
        Of the factor, of both with `BETWEEN`, of the arm, or of the dosed setting.
    kind
        What it is.
    factors
        What it is about.
    weights
        By arm; they sum to 0. A replicate's effect is the weighted sum of its arms' numbers.
    aliases
        Main effects and interactions of two whose arms are weighed alike up to sign: the design
        cannot tell them from this one, and ``-`` stands before one of the other sign.
    in_family
        Whether it is a hypothesis, whose p is corrected for the others.
    span
        Of a trend, the greatest level minus the least; else 1.
    """

    name: str
    kind: Kind
    factors: tuple[str, ...]
    weights: Mapping[str, float]
    aliases: tuple[str, ...] = ()
    in_family: bool = True
    span: float = 1.0


def contrasts_of(
    design: str,
    levels: Mapping[str, Mapping[str, float]],
    dosed: Collection[str] = (),
    alone: Collection[str] = (),
    controls: Collection[str] = (),
) -> list[Contrast]:
    """Return every effect of a design.

    Parameters
    ----------
    design
        `leave-one-out`, `factorial`, `fractional` or `path`.
    levels
        By arm, `baseline` first, the level of every factor (`ablation.factors_of`).
    dosed
        Factors that are settings over levels; the others are kept (0) or lifted (1).
    alone
        Arms that are combined with nothing.
    controls
        Those of them that are no hypothesis.

    Returns
    -------
    `factorial` and `fractional`: main effects, then interactions of two. `path`: what each step
    adds. `leave-one-out`: each arm. Then a trend for each dosed factor, and each arm `alone`.

    Notes
    -----
    A main effect is the mean of the arms that lift a factor minus the mean of those that keep it.
    An interaction is half the difference between one factor's effect where the other is lifted
    and where it is kept (Box, Hunter and Hunter 2005): twice it is by how much both together
    differ from the sum of their costs, the other factors averaged. Where a design confounds
    any of these with one another, interactions are told but are no hypothesis. A trend is the
    straight line through the levels, by least squares: what it gains from the least level to the
    greatest.

    Examples
    --------
    >>> whole = {"baseline": (0, 0), "a": (1, 0), "b": (0, 1), "a+b": (1, 1)}
    >>> levels = {arm: dict(zip("ab", row)) for arm, row in whole.items()}
    >>> [(one.name, [*one.weights.values()]) for one in contrasts_of("factorial", levels)]
    ... # doctest: +NORMALIZE_WHITESPACE
    [('a', [-0.5, 0.5, -0.5, 0.5]), ('b', [-0.5, -0.5, 0.5, 0.5]),
     ('a x b', [0.5, -0.5, -0.5, 0.5])]
    """
    kept = levels[BASELINE]
    doses = {arm: [name for name in dosed if row and row[name] != kept[name]]
             for arm, row in levels.items()}  # fmt: skip
    lifting = {
        arm: row
        for arm, row in levels.items()
        if row and not doses[arm] and any(row[name] for name in row if name not in dosed)
    }
    found: list[Contrast] = []
    if design in ("factorial", "fractional"):
        names = [name for name in kept if name not in dosed]
        found += _crossed(names, {BASELINE: kept, **lifting})
    elif design == "path":
        unknown = [arm for arm, row in levels.items() if not row and arm not in alone]
        steps = [BASELINE, *(arm for arm in levels if arm in lifting or arm in unknown)]
        found += [_minus(arm, before, "step") for before, arm in pairwise(steps)]
    else:
        found += [_minus(arm, BASELINE, "arm") for arm in lifting]
    for name in dosed:
        arms = [BASELINE, *(arm for arm, doses_of in doses.items() if name in doses_of)]
        if len(arms) > 1:
            found.append(_trend(name, arms, [levels[arm][name] for arm in arms]))
    return found + [
        _minus(arm, BASELINE, "arm", in_family=arm not in controls)
        for arm in levels
        if arm in alone
    ]


def _minus(arm: str, other: str, kind: Kind, in_family: bool = True) -> Contrast:
    return Contrast(
        name=arm,
        kind=kind,
        factors=(arm,),
        weights={arm: 1.0, other: -1.0},
        in_family=in_family,
    )


def _crossed(names: Sequence[str], levels: Mapping[str, Mapping[str, float]]) -> list[Contrast]:
    """Return main effects and interactions of two of factors that are combined."""
    columns = {name: _column(levels, (name,)) for name in names}
    columns |= {BETWEEN.join(pair): _column(levels, pair) for pair in combinations(names, 2)}
    columns = {name: column for name, column in columns.items() if column.any()}
    aliases = {name: tuple(_aliases(name, columns)) for name in columns}
    is_told_apart = not any(aliases.values())
    half = len(levels) / 2
    return [
        Contrast(
            name=name,
            kind="main" if name in names else "interaction",
            factors=(name,) if name in names else tuple(name.split(BETWEEN)),
            weights=dict(zip(levels, (column / half).tolist(), strict=True)),
            aliases=aliases[name],
            in_family=is_told_apart or name in names,
        )
        for name, column in columns.items()
    ]


def _column(levels: Mapping[str, Mapping[str, float]], factors: Sequence[str]) -> Floats:
    """Return the signs (C,) of an effect; zeros where the arms do not vary in it."""
    signs = np.array([[2 * row[name] - 1 for name in factors] for row in levels.values()])
    column = signs.prod(axis=1)
    return np.asarray(column if np.ptp(column) else 0 * column, np.float64)


def _aliases(name: str, columns: Mapping[str, Floats]) -> Iterator[str]:
    for other, column in columns.items():
        if other != name and (column == columns[name]).all():
            yield other
        elif other != name and (column == -columns[name]).all():
            yield f"-{other}"


def _trend(name: str, arms: Sequence[str], levels: Sequence[float]) -> Contrast:
    at = np.array(levels)
    span, centred = float(np.ptp(at)), at - at.mean()
    weights = centred / (centred**2).sum() * span
    return Contrast(
        name=name,
        kind="trend",
        factors=(name,),
        weights=dict(zip(arms, weights.tolist(), strict=True)),
        span=span,
    )
