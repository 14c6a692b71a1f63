"""Whole studies, each run in a process of its own, or what is left of it: what it found.

``RHEOBASE_HOME`` keeps sessions, teachers and runs, so that a benchmark goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def found_by(study: dict[str, Any], kernel: str | None = None) -> dict[str, Any]:
    """Return a study's ``ranking``, and under ``arms`` what they differ by from the baseline.

    Parameters
    ----------
    study
        As a study file holds it.
    kernel
        Of OpenBLAS; None leaves it to the machine.
    """
    env = os.environ | ({"OPENBLAS_CORETYPE": kernel} if kernel else {})
    words = [sys.executable, __file__, json.dumps(study)]
    told = subprocess.run(words, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(told)
    return found


def run_here(study: dict[str, Any]) -> None:
    """Run a study, or what is left of it, and print what `found_by` returns."""
    from rheobase.core.artifacts import home
    from rheobase.distributed.run import run_study
    from rheobase.study.file.spec import parse_study
    from rheobase.study.ranking.rank import rank_study
    from rheobase.study.ranking.statistics import compare_arms
    from rheobase.study.run_folder import RunFolder

    class Silent:
        def __getattr__(self, name: str) -> Any:
            return lambda *heard: None

    spec, folder = parse_study(study), home() / "studies" / study["name"]
    listener: Any = Silent()
    run_study(spec, folder, resume=True, address="local", listener=listener)
    records = RunFolder(folder).read_records()
    found = {
        "ranking": rank_study(spec, records).model_dump(mode="json"),
        "arms": [one.model_dump(mode="json") for one in compare_arms(spec, records)]
        if spec.ablation
        else [],
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    run_here(json.loads(sys.argv[1]))
