"""What a running study shows in a terminal: one table that is kept up to date."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rheobase.cli.progress import Terminal
from rheobase.cli.terminal import log
from rheobase.report.tables import TIER_STYLE
from rheobase.study.file.ablation import arms_of, tuned_trials
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.rank import ranked, trial_row
from rheobase.study.ranking.ranking import MeasuredTrial, RankedTrial
from rheobase.study.records.listener import Listener
from rheobase.study.records.result import ENDED, STAGES, TrialRecord, TrialRequest

OUTCOMES = ("passed", "feasible", "infeasible", "pruned", "failed")
MOST_WORKERS = 6  # that are shown by name
REFRESHES_PER_S = 4


class LiveTerminal(Terminal):
    """Shows stage, progress, the best feasible trial, outcomes and workers, in one place.

    Lines of stages and trials go above it. Use it as a context: the table goes with its end.

    Parameters
    ----------
    others
        Who is told the same.
    spec
        The study.
    earlier
        Trials that have ended before, of a run that goes on.
    """

    def __init__(
        self, others: list[Listener], spec: StudySpec, earlier: Sequence[TrialRecord] = ()
    ) -> None:
        super().__init__(others, spec)
        self._rows: list[RankedTrial] = [
            trial_row(spec, record) for record in earlier if record.status in ENDED
        ]
        self._running: dict[str, tuple[TrialRequest, str]] = {}
        self._stage, self._detail = "begin", ""
        self._done, self._of, self._done_before = 0, 0, 0
        self._began_s = time.monotonic()
        self._live = Live(
            get_renderable=self.table,
            console=log,
            transient=True,
            refresh_per_second=REFRESHES_PER_S,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> LiveTerminal:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def stage(self, name: str, detail: str) -> None:
        """Begin to count anew."""
        super().stage(name, detail)
        self._stage, self._detail, self._began_s = name, detail, time.monotonic()
        done = sum(STAGES[row.stage] == name for row in self._rows)
        self._done = self._done_before = done
        most = {
            "search": self._spec.search.trials,
            "tuning": len(tuned_trials(self._spec)),
            "report": self._num_reported(),
        }
        self._of = most.get(name, 0)

    def _num_reported(self) -> int:
        return len(arms_of(self._spec)) + self._spec.search.confirm

    def show_teacher(self, step: int, num_steps: int, line: str) -> None:
        """Move the bar on."""
        self._done, self._of, self._detail = step, num_steps, line.strip()

    def trial_started(self, request: TrialRequest) -> None:
        """Show the trial among what runs."""
        self._running[request.trial_id] = (request, "begins")
        super().trial_started(request)

    def trial_progress(self, trial_id: str, step: int, values: Mapping[str, float]) -> None:
        """Show how far the trial is."""
        if trial_id in self._running:
            cca = values.get("cca_heldout")
            told = f"step {step}" + ("" if cca is None else f" cca {cca:.3f}")
            self._running[trial_id] = (self._running[trial_id][0], told)
        super().trial_progress(trial_id, step, values)

    def trial_ended(self, record: TrialRecord) -> None:
        """Count the trial, and print its line above the table."""
        self._running.pop(record.request.trial_id, None)
        self._rows.append(trial_row(self._spec, record))
        self._done += 1
        super().trial_ended(record)

    def table(self) -> Group:
        """Return what is shown now."""
        head = Table.grid(padding=(0, 1))
        of = f"{self._done} of {self._of}" if self._of else ""
        bar = ProgressBar(self._of, min(self._done, self._of), width=24) if self._of else ""
        head.add_row(
            Text(self._spec.name, style="bold"), Text(self._stage, style="cyan"), of, bar,
            Text(self._left()),
        )  # fmt: skip
        if self._stage in ("ingest", "pretrain"):
            return Group(head, Text(f"  {self._detail}", overflow="ellipsis", no_wrap=True))
        return Group(head, self._best(), self._ended(), self._workers())

    def _left(self) -> str:
        """Return how long the stage goes on as it went so far."""
        done = self._done - self._done_before
        if not done or self._done >= self._of:
            return ""
        left_s = (time.monotonic() - self._began_s) / done * (self._of - self._done)
        hours, rest_s = divmod(round(left_s), 3600)
        return f"about {hours}:{rest_s // 60:02d}:{rest_s % 60:02d} left"

    def _best(self) -> Text:
        searched = [row for row in self._rows if row.stage == "select"]
        best = next(iter(ranked(searched)), None)
        if not isinstance(best, MeasuredTrial) or not best.is_feasible:
            return Text("  best feasible: none yet")
        rates = best.rate_hz
        told = Text.assemble(
            f"  best feasible: cca {best.cca_heldout.mean:.3f} ",
            (best.tier, TIER_STYLE[best.tier]),
            f" number {best.number} ({best.trial_id[:8]})",
        )
        if rates.mean is not None and rates.in_band is not None:
            told.append(f", {rates.mean:.1f} Hz, {rates.in_band:.0%} in band")
        return told

    def _ended(self) -> Text:
        found = Counter("pruned" if r.status == "pruned" else r.tier for r in self._rows)
        told = Text("  ended:")
        for name in OUTCOMES:
            told.append(f"  {found[name]} ")
            told.append(name, style=TIER_STYLE.get(name, "dim") if found[name] else "dim")
        return told

    def _workers(self) -> Text:
        running = [
            f"{request.number if request.stage == 'select' else request.arm} {told}"
            for request, told in list(self._running.values())[:MOST_WORKERS]
        ]
        more = len(self._running) - len(running)
        shown = " · ".join(running) + (f" · {more} more" if more else "")
        return Text(f"  running: {shown or 'none'}", overflow="ellipsis", no_wrap=True)
