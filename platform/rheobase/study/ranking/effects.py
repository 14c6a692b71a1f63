"""What an effect comes to: its mean, interval, p, size and equivalence, from paired replicates."""

# Shape legend: R replicates, C arms, I blocks, n independent units.

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from rheobase.core.settings import Settings
from rheobase.study.ranking.contrasts import Contrast, Kind
from rheobase.study.ranking.intervals import Runs, estimate_mean
from rheobase.study.ranking.ranking import (
    Interval,
    MeanEstimate,
    MeanInterval,
    SpeaksOf,
    Unit,
)
from rheobase.study.ranking.resampling import (
    ALPHA,
    LEVEL,
    flips_told,
    interquartile_mean,
    least_p,
    probability_of_improvement,
    sign_flip_p,
)

Floats = npt.NDArray[np.float64]


class Equivalence(Settings):
    """Two one-sided tests of an effect within plus or minus a margin: no difference as a claim."""

    margin: float
    """What is called no difference, in units of the measure; of a trend, over its whole range."""
    ci90: Interval
    """90 % t interval, which lies within the margin exactly where `p` < 0.05."""
    p: float
    """The greater of the two one-sided p."""
    p_holm: float | None = None
    """Holm's, over the same family as the effects'; null outside it."""
    is_equivalent: bool
    """Whether `p_holm`, outside the family `p`, is at most 0.05."""


class Effect(Settings):
    """One effect of a design; numbers are null where no replicate has all of its arms."""

    name: str
    """Of the factor; of two factors with `` x `` between; of the arm; of the dosed setting."""
    kind: Kind
    """`main`: arms that lift a factor minus those that keep it. `interaction`: half the difference
    between one factor's effect where the other is lifted and where it is kept. `arm`: minus the
    baseline. `step`: minus the step before. `trend`: a line's gain over the levels."""
    factors: tuple[str, ...]
    aliases: tuple[str, ...]
    """Main effects and interactions of two that the design cannot tell from this one."""
    in_family: bool
    """Whether it is a hypothesis, whose p is corrected for the others."""
    seeds: tuple[int, ...]
    sessions: tuple[str, ...]
    num_pairs: int
    """Seeds and sessions on which every arm of the effect has the measure."""
    num_asked: int
    """Seeds and sessions that were asked for."""
    unit: Unit | None
    """What is independent, and what signs are flipped of: sessions where there are several, then
    teachers, then seeds."""
    num_units: int
    speaks_of: SpeaksOf | None
    """Whose mean `ci95` covers."""
    mean: float | None
    """Over the seeds of a session, then over sessions."""
    ci95: Interval | None
    """Of the mean; null where the notes say why."""
    degrees_of_freedom: float | None
    slope: float | None = None
    """Of a trend, for each unit of its setting; null of what is none."""
    interquartile_mean: float | None
    """Mean of the middle half of the pairs."""
    hodges_lehmann: float | None
    """Median of the means of every two units, each with itself too."""
    d_z: float | None
    """Mean of the units over their standard deviation; null where they do not vary."""
    probability_of_improvement: float | None
    """That a run's mean over the arms that count up exceeds that over those that count down, within
    a session; null of a trend."""
    p_sign_flip: float | None
    """Two-sided and exact to 16 units; of seeds it speaks of other seeds on these blocks."""
    p_holm: float | None = None
    """Holm's, over the family; an effect without numbers counts as p = 1. Null outside it."""
    p_interval: float | None
    """Two-sided t test by the interval's own spread: below 0.05 where `ci95` leaves out 0. In one
    session it speaks of the recording, as the interval does and flips of seeds do not."""
    p_interval_holm: float | None = None
    """Holm's, over the same family as `p_holm`; null outside it."""
    least_p: float | None
    """The least p that this number of units can reach: 2 / 2^n."""
    equivalence: Equivalence | None
    """Null where there is no margin or no interval."""
    other_targets: Mapping[str, str] = {}
    """By arm, the target that its networks carry where that is not the baseline's and the effect
    sets the two against each other: latents of another teacher, or of other units or bins."""
    decoded: Mapping[str, MeanInterval] = {}
    """Of an effect between targets, the same difference of what is decoded, by probe, which depends
    on no target."""
    notes: tuple[str, ...] = ()


def combined(weights: Mapping[str, float], arms: Mapping[str, Runs]) -> Runs:
    """Return the weighted sum of arms, run by run and block by block.

    Parameters
    ----------
    weights
        By arm.
    arms
        Runs of each on the same seeds and sessions, in the same order.
    """
    first = next(iter(arms.values()))
    by = np.array([weights[arm] for arm in arms])
    values = by @ np.array([one.values for one in arms.values()], np.float64)
    blocks: list[list[float]] = []
    if any(first.blocks) and all(len(one.blocks) == len(first.values) for one in arms.values()):
        for rows in zip(*(one.blocks for one in arms.values()), strict=True):
            is_whole = len({len(row) for row in rows}) == 1
            blocks.append((by @ np.array(rows, np.float64)).tolist() if is_whole else [])
    return Runs(values.tolist(), first.sessions, blocks, first.teachers)


def hodges_lehmann(values: Floats) -> float:
    """Return the median of the means of every two values (n,), each with itself too.

    Hodges and Lehmann 1963.

    Examples
    --------
    >>> hodges_lehmann(np.array([1.0, 2.0, 9.0]))
    3.5
    """
    first, second = np.triu_indices(len(values))
    return float(np.median((values[first] + values[second]) / 2))


def standard_error(found: MeanEstimate) -> float | None:
    """Return the standard error that a mean's interval rests on; None without one."""
    if found.ci95 is None or found.degrees_of_freedom is None:
        return None
    half = (found.ci95[1] - found.ci95[0]) / 2
    return half / float(stdtrit(found.degrees_of_freedom, (1 + LEVEL) / 2))


def interval_p(found: MeanEstimate) -> float | None:
    """Return the two-sided p of a mean of 0 by the t distribution of its interval.

    Examples
    --------
    >>> found = estimate_mean(Runs([0.1, 0.2, 0.3], [*"abc"]))  # t = 2 sqrt(3), 2 degrees
    >>> round(interval_p(found), 6)
    0.07418
    """
    freedom, error = found.degrees_of_freedom, standard_error(found)
    if freedom is None or error is None:
        return None
    return float(2 * stdtr(freedom, -abs(found.mean) / error))


def equivalence_of(found: MeanEstimate, margin: float) -> Equivalence | None:
    """Return two one-sided t tests of a mean within plus or minus a margin.

    Parameters
    ----------
    found
        The mean, whose interval gives the standard error and its degrees of freedom.
    margin
        Above 0.

    Returns
    -------
    None where the mean has no interval.

    Notes
    -----
    Schuirmann 1987. The p is the greater one's, of -margin against more and of margin against less.

    Examples
    --------
    >>> found = estimate_mean(Runs([0.001, 0.002, -0.001, 0.0], [*"abcd"]))
    >>> equivalence_of(found, 0.02).is_equivalent, equivalence_of(found, 0.0005).is_equivalent
    (True, False)
    """
    freedom, error = found.degrees_of_freedom, standard_error(found)
    if freedom is None or error is None:
        return None
    p = float(stdtr(freedom, (abs(found.mean) - margin) / error))
    narrow = error * float(stdtrit(freedom, 1 - ALPHA))
    return Equivalence(
        margin=margin,
        ci90=(found.mean - narrow, found.mean + narrow),
        p=p,
        is_equivalent=p <= ALPHA,
    )


def effect_of(
    contrast: Contrast,
    arms: Mapping[str, Runs],
    seeds: Sequence[int],
    num_asked: int,
    margin: float | None,
    random: np.random.Generator,
) -> Effect:
    """Return one effect.

    Parameters
    ----------
    contrast
        What it is.
    arms
        A measure of each of its arms on the same seeds and sessions, in the same order.
    seeds
        (R,) of those runs; of none the numbers are null.
    num_asked
        How many were asked for.
    margin
        What is called no difference; None: no equivalence is tested.
    random
        Generator of sign flips of more than 16 units.
    """
    told = {
        "name": contrast.name,
        "kind": contrast.kind,
        "factors": contrast.factors,
        "aliases": contrast.aliases,
        "in_family": contrast.in_family,
        "num_asked": num_asked,
        "num_pairs": len(seeds),
    }
    if not seeds:
        return _without_numbers(told)
    runs = combined(contrast.weights, arms)
    found, units = estimate_mean(runs), np.array(runs.units())
    notes = [*found.notes, *flips_told(found.unit, len(units))]
    if num_asked > len(seeds):
        notes.append(
            f"{len(seeds)} of {num_asked} seeds and sessions have every arm; the others are left "
            "out"
        )
    spread = float(units.std(ddof=1)) if len(units) > 1 else 0.0
    improvement = None
    if contrast.kind != "trend":
        up, down = (
            combined({arm: max(0.0, sign * by) for arm, by in contrast.weights.items()}, arms)
            for sign in (1, -1)
        )
        improvement = probability_of_improvement(
            np.array(up.values), np.array(down.values), runs.sessions
        )
    return Effect(
        **told,
        seeds=tuple(sorted({*seeds})),
        sessions=tuple(dict.fromkeys(runs.sessions)),
        unit=found.unit,
        num_units=found.num_units,
        speaks_of=found.speaks_of,
        mean=found.mean,
        ci95=found.ci95,
        degrees_of_freedom=found.degrees_of_freedom,
        slope=found.mean / contrast.span if contrast.kind == "trend" else None,
        interquartile_mean=float(interquartile_mean(np.array(runs.values))),
        hodges_lehmann=hodges_lehmann(units),
        d_z=float(units.mean()) / spread if found.ci95 and spread > 0 else None,
        probability_of_improvement=improvement,
        p_sign_flip=sign_flip_p(units, random),
        p_interval=interval_p(found),
        least_p=least_p(len(units)),
        equivalence=equivalence_of(found, margin) if margin is not None else None,
        notes=tuple(notes),
    )


def _without_numbers(told: Mapping[str, object]) -> Effect:
    note = "no seed and session has every arm of it"
    if told["in_family"]:
        note += "; it counts as p = 1 in Holm's family"
    table = {name: None for name in Effect.model_fields} | {
        "seeds": (),
        "sessions": (),
        "other_targets": {},
        "decoded": {},
        "num_units": 0,
        "notes": (note,),
    }
    return Effect.model_validate(table | dict(told))
