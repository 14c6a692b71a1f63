"""The arms that a design makes of what a study lifts and doses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from rheobase.core.errors import StudyError
from rheobase.study.file.ablation_settings import (
    BASELINES,
    JOIN,
    AblationSettings,
    Value,
    dose_name,
)
from rheobase.study.file.search_settings import is_integer

STEP = "step-"
"""And its number: an arm of a path whose order the results decide."""


@dataclass(frozen=True)
class Arm:
    """What one arm of a design sets.

    Attributes
    ----------
    overrides
        By dotted path; of a step of a path whose order is not decided yet, empty.
    lifted
        The arms of the study file that it combines.
    dose
        Factor and level, where it is a level of a dosed setting.
    """

    overrides: Mapping[str, Value]
    lifted: tuple[str, ...] = ()
    dose: tuple[str, float] | None = None


@dataclass(frozen=True)
class Fraction:
    """A regular fraction of a two-level factorial that holds the baseline.

    Attributes
    ----------
    factors
        In the order of the study file.
    generators
        By factor, those whose levels decide its own: it is lifted where an odd number of them is.
        Factors without an entry are combined in every way.
    resolution
        The fewest factors whose effects are confounded with the mean: main effects are confounded
        with interactions of one factor fewer.
    """

    factors: tuple[str, ...]
    generators: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resolution: int = 0

    def runs(self) -> Iterator[tuple[str, ...]]:
        """Yield the factors that each run lifts, the baseline's aside, the fewer first."""
        base = [name for name in self.factors if name not in self.generators]
        found = []
        for num in range(len(base) + 1):
            for chosen in combinations(base, num):
                lifted = {*chosen}
                lifted |= {
                    name
                    for name, parents in self.generators.items()
                    if len({*chosen} & {*parents}) % 2
                }
                found.append(tuple(name for name in self.factors if name in lifted))
        order = {name: at for at, name in enumerate(self.factors)}
        yield from sorted(found, key=lambda run: (len(run), [order[name] for name in run]))[1:]


def fraction(factors: Sequence[str], resolution: int) -> Fraction:
    """Return the smallest regular fraction that has a resolution, or a higher one.

    Parameters
    ----------
    factors
        Names of two-level factors.
    resolution
        3, 4 or 5.

    Raises
    ------
    StudyError
        No fraction of so few factors has it.

    Notes
    -----
    Each generator is a word of a factor and its parents. All products of words must have at least
    `resolution` letters (Box and Hunter 1961): words are tried in one order, the longest first.
    Of fractions as small, not always the one of least aberration is found.

    Examples
    --------
    >>> fraction("abcde", 5).generators
    {'e': ('a', 'b', 'c', 'd')}
    """
    num = len(factors)
    for num_base in range(1, num):
        words = _words(num, num_base, resolution)
        if words is not None:
            products = _products(words)[1:]
            generators = {
                factors[num_base + at]: tuple(
                    factors[letter] for letter in range(num_base) if word >> letter & 1
                )
                for at, word in enumerate(words)
            }
            return Fraction(tuple(factors), generators, min(p.bit_count() for p in products))
    raise StudyError(
        f"[ablation]: a fraction of resolution {resolution} must be of more arms than {num}: there "
        "is none but the whole; use design = 'factorial' or a lower resolution"
    )


def _words(num: int, num_base: int, resolution: int) -> list[int] | None:
    """Return a word for each of num - num_base factors, as bits of factors; None if none fit."""
    parents = [
        sum(1 << letter for letter in chosen)
        for size in range(num_base, resolution - 2, -1)
        for chosen in combinations(range(num_base), size)
    ]

    def extended(words: list[int], first: int) -> list[int] | None:
        if len(words) == num - num_base:
            return words
        products, own = _products(words), 1 << (num_base + len(words))
        for at in range(first, len(parents)):
            word = parents[at] | own
            if all((word ^ product).bit_count() >= resolution for product in products):
                found = extended([*words, word], at + 1)
                if found is not None:
                    return found
        return None

    return extended([], 0)


def _products(words: Sequence[int]) -> list[int]:
    """Return the products of all subsets of words, that of none first."""
    products = [0]
    for word in words:
        products += [word ^ product for product in products]
    return products


def fraction_of(ablation: AblationSettings) -> Fraction | None:
    """Return the fraction of a fractional design; None of any other, or without arms."""
    if ablation.design != "fractional" or not ablation.arms:
        return None
    return fraction(tuple(ablation.arms), ablation.resolution)


def designed(ablation: AblationSettings) -> dict[str, Arm]:
    """Return every arm by name, in the order they run: arms, then doses, then baselines.

    Raises
    ------
    StudyError
        Arms to be combined set one setting to different values, a name holds a ``+``, or a
        fraction does not exist.
    """
    found = {}
    for at, lifted in enumerate(_combinations(ablation)):
        whole = combined(ablation, lifted)
        if ablation.design == "path" and ablation.order == "effect":
            last = len(lifted) == len(ablation.arms)
            found[f"{STEP}{at + 1}"] = Arm(whole if last else {}, lifted if last else ())
        else:
            found[JOIN.join(lifted)] = Arm(whole, lifted)
    for path, levels in ablation.dose.items():
        for level in levels:
            name = dose_name(path)
            value = round(level) if is_integer(path) else level
            found[f"{name}={level:.12g}"] = Arm({path: value}, dose=(name, level))
    return found | {word: Arm(dict(BASELINES[word])) for word in ablation.baselines}


def _combinations(ablation: AblationSettings) -> list[tuple[str, ...]]:
    names = list(ablation.arms)
    if ablation.design == "leave-one-out":
        return [(name,) for name in names]
    if ablation.design == "path":
        return [tuple(names[: num + 1]) for num in range(len(names))]
    part = fraction_of(ablation) or Fraction(tuple(names))
    return list(part.runs())


def combined(ablation: AblationSettings, lifted: Sequence[str]) -> dict[str, Value]:
    """Return what several arms set together.

    Raises
    ------
    StudyError
        They set one setting to different values, or a name holds what joins names.
    """
    overrides: dict[str, Value] = {}
    for name in lifted:
        if JOIN in name and ablation.design != "leave-one-out":
            raise StudyError(
                f"[ablation.arms.{name}]: names of arms to be combined must not hold "
                f"'{JOIN}', which joins them; rename it"
            )
        for path, value in ablation.arms[name].items():
            if overrides.setdefault(path, value) != value:
                raise StudyError(
                    f"[ablation.arms.{name}]: arms combined by design = '{ablation.design}' must "
                    f"agree on a setting, but '{path}' is {value!r} here and {overrides[path]!r} "
                    "in another; use design = 'leave-one-out'"
                )
    return overrides
