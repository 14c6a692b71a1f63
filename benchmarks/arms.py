"""A study's arms on its report seeds, as a Markdown table.

Run: ``python benchmarks/arms.py RUN`` after ``rheobase run``. All of it is in
``rheobase rank RUN --json`` and ``rheobase compare``; this lays it out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RHEOBASE = Path(sys.executable).parent / "rheobase"
HEAD = (
    "arm | CCA [95 %] | over all dimensions | untrained | gain | closed | linear readout "
    "| nulls: shift, clock, session; drift | within: active, passive | across | Hz, in band "
    "| CV of intervals | reliability | tier | minus baseline [95 %], p"
)


def told(*words: str) -> Any:
    """Return the JSON that a command prints."""
    done = subprocess.run([str(RHEOBASE), *words, "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def shown(value: float | None, digits: int = 3) -> str:
    """Return a number, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def row(run: str, arm: dict[str, Any]) -> str:
    """Return an arm's row."""
    cca, rate = arm["cca_heldout"], arm["rate_hz"]
    low, high = cca["ci95"] or (None, None)
    against = ""
    if arm["arm"] != "baseline" and not arm["arm"].startswith("top-"):
        found = told("compare", run, arm["arm"])
        p = found["p_sign_flip"] if found["p_holm"] is None else found["p_holm"]
        low_high = "[{:+.3f}, {:+.3f}]".format(*found["ci95"]) if found["ci95"] else ""
        against = f"{found['mean_difference']:+.3f} {low_high}, {p:.3g}"
    band = "–" if rate["mean"] is None else f"{rate['mean']:.1f}, {rate['in_band']:.0%}"
    cells = [
        arm["arm"],
        f"{shown(cca['mean'])} [{shown(low)}, {shown(high)}]",
        shown(arm["cca_all_dims"]),
        shown(arm["untrained"]),
        f"{arm['gain']:+.3f}",
        shown(arm["closed"], 2),
        shown(arm["linear_readout"]),
        ", ".join(shown(arm[f"null_{name}_q95"]) for name in ("shift", "clock", "session"))
        + f"; {shown(arm['null_drift'])}",
        ", ".join(shown(arm["cca_within"][state]) for state in ("active", "passive")),
        shown(arm["cca_cross_state"]),
        band,
        shown(arm["cv_isi"], 2),
        shown(arm["reliability"], 2),
        arm["tier"],
        against,
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    (run,) = sys.argv[1:]
    arms = [arm for arm in told("rank", run)["confirmed"] if arm["status"] == "complete"]
    first = arms[0]
    print(
        f"{first['cca_heldout']['speaks_of']}, {first['cca_heldout']['degrees_of_freedom']:.0f} "
        f"degrees of freedom; {first['dims']} dimensions predict; the linear readout sees "
        f"{first['linear_features']}.\n"
    )
    print(f"| {HEAD} |\n|{'---|' * (HEAD.count('|') + 1)}")
    for arm in arms:
        print(row(run, arm))
    probes = list(arms[0]["decoding"])
    print("\nDecoded from it, above chance, beside the teacher's:\n")
    print(f"| arm | {' | '.join(probes)} |\n|{'---|' * (len(probes) + 1)}")
    teacher = [shown(arms[0]["decoding"][probe]["teacher"], 2) for probe in probes]
    print(f"| teacher | {' | '.join(teacher)} |")
    for arm in arms:
        said = [shown(arm["decoding"][probe]["student"], 2) for probe in probes]
        print(f"| {arm['arm']} | {' | '.join(said)} |")


if __name__ == "__main__":
    main()
