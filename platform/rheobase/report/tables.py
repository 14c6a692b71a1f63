"""The ranking as tables: for the terminal, and as JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from rheobase.core.artifacts import whole_file, write_json

TIER_STYLE = {"passed": "green", "feasible": "cyan", "infeasible": "yellow", "failed": "red"}


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the ranking with one scalar a column, nested names joined by dots.

    Lists become JSON text, so that the same study always gives the same columns.
    """
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key == "cca_heldout":
            low, high = value["ci95"] or (None, None)
            flat |= {"cca_heldout": value["mean"], "cca_ci95_low": low, "cca_ci95_high": high}
            flat["cca_per_seed"] = json.dumps(value["per_seed"])
        elif isinstance(value, Mapping):
            flat |= {f"{key}.{name}": inner for name, inner in flat_row(value).items()}
        elif isinstance(value, list | tuple):
            flat[key] = json.dumps(value)
        else:
            flat[key] = value
    return flat


def flat_rows(ranking: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all rows, the search's first, each with every column; None where it has no value."""
    rows = [flat_row(row) for row in [*ranking["trials"], *ranking["confirmed"]]]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def write_tables(ranking: Mapping[str, Any], folder: Path) -> None:
    """Write ``ranking.json``, ``ranking.csv`` and ``ranking.parquet``, each whole or not at all.

    Parameters
    ----------
    ranking
        What `rank_study` returned.
    folder
        The run's.
    """
    write_json(folder / "ranking.json", ranking)
    rows = flat_rows(ranking)
    with whole_file(folder / "ranking.csv") as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["trial_id"])
        writer.writeheader()
        writer.writerows(rows)
    with whole_file(folder / "ranking.parquet") as partial:
        pq.write_table(pa.Table.from_pylist([_typed(row) for row in rows]), partial)


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    # A searched setting may be 1 in one trial and 0.5 in another: a column has one type.
    return {
        name: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in row.items()
    }


def ranking_table(ranking: Mapping[str, Any]) -> Table:
    """Return the ranking for a terminal: every CCA beside its nulls, and what is firing."""
    table = Table(
        title=f"{ranking['study']}: held-out CCA, on the search's seeds and then on the report's",
        caption="; ".join(ranking["notes"]) or None,
        header_style="bold",
    )
    for name in ("rank", "tier", "arm", "trial"):
        table.add_column(name, no_wrap=True)
    for name in (
        "CCA", "ci95", "untrained", "gain", "closed", "linear", "shift", "clock", "Hz", "in band",
    ):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for rows in (ranking["trials"], ranking["confirmed"]):
        for row in rows:
            table.add_row(*_cells(row), style=None)
        table.add_section()
    return table


def _cells(row: Mapping[str, Any]) -> list[str]:
    ci95 = row["cca_heldout"]["ci95"]
    style = TIER_STYLE[row["tier"]]
    arm = row["arm"] if row["stage"] == "report" else "search"
    return [
        str(row["rank"]),
        f"[{style}]{row['tier']}[/{style}]",
        arm,
        row["trial_id"],
        number(row["cca_heldout"]["mean"]),
        f"{ci95[0]:.3f}..{ci95[1]:.3f}" if ci95 else "-",
        *(
            number(row[name])
            for name in (
                "untrained", "gain", "closed", "linear_readout", "null_shift_q95", "null_clock_q95"
            )
        ),
        number(row["rate_hz"]["mean"], 1),
        number(row["rate_hz"]["in_band"], 2),
    ]  # fmt: skip


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people; a dash where there is none.

    Examples
    --------
    >>> number(0.91234), number(None)
    ('0.912', '-')
    """
    return "-" if value is None else f"{value:.{digits}f}"
