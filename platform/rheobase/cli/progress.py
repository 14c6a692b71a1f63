"""What a running study says, line by line."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.text import Text

from rheobase.cli.terminal import log
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.listener import Listener
from rheobase.study.records.result import STAGES, TrialRecord, TrialRequest

SHORT = 8  # letters of a trial's id that are shown; commands take any that are unique
QUIET_S = 5.0  # between two lines of progress where they cannot replace one another


class Terminal:
    """Tells the terminal and TensorBoard what a study does."""

    def __init__(self, others: list[Listener], spec: StudySpec) -> None:
        self._others = others
        self._spec = spec
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
            self.show_teacher(step, num_steps, self._unsaid)
        elif time.monotonic() - self._said_s >= QUIET_S:
            self._say_line()
        for other in self._others:
            other.teacher_progress(step, num_steps, values)

    def show_teacher(self, step: int, num_steps: int, line: str) -> None:
        """Replace the line of the teacher's progress in a terminal."""
        width = log.width - 1
        log.print(line[:width].ljust(width), end="\r", markup=False, highlight=False, no_wrap=True)

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
        log.print(self._line_of(record), soft_wrap=True, highlight=False)
        for other in self._others:
            other.trial_ended(record)

    def _line_of(self, record: TrialRecord) -> Text:
        """Return what a trial came to: outcome, CCA, rate, time, and the id that finds it again."""
        from rheobase.report.tables import TIER_STYLE
        from rheobase.study.ranking.rank import trial_row

        request = record.request
        line = Text(f"  {STAGES[request.stage]} {request.number:>3} {request.arm:<12} ")
        if record.result is not None:
            row = trial_row(self._spec, record)
            line.append(f"{row.tier:<10}", style=TIER_STYLE[row.tier])
            line.append(f"  cca {row.cca_heldout.mean:.3f} (untrained {row.untrained:.3f})")
            if row.rate_hz.mean is not None and row.rate_hz.in_band is not None:
                line.append(f"  {row.rate_hz.mean:.1f} Hz, {row.rate_hz.in_band:.0%} in band")
            line.append(f"  {record.result.wall_s:.0f} s  {request.trial_id[:SHORT]}")
            if row.why:
                line.append(f"  {row.why[0]}", style="dim")
            return line
        line.append(f"{record.status:<10}", style="red" if record.status == "failed" else "dim")
        line.append(f"  {request.trial_id[:SHORT]}  {record.error or ''}")
        return line
