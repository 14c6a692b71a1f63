"""What commands print: JSON alone on stdout, all else for people on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from rheobase.core.errors import RheobaseError
from rheobase.study.listener import Listener
from rheobase.study.result import TrialRecord, TrialRequest

log = Console(stderr=True)


def print_error(error: RheobaseError) -> None:
    """Print an error in one line, its kind first."""
    log.print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print JSON on stdout; NaN is refused."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


class Terminal:
    """Tells the terminal and TensorBoard what a study does."""

    def __init__(self, others: list[Listener]) -> None:
        self._others = others
        self._done = 0

    def stage(self, name: str, detail: str) -> None:
        """Print the stage."""
        log.print(f"[bold]{name}[/bold] {detail}", soft_wrap=True)
        for other in self._others:
            other.stage(name, detail)

    def trial_started(self, request: TrialRequest) -> None:
        """Pass a start on."""
        for other in self._others:
            other.trial_started(request)

    def trial_progress(self, trial_id: str, step: int, values: Mapping[str, float]) -> None:
        """Pass progress on."""
        for other in self._others:
            other.trial_progress(trial_id, step, values)

    def trial_ended(self, record: TrialRecord) -> None:
        """Print one line for a trial."""
        self._done += 1
        request = record.request
        line = f"  {request.stage} {request.number:>3} {request.arm:<12} {record.status}"
        if record.result is not None:
            found = record.result.replicates
            cca = sum(r.cca_heldout for r in found) / len(found)
            untrained = sum(r.untrained for r in found) / len(found)
            line += f"  cca {cca:.3f} (untrained {untrained:.3f})  {record.result.wall_s:.0f} s"
        log.print(line + (f"  {record.error}" if record.error else ""), markup=False)
        for other in self._others:
            other.trial_ended(record)
