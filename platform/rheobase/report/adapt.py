"""How much of an unseen session a teacher's read-in needs, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from rheobase.report.teacher_figures import words

Report = Mapping[str, Any]


def adaptation_table(report: Report) -> Table:
    """Return a row for each code of an adaptation, a column for each held-out score."""
    num = len(report["trained_on"])
    table = Table(
        title=f"{report['session']}: read-in fitted to a teacher of "
        f"{num} other session{'s' if num > 1 else ''}",
        box=None,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    rows = list(_scores(report))
    table.add_column("fitted on", no_wrap=True)
    for name, _ in rows:
        table.add_column(name, justify="right")
    for code in report["codes"]:
        cells = [_cell(row.get(code)) for _, row in rows]
        amount = f" ({report['train_minutes']:.1f} min)" if code == "all" else ""
        table.add_row(words(code) + amount, *cells)
    return table


def enough_told(report: Report) -> str:
    """Return in a sentence how much of the session is enough."""
    least, whole = report["enough_minutes"], report["train_minutes"]
    what = {"true_latents_r2": "true latents", "future_counts_r2": "future counts"}
    told = f"95 % of the R² of {what[report['judged_by']]} that all {whole:.1f} min of train give"
    return f"With {least:g} min: {told}." if least < whole else f"No amount tried gives {told}."


def _scores(report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for row in report["true_latents_r2"] or []:
        if row["latent"] == "mean":
            yield "truth R²", row
    for row in report["future_counts_r2"][:1]:
        yield f"counts in {row['horizon_ms']:g} ms R²", row
    for row in report["probes"]:
        if any(row[code] is not None for code in report["codes"]):
            yield words(row["target"]), row


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
