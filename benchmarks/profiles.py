"""Where the CPU time of an ingest, a teacher, a trial and a report goes.

Run: ``PYTHONPATH=platform OMP_NUM_THREADS=1 python benchmarks/profiles.py RUN``. RUN is a finished
run of studies/quickstart.toml, whose report is written again; the other three are of its sizes.
Each runs once in a fresh process on one thread. Prints tables in Markdown, and keeps of each what
`python -m pstats` and snakeviz read, in the folder of ``--keep``.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from plan import PHASES

from rheobase.study.file.spec import dump_study, load_study, parse_study

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "platform" / "rheobase"
STAGES = (*PHASES, "report")
NUM_LINES = 10


def profiled(stage: str, run: Path, folder: Path) -> cProfile.Profile:
    """Return the profile of one stage in this process, by CPU time."""
    from rheobase.report.html import write_report

    spec = parse_study(json.loads((folder / "study.json").read_text()))
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    if stage == "report":
        write_report(run, folder / "report")
    else:
        PHASES[stage](spec, folder)
    profile.disable()
    return profile


def place(file: str, name: str) -> str:
    """Return where a function is: a path below the package, or the library that holds it."""
    path = Path(file)
    if path.is_relative_to(PACKAGE):
        return f"{path.relative_to(PACKAGE)}: {name}"
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1]
    return "Python" if path.suffix == ".py" else f"built in: {name}"


def print_table(stage: str, path: Path) -> None:
    """Print the functions in which a stage spends most time of their own."""
    found = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    own: Counter[str] = Counter()
    for (file, _, name), (_, _, spent_s, _, _) in found.items():
        own[place(file, name)] += spent_s
    whole = sum(own.values())
    print(f"\n### {stage}: {whole:.1f} s of CPU, with imports\n\n| where | share |\n|---|---|")
    for where, spent_s in own.most_common(NUM_LINES):
        print(f"| `{where}` | {spent_s / whole:.0%} |", flush=True)


def main() -> None:
    """Print the tables."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("run", type=Path, nargs="?", default=ROOT / "runs/studies/quickstart")
    given.add_argument("--keep", type=Path, help="folder for the profiles themselves")
    given.add_argument("--once", nargs=2, metavar=("STAGE", "FOLDER"), help=argparse.SUPPRESS)
    asked = given.parse_args()
    if asked.once:
        stage, folder = asked.once[0], Path(asked.once[1])
        profiled(stage, asked.run, folder).dump_stats(folder / f"{stage}.prof")
        return
    if not (asked.run / "study.json").is_file():
        sys.exit(f"{asked.run} must be a finished run of studies/quickstart.toml; make study")
    study = dump_study(load_study(ROOT / "studies" / "quickstart.toml"))
    study["teacher"]["workers"] = 1
    study["search"] |= {"trials": 1, "generation": 1}
    study["seeds"]["report"] = []
    del study["ablation"]
    print("## Where the time goes")
    with tempfile.TemporaryDirectory(prefix="rheobase-bench-") as name:
        folder = Path(name)
        (folder / "study.json").write_text(json.dumps(study))
        for stage in STAGES:
            command = [sys.executable, "-W", "ignore", __file__, str(asked.run)]
            subprocess.run([*command, "--once", stage, name], check=True)
            print_table(stage, folder / f"{stage}.prof")
            if asked.keep:
                asked.keep.mkdir(parents=True, exist_ok=True)
                (folder / f"{stage}.prof").rename(asked.keep / f"{stage}.prof")


if __name__ == "__main__":
    main()
