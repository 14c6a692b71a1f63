"""How far networks under every constraint reach on planted recordings that no choice has seen.

Run: ``python benchmarks/reach.py`` in the environment of ``make setup``; a night of two cores.
``RHEOBASE_HOME`` keeps sessions, teachers and runs, so that it goes on where it was stopped; and
``--sessions 1 --seeds 2 --minutes 2 --steps 20 --trials 2`` shows in minutes that it works. Prints
tables in Markdown. All numbers are of test bins and of seeds and recordings from which no setting
was chosen. Doses of the balance are `studies/constraints_doses.toml`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from study_runs import found_by

CODES = ("rotated", "flipped")
FRESH = 200  # the first seed of planted recordings that no choice has seen
STUDENT: Mapping[str, Any] = {
    "num_neurons": 128,
    "steps": 600,
    "batch_windows": 24,
    "learning_rate": 0.012,
    "rate_per": "window",
    "rate_weight": 0.008,
    "homeostasis": 1.0,
    "rate_band_hz": [5.5, 19.0],
    "tau_readout_ms": 60.0,
    "tau_syn_ms": 7.0,
    "learn_tau": True,
    "input_signs": "by_unit",
    "input_sign_column": "",
    "ei_balance": 1.0,
    "ei_tolerance": 0.1,
}
"""Dale's principle for neurons and units, currents in balance, rates kept by biases; chosen on
validation bins of one recording of seed 0."""
LEAST_SPACE: Mapping[str, Any] = {
    "student.num_neurons": {"choices": [8, 12, 16, 24, 32, 64]},
    "student.connection_prob": {"low": 0.05, "high": 1.0, "log": True},
    "student.input_prob": {"low": 0.1, "high": 1.0, "log": True},
    "student.surrogate_slope": {"low": 1.5, "high": 10.0, "log": True},
}
GOALS = {"all": 0.90, "gru": 0.95, "32 neurons": 0.80}
LEAST_ABOVE_LINEAR = 0.15
SIZES = ("num_neurons", "spikes_per_s", "connections")


def study_of(name: str, code: str, asked: argparse.Namespace, **student: Any) -> dict[str, Any]:
    """Return a study of one code of planted recordings under a name."""
    addresses = [
        f"synthetic:planted?seed={seed}&minutes={asked.minutes:g}&units=120&code={code}"
        for seed in range(FRESH, FRESH + asked.sessions)
    ]
    return {
        "name": f"reach-{name}-{code}",
        "data": {"sessions": addresses, "areas": ["VIS"]},
        "teacher": {"latent_dim": 8, "views": "replay"},
        "student": {**STUDENT, "steps": asked.steps, **student},
        "search": {"trials": 1, "pack": 4},
        "seeds": {"select": [0], "report": list(range(10, 10 + asked.seeds))},
    }


def studies(code: str, asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return what is run on recordings of a code."""
    everything = study_of("all", code, asked)
    everything["ablation"] = {"baselines": ["feed-forward", "gru"]}
    least = study_of("least", code, asked)
    least["search"] = {
        "sampler": "nsga2",
        "objectives": ["cca_heldout", *SIZES],
        "trials": asked.trials,
        "generation": min(8, asked.trials),
        "pack": 4,
        "confirm": 5,
        "space": dict(LEAST_SPACE),
    }
    return {
        "all": everything,
        "32 neurons": study_of("32", code, asked, num_neurons=32),
        "least": least,
    }


def cells_of(row: Mapping[str, Any], goal: float | None) -> list[str]:
    """Return a reported trial's cells, from its held-out CCA on."""
    cca = row["cca_heldout"]
    low, high = cca["ci95"] or (float("nan"),) * 2
    balance = row["ei_current_balance"] or {}
    states = ", ".join(f"{one:.2f}" for one in (balance.get("per_state") or {}).values() if one)
    rate = row["rate_hz"]
    hz = "–" if rate["mean"] is None else f"{rate['mean']:.1f}, {rate['in_band']:.0%}"
    reached = "–"
    if goal is not None:
        reached = "yes" if cca["mean"] >= goal else f"no, {cca['mean'] - goal:+.3f}"
    return [
        f"{cca['mean']:.3f} [{low:.3f}, {high:.3f}]",
        "–" if goal is None else f"{goal:.2f}",
        reached,
        f"{cca['mean'] - row['linear_readout']:+.3f}",
        f"{row['untrained']:.3f}",
        states or "–",
        hz,
        row["tier"],
    ]


def rows(code: str, found: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield the rows of a code."""
    for name in ("all", "32 neurons"):
        for row in found[name]["ranking"]["confirmed"]:
            if row["status"] != "complete":
                yield [code, f"{name}: {row['arm']}", *row["why"]]
                continue
            which = name if row["arm"] == "baseline" else row["arm"]
            yield [code, which, *cells_of(row, GOALS.get(which))]


def print_costs(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print what recurrence and constraints make of it, and whether a linear map does as well."""
    for code, studies_of in found.items():
        for one in studies_of["all"]["arms"]:
            low, high = one["ci95"] or (float("nan"),) * 2
            print(
                f"- {code}, {one['arm']} minus the network under every constraint: "
                f"{one['mean_difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
            )
        base = studies_of["all"]["ranking"]["confirmed"][0]
        above = base["cca_heldout"]["mean"] - base["linear_readout"]
        met = "met" if above >= LEAST_ABOVE_LINEAR else "not met"
        print(
            f"- {code}: {above:+.3f} above the full linear readout ({base['linear_readout']:.3f}); "
            f"{LEAST_ABOVE_LINEAR:.2f} is {met}"
        )


def print_least(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the least network that passed on the report seeds, beside the network of 128."""
    print(f"| code | network | CCA | {' | '.join(SIZES)} | tier |\n|{'---|' * 7}")
    for code, studies_of in found.items():
        winner = studies_of["all"]["ranking"]["confirmed"][0]
        ranking = studies_of["least"]["ranking"]
        told = ranking["least"] or {}
        ids = {row["trial_id"]: row for row in ranking["confirmed"]}
        least = ids.get((told.get("trial") or {}).get("trial_id"))
        for name, row in (("every constraint", winner), ("least that passed", least)):
            if row is None:
                print(f"| {code} | {name} | none of {told.get('num_run', 0)} passed |||||")
                continue
            sizes = " | ".join(f"{row[size]:,.0f}" for size in SIZES)
            print(
                f"| {code} | {name} | {row['cca_heldout']['mean']:.3f} | {sizes} | {row['tier']} |"
            )


def main() -> None:
    """Run what is left, and print the tables."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--sessions", type=int, default=5, help="planted recordings of each code")
    asking.add_argument("--seeds", type=int, default=8, help="report seeds")
    asking.add_argument("--minutes", type=float, default=8, help="of each recording")
    asking.add_argument("--steps", type=int, default=STUDENT["steps"])
    asking.add_argument(
        "--trials", type=int, default=40, help="of the search for the least network"
    )
    asked = asking.parse_args()
    found = {
        code: {name: found_by(study) for name, study in studies(code, asked).items()}
        for code in CODES
    }
    head = (
        "code | network | CCA [95 %] | goal | reached | minus the full linear readout | untrained "
        "| I/E of currents by state | Hz, in band | tier"
    )
    print(f"| {head} |\n|{'---|' * (head.count('|') + 1)}")
    for code in CODES:
        for row in rows(code, found[code]):
            print(f"| {' | '.join(row)} |")
    print()
    print_costs(found)
    print()
    print_least(found)


if __name__ == "__main__":
    main()
