"""What commands print: JSON alone on stdout, all else for people on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from rheobase.study.records.listener import Listener
from rheobase.study.records.result import TrialRecord, TrialRequest

log = Console(stderr=True)
QUIET_S = 5.0  # between two lines of progress where they cannot replace one another


def print_error(error: Exception) -> None:
    """Print an error in one line, its kind first; also where all else is quiet."""
    say_error(f"{type(error).__name__}: {error}")


def say_error(line: str) -> None:
    """Print one line of an error."""
    Console(stderr=True).print(line, style="red", markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print JSON on stdout; NaN is refused."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


class Terminal:
    """Tells the terminal and TensorBoard what a study does."""

    def __init__(self, others: list[Listener]) -> None:
        self._others = others
        self._done = 0
        self._said_s = time.monotonic()
        self._unsaid = ""

    def stage(self, name: str, detail: str) -> None:
        """Print the stage."""
        log.print(f"[bold]{name}[/bold] {detail}", soft_wrap=True)
        self._said_s = time.monotonic()
        for other in self._others:
            other.stage(name, detail)

    def teacher_progress(self, step: int, num_steps: int, values: Mapping[str, float]) -> None:
        """Replace the line of the teacher's progress; where that cannot be, add one now and then.

        A terminal that is not one gets a line every `QUIET_S` at most.
        """
        scalars = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._unsaid = f"  teacher {step:>{len(str(num_steps))}}/{num_steps}  {scalars}"
        if log.is_terminal:
            width = log.width - 1
            line = self._unsaid[:width].ljust(width)
            log.print(line, end="\r", markup=False, highlight=False, no_wrap=True)
        elif time.monotonic() - self._said_s >= QUIET_S:
            self._say_line()
        for other in self._others:
            other.teacher_progress(step, num_steps, values)

    def teacher_ended(self) -> None:
        """Leave the last line of the teacher's progress where it is."""
        if self._unsaid:
            self._say_line()
        for other in self._others:
            other.teacher_ended()

    def _say_line(self) -> None:
        log.print(self._unsaid, markup=False, highlight=False, soft_wrap=True)
        self._said_s, self._unsaid = time.monotonic(), ""

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
            replicates = record.result.replicates
            cca = sum(r.cca_heldout for r in replicates) / len(replicates)
            untrained = sum(r.untrained for r in replicates) / len(replicates)
            line += f"  cca {cca:.3f} (untrained {untrained:.3f})  {record.result.wall_s:.0f} s"
        log.print(line + (f"  {record.error}" if record.error else ""), markup=False)
        for other in self._others:
            other.trial_ended(record)
