"""How much of an unseen session a teacher's read-in needs, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.table import Table

from rheobase.report.teacher_figures import words

Report = Mapping[str, Any]


def adaptation_table(report: Report) -> Table:
    """Return a row for each code of an adaptation, a column for each held-out score."""
    table = Table(
        title=f"{report['session']}: read-in fitted to a teacher of "
        f"{len(report['trained_on'])} other sessions",
        box=box.SIMPLE,
    )
    rows = list(_scores(report))
    table.add_column("fitted on")
    for name, _ in rows:
        table.add_column(name, justify="right")
    for code in report["codes"]:
        cells = [_cell(row.get(code)) for _, row in rows]
        table.add_row(
            f"{code} ({report['train_minutes']:.1f} min)" if code == "all" else code, *cells
        )
    return table


def enough_told(report: Report) -> str:
    """Return in a sentence how much of the session is enough."""
    least, whole = report["enough_minutes"], report["train_minutes"]
    told = f"95 % of the {words(report['judged_by'])} of all {whole:.1f} min of train"
    return f"With {least:g} min: {told}." if least < whole else f"No amount tried gives {told}."


def _scores(report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for row in report["true_latents_r2"] or []:
        if row["latent"] == "mean":
            yield "R² of true latents", row
    for row in report["future_counts_r2"][:1]:
        yield f"R² of counts in {row['horizon_ms']:g} ms", row
    for row in report["probes"]:
        if any(row[code] is not None for code in report["codes"]):
            yield words(row["target"]), row


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
