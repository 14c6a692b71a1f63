"""How far a study's numbers move when it is run again, and what its intervals hold of that.

Run: ``python benchmarks/spread.py`` in the environment of ``make setup``; some two hours of one
core. ``RHEOBASE_HOME`` keeps sessions, teachers and runs, so that it goes on where it was stopped.
Prints tables in Markdown: `studies/quickstart.toml` with other search seeds, other teachers and
another kernel of OpenBLAS; and its own settings, without a search, on fresh planted recordings.
"""

from __future__ import annotations

import sys
import tomllib
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy.stats import t
from study_runs import found_by

STUDY = Path(__file__).parents[1] / "studies" / "quickstart.toml"
KERNELS = ("SkylakeX", "Haswell")  # of OpenBLAS, by OPENBLAS_CORETYPE
SEARCH_SEEDS, TEACHER_SEEDS = range(5), range(3)
FRESH = range(100, 120)  # seeds of planted recordings that no choice has seen
GROUP = 5  # sessions, whose interval speaks of recordings like them


def changed(name: str, **tables: dict[str, Any]) -> dict[str, Any]:
    """Return the study under a name, some settings of its tables replaced."""
    study = tomllib.loads(STUDY.read_text())
    for table, settings in tables.items():
        study[table] = {**study.get(table, {}), **settings}
    return {**study, "name": name}


def arms(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the reported trials by arm."""
    return {row["arm"]: row for row in found["ranking"]["confirmed"]}


def told(row: dict[str, Any]) -> str:
    """Return a held-out CCA with its interval."""
    low, high = row["cca_heldout"]["ci95"]
    return f"{row['cca_heldout']['mean']:.4f} [{low:.3f}, {high:.3f}]"


def again() -> None:
    """Print the study under other seeds and kernels."""
    print("| search seed | teacher seed | kernel | winner | CCA [95 %] | untrained | others |")
    print("|---|---|---|---|---|---|---|")
    cases = [(seed, 0, KERNELS[0]) for seed in SEARCH_SEEDS]
    cases += [(0, seed, KERNELS[0]) for seed in TEACHER_SEEDS if seed]
    cases.append((0, 0, KERNELS[1]))
    means: dict[tuple[int, int, str], float] = {}
    for search, teacher, kernel in cases:
        name = f"spread-{search}-{teacher}-{kernel}"
        study = changed(name, search={"seed": search}, seeds={"teacher": [teacher]})
        rows = arms(found_by(study, kernel))
        best = rows.pop("baseline")
        means[search, teacher, kernel] = best["cca_heldout"]["mean"]
        settings = ", ".join(
            f"{path.removeprefix('student.')} {value:.3g}" for path, value in best["params"].items()
        )
        others = ", ".join(f"{arm} {told(row)}" for arm, row in rows.items())
        cells = [search, teacher, kernel, settings, told(best), f"{best['untrained']:.3f}", others]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    of_search = [means[seed, 0, KERNELS[0]] for seed in SEARCH_SEEDS]
    of_teacher = [means[0, seed, KERNELS[0]] for seed in TEACHER_SEEDS]
    kernels = abs(means[0, 0, KERNELS[0]] - means[0, 0, KERNELS[1]])
    print(
        f"\nStandard deviation over search seeds {stdev(of_search):.4f}, over teacher seeds "
        f"{stdev(of_teacher):.4f}; between kernels {kernels:.4f}."
    )


def fresh() -> None:
    """Print what intervals of one recording, and of several, hold of other recordings' mean."""
    means: list[float] = []
    beside: dict[str, list[float]] = {"linear readout": [], "untrained": []}
    inside, spans = 0, []
    for seed in FRESH:
        name = f"fresh-{seed}"
        address = f"synthetic:planted?seed={seed}&minutes=8&units=120&code=flipped"
        study = changed(name, data={"sessions": [address]}, search={"trials": 1})
        del study["ablation"]
        row = arms(found_by(study))["baseline"]
        means.append(row["cca_heldout"]["mean"])
        for name, values in beside.items():
            values.append(row[name.replace(" ", "_")])
        spans.append(row["cca_heldout"]["ci95"])
        print(f"recording {seed}: {told(row)}", file=sys.stderr, flush=True)
    for index, (low, high) in enumerate(spans):
        inside += low <= fmean(means[:index] + means[index + 1 :]) <= high
    groups = list(combinations(range(len(means)), GROUP))
    held = 0
    for group in groups:
        own = [means[index] for index in group]
        rest = fmean(means[index] for index in range(len(means)) if index not in group)
        half = t.ppf(0.975, GROUP - 1) * stdev(own) / np.sqrt(GROUP)
        # Of the mean of the others, which varies too.
        half *= np.sqrt(1 + GROUP / (len(means) - GROUP))
        held += abs(fmean(own) - rest) <= half
    width = fmean(high - low for low, high in spans) / 2
    print(
        f"{len(means)} fresh recordings, one study each: CCA {fmean(means):.3f}, standard "
        f"deviation between recordings {stdev(means):.4f}, mean half-width of the interval of one "
        f"{width:.4f}. The interval of one recording, which speaks of it alone, holds the mean of "
        f"the others in {inside} of {len(means)}. That of {GROUP} sessions, widened for the spread "
        f"of the others' mean, holds that mean in {held / len(groups):.1%} of {len(groups):,} "
        "groups.\n"
    )
    for name, values in beside.items():
        more = [own - other for own, other in zip(means, values, strict=True)]
        half = t.ppf(0.975, len(more) - 1) * stdev(more) / np.sqrt(len(more))
        print(
            f"The {name} of the same recordings: {fmean(values):.3f}; the networks hold "
            f"{fmean(more):.3f} [{fmean(more) - half:.3f}, {fmean(more) + half:.3f}] more (t over "
            f"recordings), in {sum(one > 0 for one in more)} of {len(more)}."
        )


def main() -> None:
    """Print the tables."""
    print("## Other seeds, teachers and another kernel\n")
    again()
    print("\n## Fresh recordings\n", flush=True)
    fresh()


if __name__ == "__main__":
    main()
