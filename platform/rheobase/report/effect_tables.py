"""A run's effects as tables: for the terminal and for papers, as CSV, Parquet and LaTeX."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rheobase.core.artifacts import whole_file
from rheobase.report.tables import arrow_table, flat_row
from rheobase.report.words import names_by_note
from rheobase.study.ranking.effect_table import Effects
from rheobase.study.ranking.effects import Equivalence

SHOWN = ("effect", "kind", "mean", "95 % interval", "IQM", "HL", "d_z", "P(up)", "p", "p Holm",
         "same", "n")  # fmt: skip
ROOMY = 110  # columns of a terminal
ROOMY_ONLY = ("IQM", "HL", "P(up)")
LATEX = str.maketrans(
    {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
     "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)  # fmt: skip
LATEX_NAMES = {"d_z": "$d_z$", "p": "$p$", "p Holm": "$p_\\mathrm{Holm}$", "n": "$n$",
               "P(up)": "$P(\\uparrow)$", "same": "$p_\\mathrm{same}$"}  # fmt: skip


def effect_rows(effects: Effects) -> list[dict[str, Any]]:
    """Return a row for each effect with one scalar a column, the same columns in each."""
    fields = [*Equivalence.model_fields]
    rows = []
    for one in effects.rows:
        row = one.model_dump(mode="json")
        row["ci95_low"], row["ci95_high"] = row.pop("ci95") or (None, None)
        same = row.pop("equivalence") or dict.fromkeys(fields)
        same["ci90_low"], same["ci90_high"] = same.pop("ci90") or (None, None)
        row["other_targets"] = json.dumps(row["other_targets"])  # as many keys as arms
        told = {"study": effects.study, "measure": effects.measure}
        rows.append(told | flat_row(row) | flat_row({"equivalence": same}))
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def write_csv(effects: Effects, path: Path) -> None:
    """Write every number of every effect as CSV, whole or not at all."""
    rows = effect_rows(effects)
    with whole_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["study", "measure", "name"])
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(effects: Effects, path: Path) -> None:
    """Write every number of every effect as Parquet, whole or not at all."""
    with whole_file(path) as partial:
        pq.write_table(arrow_table(effect_rows(effects)), partial)


def write_latex(effects: Effects, path: Path) -> None:
    """Write the rounded table as a LaTeX tabular of the package booktabs."""
    with whole_file(path) as partial:
        partial.write_text(latex(effects))


def latex(effects: Effects) -> str:
    """Return the rounded table as a LaTeX tabular of the package booktabs."""
    head = " & ".join(LATEX_NAMES.get(name, name.translate(LATEX)) for name in SHOWN)
    body = [
        " & ".join(cell.translate(LATEX).replace("-", "$-$") if at > 1 else cell.translate(LATEX)
                   for at, cell in enumerate(cells))
        for cells in _cells(effects)
    ]  # fmt: skip
    lines = [
        f"% {effects.study}: {effects.design}, {effects.measure}; p Holm over "
        f"{effects.num_hypotheses} hypotheses",
        r"\begin{tabular}{ll" + "r" * (len(SHOWN) - 2) + "}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
        *(rf"{line} \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def effects_table(effects: Effects, width: int = 80) -> Group:
    """Return the rounded table for a terminal so wide, and below it what numbers do not say.

    Where there is little room, other means than the mean are left out.
    """
    table = Table(
        title=f"{effects.study}: {effects.design}, {effects.measure}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
        pad_edge=False,
    )
    shown = [name for name in SHOWN if width >= ROOMY or name not in ROOMY_ONLY]
    for name in shown:
        is_text = name in ("effect", "kind")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=name != "effect")
    for cells in _cells(effects):
        table.add_row(*(cell for name, cell in zip(SHOWN, cells, strict=True) if name in shown))
    return Group(table, Text(), *(Text(line) for line in told(effects)))


def page_rows(effects: Effects) -> list[list[str]]:
    """Return the rounded table for a page: its head, then a row for each effect."""
    return [[*SHOWN], *_cells(effects)]


def _cells(effects: Effects) -> Iterator[list[str]]:
    for one in effects.rows:
        interval = "-" if one.ci95 is None else f"{one.ci95[0]:+.3f} to {one.ci95[1]:+.3f}"
        same = one.equivalence
        p_same = None if same is None else same.p if same.p_holm is None else same.p_holm
        yield [
            one.name,
            one.kind,
            _signed(one.mean),
            interval,
            _signed(one.interquartile_mean),
            _signed(one.hodges_lehmann),
            "-" if one.d_z is None else f"{one.d_z:+.2f}",
            _number(one.probability_of_improvement, ".2f"),
            _number(one.p_sign_flip, ".2g"),
            _number(one.p_holm, ".2g"),
            _number(p_same, ".2g") + ("*" if same and same.is_equivalent else ""),
            str(one.num_units),
        ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _signed(value: float | None) -> str:
    return _number(value, "+.3f")


def told(effects: Effects) -> list[str]:
    """Return in sentences the family, what is equivalent, aliases, notes and what is missing."""
    lines = [f"p Holm: corrected over {effects.num_hypotheses} hypotheses"]
    if effects.margin is None:
        lines.append(f"same: no difference of {effects.measure} needs a margin; give --margin")
    else:
        lines.append(
            f"same: p that an effect lies within +-{effects.margin:g}, corrected alike; * where "
            "it does"
        )
    if effects.interactions:
        lines.append(
            "interaction: half the difference of one factor's effect where the other is lifted and "
            "kept; twice it is by how much both together differ from the sum of their costs"
        )
    lines += [f"{one.name} is confounded with {', '.join(one.aliases)}"
              for one in effects.rows if one.aliases]  # fmt: skip
    for note, names in names_by_note((one.name, one.notes) for one in effects.rows).items():
        is_of_all = len(names) == len(effects.rows)
        lines.append(note if is_of_all else f"{', '.join(names)}: {note}")
    for one in effects.rows:
        if one.decoded:
            of = ", ".join(f"{probe} {found.mean:+.3f}" for probe, found in one.decoded.items())
            lines.append(f"{one.name}: of what is decoded, which depends on no target: {of}")
    lines += effects.notes
    for lacks in effects.missing:
        seeds = ", ".join(f"{seed} of {session}" for seed, session in lacks.runs[:3])
        more = f" and {len(lacks.runs) - 3} more" if len(lacks.runs) > 3 else ""
        lines.append(f"missing of {lacks.arm}: {seeds or 'every seed'}{more}: {lacks.why}")
    if effects.command:
        lines.append(f"run what is missing: {effects.command}")
    return lines


WRITERS: Mapping[str, Any] = {"csv": write_csv, "parquet": write_parquet, "latex": write_latex}
"""By the option of ``rheobase compare`` that names the file."""
