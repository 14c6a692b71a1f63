"""How often intervals cover the truth and sign flips cry wolf, over simulated studies.

Run: ``PYTHONPATH=platform OMP_NUM_THREADS=1 python benchmarks/intervals.py``, or
``make bench-statistics``. Prints tables in Markdown. Every case draws 2,000 studies from a
generator named by the case. Not named `statistics.py`: beside the other scripts that would hide
Python's own module.
"""

# Shape legend: B studies, R replicates, I blocks, L samples of a signal.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from rheobase.core.seeds import generator
from rheobase.measures.blocks import block_values
from rheobase.measures.cca_moments import CCAFit
from rheobase.study.ranking.intervals import Runs, estimate_difference, estimate_mean
from rheobase.study.ranking.resampling import sign_flip_p

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]
NUM_STUDIES = 2_000
NUM_RESAMPLES = 1_000
NUM_FLIPS = 2_000  # of more than 16 pairs
HEAD = "| {} | t of pairs | hierarchical bootstrap | ours | flips of pairs | flips, ours |"
SIZES = (2, 3, 5, 7, 8)  # seeds of five sessions
COLLAPSE = 10.0  # standard deviations of a seed by which one in five falls
AROUND = 0.9  # Fisher's z of the correlations that signals are made with
PER_BLOCK = 200  # samples of a signal, each remembered by 0.9


@dataclass(frozen=True)
class Studies:
    """Simulated studies.

    Attributes
    ----------
    values
        (B, R) number of each run.
    sessions
        (R,) of each run.
    blocks
        (B, R, I) pseudo-values, or (B, R, 0).
    truth
        What an interval should cover.
    teachers
        (R,) of each run; empty where one taught all.
    """

    values: Floats
    sessions: Sequence[str]
    blocks: Floats
    truth: float = 0.0
    teachers: Sequence[int] = ()

    def run(self, study: int) -> Runs:
        """Return one of them."""
        blocks = self.blocks[study].tolist()
        return Runs(self.values[study].tolist(), self.sessions, blocks, self.teachers)


def normal(draw: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return draw.standard_normal(shape)


def heavy(draw: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t of 3 degrees of freedom, of variance 1."""
    return draw.standard_t(3, shape) / np.sqrt(3)


def collapsing(draw: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """One value in five falls far below the others; the mean is 0."""
    fallen = draw.random(shape) < 0.2
    return draw.standard_normal(shape) - COLLAPSE * fallen + 0.2 * COLLAPSE


def of_sessions(
    draw: np.random.Generator,
    sizes: Sequence[int],
    spread: float,
    seeds: Draw = normal,
    sessions: Draw = normal,
) -> Studies:
    """Sessions differ by `spread` times what seeds differ by."""
    names = [f"s{n}" for n, size in enumerate(sizes) for _ in range(size)]
    shifts = np.repeat(spread * sessions(draw, (NUM_STUDIES, len(sizes))), sizes, axis=1)
    values = shifts + seeds(draw, (NUM_STUDIES, len(names)))
    return Studies(values, names, np.zeros((*values.shape, 0)))


def of_blocks(
    draw: np.random.Generator,
    num_seeds: int,
    num_blocks: int,
    spread: float,
    rest: float = 1.0,
    seeds: Draw = normal,
    blocks: Draw = normal,
    remembered: float = 0.0,
) -> Studies:
    """One session whose blocks differ by `spread` times what seeds differ by, and cells by `rest`.

    Neighbouring blocks correlate by `remembered`.
    """
    shared = blocks(draw, (NUM_STUDIES, 1, num_blocks))
    for index in range(1, num_blocks):
        new = np.sqrt(1 - remembered**2) * shared[..., index]
        shared[..., index] = remembered * shared[..., index - 1] + new
    of_seed = seeds(draw, (NUM_STUDIES, num_seeds, 1))
    cells = rest * normal(draw, (NUM_STUDIES, num_seeds, num_blocks))
    pseudo = of_seed + spread * shared + cells
    return Studies(pseudo.mean(axis=2), ["s"] * num_seeds, pseudo)


def of_teachers(
    draw: np.random.Generator, studies: Callable[..., Studies], num_teachers: int, spread: float
) -> Studies:
    """Other studies, whose seeds learn in turn from teachers that differ by `spread`."""
    found = studies(draw)
    per_session = [
        np.arange(list(found.sessions).count(name)) % num_teachers
        for name in dict.fromkeys(found.sessions)
    ]
    teachers = np.concatenate(per_session)
    shifts = spread * normal(draw, (NUM_STUDIES, num_teachers))[:, teachers]
    blocks = found.blocks + shifts[..., None]
    return Studies(found.values + shifts, found.sessions, blocks, found.truth, teachers.tolist())


def of_signals(
    draw: np.random.Generator, num_seeds: int, num_blocks: int, spread: float, paired: bool
) -> Studies:
    """Signals whose correlation differs by seed and block: a level, or a difference of two arms.

    Fisher's z of a seed in a block is `AROUND` plus a seed's part of 0.1, a block's of 0.1
    `spread` and a rest of 0.1; in a difference both arms have the same blocks' part.
    """
    one = np.ones((1, 1))
    fit = CCAFit(np.zeros(1), np.zeros(1), one, one, 0.01)
    group = np.repeat(np.arange(num_blocks), PER_BLOCK)
    num_arms = 2 if paired else 1
    values = np.zeros((NUM_STUDIES, num_arms, num_seeds))
    blocks = np.zeros((NUM_STUDIES, num_arms, num_seeds, num_blocks))
    for study in range(NUM_STUDIES):
        shape = (num_arms, num_seeds)
        z = 0.1 * (draw.standard_normal((*shape, 1)) + draw.standard_normal((*shape, num_blocks)))
        z += AROUND + 0.1 * spread * draw.standard_normal(num_blocks)
        rho = np.tanh(np.repeat(z, PER_BLOCK, axis=-1))
        y = wandering(draw, (), num_blocks)
        x = rho * y + np.sqrt(1 - rho**2) * wandering(draw, shape, num_blocks)
        for at in np.ndindex(shape):
            blocks[(study, *at)] = block_values(fit, x[at][:, None], y[:, None], group)
            values[(study, *at)] = np.corrcoef(x[at], y)[0, 1]
    if paired:
        return Studies(values[:, 0] - values[:, 1], ["s"] * num_seeds, blocks[:, 0] - blocks[:, 1])
    z = AROUND + 0.1 * np.sqrt(2 + spread**2) * draw.standard_normal(10_000_000)
    return Studies(values[:, 0], ["s"] * num_seeds, blocks[:, 0], float(np.tanh(z).mean()))


def wandering(draw: np.random.Generator, shape: tuple[int, ...], num_blocks: int) -> Floats:
    """Return signals (…, L) of variance 1 that remember 0.9 of themselves, anew in each block."""
    noise = draw.standard_normal((PER_BLOCK, *shape, num_blocks))
    for index in range(1, PER_BLOCK):
        noise[index] = 0.9 * noise[index - 1] + np.sqrt(1 - 0.81) * noise[index]
    return np.moveaxis(noise, 0, -1).reshape(*shape, num_blocks * PER_BLOCK)


def pairs_covered(studies: Studies) -> float:
    """Return the coverage of what was quoted before: t of all pairs, the spread within sessions."""
    _, label, sizes = np.unique(studies.sessions, return_inverse=True, return_counts=True)
    values, num = studies.values, len(studies.sessions)
    member = (label[:, None] == np.arange(len(sizes))).astype(float)
    centred = values - (values @ member / sizes)[:, label]
    freedom = num - len(sizes)
    half = stdtrit(freedom, 0.975) * np.sqrt((centred**2).sum(axis=1) / freedom / num)
    return float((np.abs(values.mean(axis=1) - studies.truth) <= half).mean())


def bootstrap_covered(draw: np.random.Generator, studies: Studies) -> float:
    """Return the coverage of percentiles over sessions and their seeds, or seeds and blocks."""
    num, num_blocks = len(studies.sessions), studies.blocks.shape[2]
    names, label = np.unique(studies.sessions, return_inverse=True)
    if num_blocks:
        seeds = draw.multinomial(num, np.full(num, 1 / num), NUM_RESAMPLES) / num
        blocks = draw.multinomial(num_blocks, np.full(num_blocks, 1 / num_blocks), NUM_RESAMPLES)
        moved = np.einsum("bri,sr->bsi", studies.blocks, seeds)
        means = np.einsum("bsi,si->bs", moved, blocks / num_blocks)
        # Around the number itself, not around the mean of its pseudo-values.
        means += (studies.values.mean(axis=1) - studies.blocks.mean(axis=(1, 2)))[:, None]
    else:
        weights = np.zeros((NUM_RESAMPLES, num))
        members = [np.flatnonzero(label == index) for index in range(len(names))]
        for row in weights:
            for chosen in draw.integers(len(names), size=len(names)):
                size = len(members[chosen])
                np.add.at(row, draw.choice(members[chosen], size), 1 / size / len(names))
        means = studies.values @ weights.T
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    return float(((low <= studies.truth) & (studies.truth <= high)).mean())


def flips_of_pairs(draw: np.random.Generator, differences: Floats) -> float:
    """Return how often flips of pairs (B, R) whose mean is truly 0 reach p <= 0.05."""
    num = differences.shape[1]
    if num <= 16:
        signs = 1 - 2 * ((np.arange(2**num)[:, None] >> np.arange(num)) & 1)
    else:
        signs = draw.choice([-1, 1], (NUM_FLIPS, num))
    reached = np.abs(differences @ signs.T.astype(float))
    found = np.abs(differences.sum(axis=1, keepdims=True)) * (1 - 1e-12)
    return float(((reached >= found).mean(axis=1) <= 0.05).mean())


def row(named: str, studies: Studies, draw: np.random.Generator) -> str:
    """Return a line of the table."""
    covered, wrong = 0, 0
    for study in range(NUM_STUDIES):
        runs = studies.run(study)
        low, high = estimate_mean(runs).ci95 or (np.nan, np.nan)
        covered += low <= studies.truth <= high
        wrong += sign_flip_p(np.array(runs.units()) - studies.truth, draw) <= 0.05
    cells = [
        f"{pairs_covered(studies):.1%}",
        f"{bootstrap_covered(draw, studies):.1%}",
        f"**{covered / NUM_STUDIES:.1%}**",
        f"{flips_of_pairs(draw, studies.values - studies.truth):.1%}",
        f"{wrong / NUM_STUDIES:.1%}",
    ]
    return f"| {named} | {' | '.join(cells)} |"


def table(title: str, about: str, head: str, cases: dict[str, Callable[..., Studies]]) -> None:
    """Print a table, a line for each case."""
    print(f"\n## {title}\n\n{about}\n\n{HEAD.format(head)}\n|{'---|' * 6}")
    for named, simulate in cases.items():
        draw = generator(0, "coverage", title, named)
        print(row(named, simulate(draw), draw), flush=True)


def optimism_covered(title: str) -> None:
    """Print the coverage of differences whose sides have other seeds: 3 against 8."""
    print(f"| {title} | ours |\n|---|---|")
    for spread in (0.0, 1.0, 3.0):
        draw = generator(0, "coverage", "optimism", "blocks", str(spread))
        left, right = of_blocks(draw, 3, 8, spread), of_blocks(draw, 8, 20, spread)
        print(f"| one session, blocks' spread {spread:g} | {difference_covered(left, right)} |")
    for spread in (0.0, 1.0):
        draw = generator(0, "coverage", "optimism", "sessions", str(spread))
        shifts = np.repeat(5 * draw.standard_normal((NUM_STUDIES, 5)), 3, axis=1)
        left, right = of_sessions(draw, [3] * 5, spread), of_sessions(draw, [8] * 5, spread)
        shared = np.repeat(shifts[:, ::3], 8, axis=1)
        left = Studies(left.values + shifts, left.sessions, left.blocks)
        right = Studies(right.values + shared, right.sessions, right.blocks)
        named = f"five sessions whose level differs by 5, whose difference by {spread:g}"
        print(f"| {named} | {difference_covered(left, right)} |", flush=True)


def difference_covered(left: Studies, right: Studies) -> str:
    covered = 0
    for study in range(NUM_STUDIES):
        found = estimate_difference(left.run(study), right.run(study)).ci95
        covered += found is not None and found[0] <= 0 <= found[1]
    return f"**{covered / NUM_STUDIES:.1%}**"


def main() -> None:
    """Print the tables."""
    print(
        "# Intervals and p-values beside the truth\n\nMade by `make bench-statistics`. "
        f"{NUM_STUDIES:,} simulated studies a case: how often the 95 % interval covers the truth "
        "(a standard error is 0.5 %), and how often a sign flip has p <= 0.05 where nothing "
        "differs. `t of pairs`: Student's t of seed × session pairs, the spread within sessions, "
        "which was quoted before. `hierarchical bootstrap`: percentiles over 1,000 resamples of "
        "sessions and seeds within them, of one session of seeds and of blocks. `ours`: "
        "`intervals.estimate_mean`, and flips of whole sessions where there are several. Spreads "
        "are in standard deviations of a seed."
    )
    table(
        "Several sessions",
        "Eight seeds on each. Five sessions have 2⁵ sign patterns: no p is below 0.0625, so that "
        "flips cannot err at 0.05, nor find anything.",
        "sessions, their spread",
        {
            f"{num} sessions, {spread:g}": partial(of_sessions, sizes=[8] * num, spread=spread)
            for num, spread in (
                *((5, spread) for spread in (0, 0.25, 0.5, 1, 2)),
                *((num, 1) for num in (2, 3, 6, 8, 12)),
            )
        },
    )
    table(
        "One session, seeds × blocks",
        "A pseudo-value is a seed's part, a block's part and a rest as large as a seed's. Flips "
        "are of seeds, before and now: where blocks differ they are wrong of the recording, and "
        "right of other seeds on the same blocks alone, which the note beside each p says.",
        "seeds, blocks, their spread",
        {
            f"{seeds} seeds, {blocks} blocks, {spread:g}": partial(
                of_blocks, num_seeds=seeds, num_blocks=blocks, spread=spread
            )
            for seeds in (8, 3)
            for blocks in (20, 8)
            for spread in (0, 0.5, 1, 3)
        },
    )
    table(
        "One session, correlations of signals",
        "Signals of 200 samples a block with a memory of 10, whose correlation differs by seed and "
        "block; pseudo-values are those of `measures.blocks.block_values`. A difference is of two "
        "arms on the same blocks, whose shared part cancels.",
        "number, seeds, blocks, their spread",
        {
            f"{'difference' if paired else 'level'}, {seeds} seeds, {blocks} blocks, {spread}": (
                partial(
                    of_signals,
                    num_seeds=seeds,
                    num_blocks=blocks,
                    spread=spread,
                    paired=paired,
                )
            )
            for paired, seeds, blocks, spread in (
                (False, 8, 20, 1),
                (False, 8, 8, 3),
                (False, 3, 20, 3),
                (False, 3, 8, 1),
                (True, 8, 20, 3),
                (True, 3, 8, 3),
            )
        },
    )
    table(
        "Several teachers",
        "The report seeds learn from teachers in turn. Of one session (20 blocks, their spread 1) "
        "the teachers are what is independent; five sessions (their spread 1) are crossed with "
        "them.",
        "sessions, seeds, teachers, their spread",
        {
            f"{named}, 8 seeds, {num} teachers, {spread:g}": partial(
                of_teachers, studies=studies, num_teachers=num, spread=spread
            )
            for named, studies, most in (
                ("1 session", partial(of_blocks, num_seeds=8, num_blocks=20, spread=1), 8),
                ("5 sessions", partial(of_sessions, sizes=[8] * 5, spread=1), 4),
            )
            for num in (2, 3, 4, 8)
            if num <= most
            for spread in (0, 1, 3)
        },
    )
    tails = {"seeds": heavy, "sessions": heavy}
    table(
        "Heavy tails, unequal groups",
        "t of 3 degrees of freedom in the place of normal seeds, sessions and blocks; five "
        "sessions of 2, 3, 5, 7 and 8 seeds.",
        "case",
        {
            "5 sessions, 1, heavy": partial(of_sessions, sizes=[8] * 5, spread=1, **tails),
            **{
                f"{seeds} seeds, {blocks} blocks, 1, heavy": partial(
                    of_blocks,
                    num_seeds=seeds,
                    num_blocks=blocks,
                    spread=1,
                    seeds=heavy,
                    blocks=heavy,
                )
                for seeds, blocks in ((8, 20), (3, 8))
            },
            **{
                f"unequal groups, {spread:g}": partial(of_sessions, sizes=SIZES, spread=spread)
                for spread in (0, 0.5, 1, 2)
            },
            "unequal groups, 1, heavy": partial(of_sessions, sizes=SIZES, spread=1, **tails),
        },
    )
    table(
        "Where no method covers",
        f"One seed in five collapses by {COLLAPSE:g} standard deviations. With 8 seeds none of "
        "them does in a sixth of the studies (0.8⁸), with 3 in half (0.8³): the seeds then agree, "
        "and nothing in them tells of the other mode. Sessions average it.",
        "case",
        {
            **{
                f"{seeds} seeds, no blocks": partial(
                    of_sessions, sizes=[seeds], spread=0, seeds=collapsing
                )
                for seeds in (8, 3)
            },
            "8 seeds, 20 blocks, 1": partial(
                of_blocks, num_seeds=8, num_blocks=20, spread=1, seeds=collapsing
            ),
            "5 sessions, 1": partial(of_sessions, sizes=[8] * 5, spread=1, seeds=collapsing),
        },
    )
    table(
        "Blocks that neighbour, and the fewest seeds and blocks",
        "Neighbouring blocks correlate; or there are two or three of something, with rests from "
        "small to large.",
        "seeds, blocks, their spread",
        {
            **{
                f"8 seeds, 20 blocks, {spread:g}, neighbours {near:g}": partial(
                    of_blocks, num_seeds=8, num_blocks=20, spread=spread, remembered=near
                )
                for spread in (1, 3)
                for near in (0.1, 0.3, 0.5)
            },
            **{
                f"{seeds} seeds, {blocks} blocks, {spread:g}, rest {rest:g}": partial(
                    of_blocks, num_seeds=seeds, num_blocks=blocks, spread=spread, rest=rest
                )
                for seeds, blocks, spread, rest in (
                    (3, 20, 1, 0.3),
                    (3, 8, 3, 3),
                    (2, 20, 1, 0.3),
                    (2, 20, 3, 1),
                    (8, 3, 3, 1),
                    (8, 2, 3, 1),
                )
            },
        },
    )
    print("\n## Other seeds on each side\n\n3 seeds on 8 blocks minus 8 seeds on 20 others.\n")
    optimism_covered("case")


if __name__ == "__main__":
    main()
