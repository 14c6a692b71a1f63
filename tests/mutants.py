"""Break measures, shards and ranking one line at a time, and tell what share the tests notice.

Each mutant is one small change (a + to a -, < to <=, an argument to None) to a copy of the package
under .mutants/, against which mutmut runs the tests of the three rooms that call the function.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOX = ROOT / ".mutants"
MUTMUT = Path(sys.executable).parent / "mutmut"
ROOMS = {"measures": "measures", "shards": "shards", "study/ranking": "study.ranking"}
ANY_MUTANT = "rheobase.measures.firing.x_firing_rates__mutmut_1"
CONFIG = """
[tool.pytest.ini_options]
addopts = "--import-mode=importlib -p no:cacheprovider"
pythonpath = ["tests"]
filterwarnings = {warnings}
markers = {markers}
timeout = 600

[tool.mutmut]
source_paths = ["src"]
only_mutate = {rooms}
pytest_add_cli_args = ["--hypothesis-seed=0"]
pytest_add_cli_args_test_selection = {tests}
do_not_mutate_patterns = {messages}
timeout_constant = 10.0
use_git_change_detection = false
"""
# What is told to people may be worded in many ways: lines that raise, note, or hold text alone.
MESSAGES = [r"^\s*raise ", r"notes\.append\(", r"^\s*note = ", r'^\s*f?"[^"]*"$']


def make_box():
    """Copy the package and its tests to where mutmut may change them."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    shutil.rmtree(BOX, ignore_errors=True)
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "platform" / "rheobase", BOX / "src" / "rheobase", ignore=left_out)
    shutil.copytree(ROOT / "tests", BOX / "tests", ignore=left_out)
    lists = {
        "warnings": options["filterwarnings"],
        "markers": options["markers"],
        "rooms": [f"src/rheobase/{room}/*" for room in ROOMS],
        "tests": [f"tests/{room}" for room in ROOMS],
        "messages": MESSAGES,
    }
    # A list of strings is the same in JSON and in TOML.
    config = CONFIG.format(**{name: json.dumps(values) for name, values in lists.items()})
    (BOX / "pyproject.toml").write_text(config)


def mutmut(*words):
    """Run mutmut in the box; what it prints is kept in its log, and told where it fails."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [MUTMUT, *words],
        cwd=BOX,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout[-3000:]}\nmutmut must end well, but exited {done.returncode}")
    return done.stdout


def outcomes():
    """Return what became of each mutant, by its name."""
    lines = (
        line.strip().rpartition(": ") for line in mutmut("results", "--all", "true").split("\n")
    )
    return {name: status for name, _, status in lines if "__mutmut_" in name}


def room_of(name):
    return next(room for room, module in ROOMS.items() if name.startswith(f"rheobase.{module}."))


def tell(where, statuses):
    counts = Counter(statuses)
    noticed, num = counts["killed"] + counts["timeout"], len(statuses)
    print(
        f"{where}: {noticed} of {num} noticed ({noticed / num:.0%}), {counts['timeout']} of them "
        f"by running too long; {counts['survived']} survived, {counts['no tests']} are in "
        "functions that no test of these rooms calls"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", default="2000", help="how many mutants to draw, or all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    make_box()
    workers = f"--max-children={chosen.workers}"
    mutmut("run", workers, ANY_MUTANT)  # makes every mutant, and learns which test calls what
    every = sorted(outcomes())
    drawn = every
    if chosen.sample != "all":
        drawn = random.Random(chosen.seed).sample(every, min(int(chosen.sample), len(every)))
    mutmut("run", workers, *(drawn if len(drawn) < len(every) else []))
    found = {name: status for name, status in outcomes().items() if name in set(drawn)}
    unnoticed = sorted(
        f"{name}: {s}" for name, s in found.items() if s not in ("killed", "timeout")
    )
    (BOX / "unnoticed.txt").write_text("\n".join(unnoticed) + "\n")
    for room in ROOMS:
        tell(room, [status for name, status in found.items() if room_of(name) == room])
    tell(
        f"together, {len(drawn)} of {len(every)} mutants, drawn by seed {chosen.seed}",
        found.values(),
    )
    print("see .mutants/unnoticed.txt; one of them: (cd .mutants && ../.venv/bin/mutmut show NAME)")


if __name__ == "__main__":
    main()
