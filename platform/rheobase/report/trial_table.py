"""The table of trials on the page: its columns, and what stands in each cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rheobase.report.tables import number, outcome, setting, short_name
from rheobase.report.words import reasons
from rheobase.study.ranking.ranking import RankedTrial
from rheobase.study.records.result import TrialRecord


class Column(NamedTuple):
    """A column: its heading, what it is, and whether it is shown unasked."""

    label: str
    told: str
    is_shown: bool = False
    is_text: bool = False


class Cell(NamedTuple):
    """What a cell shows, and what it is sorted by."""

    text: str
    value: float | str


class TrialTable(NamedTuple):
    """Columns and rows; each row with the trial's id, outcome and arm."""

    columns: list[Column]
    rows: list[tuple[str, str, str, list[Cell]]]


Read = Callable[[RankedTrial], float | None]
NUMBERS: Mapping[str, tuple[Column, Read, int]] = {
    "cca": (Column("CCA", "Held-out CCA; in italics: in training, when it was stopped", True),
            lambda row: row.cca_heldout.mean, 3),
    "gain": (Column("gain", "CCA minus that of the same network untrained", True),
             lambda row: row.gain, 3),
    "hz": (Column("Hz", "Mean firing rate", True), lambda row: row.rate_hz.mean, 1),
    "in_band": (Column("in band", "Share of neurons inside the required band", True),
                lambda row: row.rate_hz.in_band, 2),
    "untrained": (Column("untrained", "CCA before training"), lambda row: row.untrained, 3),
    "linear": (Column("linear", "CCA of the best linear map of past counts", True),
               lambda row: row.linear_readout, 3),
    "shift": (Column("shift null", "95 % quantile"), lambda row: row.null_shift_q95, 3),
    "clock": (Column("clock null", "95 % quantile"), lambda row: row.null_clock_q95, 3),
    "session": (Column("session null", "95 % quantile"), lambda row: row.null_session_q95, 3),
    "drift": (Column("drift", "CCA of functions of time and state"), lambda r: r.null_drift, 3),
    "closed": (Column("closed", "Share of what the untrained network left"),
               lambda row: row.closed, 2),
    "cross": (Column("across states", "CCA fitted in one state, scored in another"),
              lambda row: row.cca_cross_state, 3),
    "within": (Column("within states", "CCA fitted and scored in the same state"),
               lambda row: row.cca_within_state, 3),
    "all_dims": (Column("all dims", "CCA over all of the teacher's dimensions"),
                 lambda row: row.cca_all_dims, 3),
    "procrustes": (Column("Procrustes", "Distance of the shapes"), lambda r: r.procrustes, 3),
    "silent": (Column("silent", "Share of neurons"), lambda row: row.rate_hz.silent, 2),
    "cv_isi": (Column("CV ISI", "Regularity of firing"), lambda row: row.cv_isi, 2),
    "ei": (Column("I/E", "Inhibitory over excitatory current, input included"),
           lambda row: row.ei_current_balance.after, 2),
    "ei_before": (Column("I/E untrained", "The same before training"),
                  lambda row: row.ei_current_balance.before, 2),
    "recurrent": (Column("recurrent", "Share of synaptic current that is the network's own"),
                  lambda row: row.recurrent_share, 2),
    "violation": (Column("violation", "Sum beyond the limits"), lambda row: row.violation, 3),
    "wall": (Column("seconds", "Time the trial took"), lambda row: row.wall_s, 0),
}  # fmt: skip


def trial_table(
    rows: Sequence[RankedTrial], records: Sequence[TrialRecord], with_arms: bool
) -> TrialTable:
    """Return the table of a stage; settings that vary stand right after the outcome."""
    settings = list(dict.fromkeys(name for row in rows for name in row.params))
    interim = {record.request.trial_id: _interim(record) for record in records}
    columns = [Column("rank", "Place among the trials of this stage", True)]
    if with_arms:
        columns.append(Column("arm", "What the ablation changes", True, True))
    columns += [
        Column("tier", "How it ended", True, True),
        *(Column(short_name(name).replace("_", " "), name, True) for name in settings),
        NUMBERS["cca"][0],
        Column("95 % interval", "Of CCA", True),
        *(column for key, (column, _, _) in NUMBERS.items() if key != "cca"),
        Column("trial", "Its id; commands take the first letters", True, True),
        Column("why", "What does not hold, or why there are no numbers", True, True),
    ]
    found = []
    for row in rows:
        cells = [Cell(str(row.rank), row.rank or 0)]
        if with_arms:
            cells.append(Cell(row.arm, row.arm))
        cells.append(Cell(outcome(row), outcome(row)))
        cells += [_setting(row.params.get(name)) for name in settings]
        for key, (_, read, digits) in NUMBERS.items():
            value = read(row)
            text = number(value, digits)
            last = interim.get(row.trial_id)
            if key == "cca" and value is None and last is not None:
                value, text = last, f"{last:.3f}*"
            cells.append(Cell(text, "" if value is None else value))
            if key == "cca":
                ci95 = row.cca_heldout.ci95
                interval = f"{ci95[0]:.3f} – {ci95[1]:.3f}" if ci95 else "-"
                cells.append(Cell(interval, ci95[0] if ci95 else ""))
        cells += [Cell(row.trial_id[:8], row.trial_id), Cell(reasons(row), reasons(row))]
        found.append((row.trial_id, outcome(row), row.arm, cells))
    return TrialTable(columns, found)


def _setting(value: Any) -> Cell:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(setting(value), setting(value))
    return Cell(setting(value), float(value))


def _interim(record: TrialRecord) -> float | None:
    """Return held-out CCA at the last report of a trial's training."""
    seen = [*record.curve("cca_heldout").values()]
    return seen[-1] if seen else None


def csv_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV with the columns of all of them; an empty string of none."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    page = io.StringIO()
    writer = csv.DictWriter(page, columns, lineterminator="\n")
    if columns:
        writer.writeheader()
        writer.writerows(rows)
    return page.getvalue()
