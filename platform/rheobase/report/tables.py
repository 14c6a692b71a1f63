"""The ranking as tables: for the terminal, and as JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rheobase.core.artifacts import whole_file, write_json
from rheobase.study.ranking.ranking import LeastNetwork, Optimism, ParetoFront, RankedTrial, Ranking
from rheobase.study.run_folder import RunFolder

DIGITS = dict.fromkeys(
    ("cca_heldout", "cca_within_state", "cca_cross_state", "state_cost", "rate_error",
     "rate_change", "ei_error"), 3
)  # fmt: skip
"""Of objectives; the others are counts."""
SHORT = 8  # letters of a trial's id where there is little room; commands take them
MOST_ROWS = 100  # of a search in a terminal; files hold all
WIDTH = 72  # of the search's table without settings
TIER_STYLE = {"passed": "green", "feasible": "cyan", "infeasible": "yellow", "failed": "red"}


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain JSON values with one scalar a column, nested names joined by dots.

    Lists become JSON text, so that the same study always gives the same columns. What a row says of
    single sessions is in the JSON alone.
    """
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key == "by_session":
            continue  # as many columns as sessions, which differ from study to study
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


def flat_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """Return all rows, the search's first, each with every column; None where it has no value."""
    rows = [flat_row(row.model_dump(mode="json")) for row in [*ranking.trials, *ranking.confirmed]]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def write_tables(ranking: Ranking, folder: Path) -> None:
    """Write ``ranking.json``, ``ranking.csv`` and ``ranking.parquet``, each whole or not at all.

    Parameters
    ----------
    ranking
        Of a study.
    folder
        The run's.
    """
    run = RunFolder(folder)
    write_json(run.ranking("json"), ranking.model_dump(mode="json"), indent=None)
    rows = flat_rows(ranking)
    with whole_file(run.ranking("csv")) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["trial_id"])
        writer.writeheader()
        writer.writerows(rows)
    with whole_file(run.ranking("parquet")) as partial:
        pq.write_table(arrow_table(rows), partial)


def arrow_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return flat rows as an Arrow table, each of which has every column."""
    # By way of JSON: from Python's values it would load pandas.
    if not rows:
        return pa.table({})
    rows = [_typed(row) for row in rows]
    texts = {name for row in rows for name, value in row.items() if isinstance(value, str)}
    as_text = pa.json.ParseOptions(explicit_schema=pa.schema([(name, "string") for name in texts]))
    lines = "\n".join(json.dumps(row) for row in rows)
    table = pa.json.read_json(pa.BufferReader(lines.encode()), parse_options=as_text)
    return table.select(list(rows[0]))


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    # A searched setting may be 1 in one trial and 0.5 in another: a column has one type.
    return {
        name: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in row.items()
    }


def ranking_table(ranking: Ranking, width: int = 80) -> Group:
    """Return the ranking for a terminal so wide: every CCA beside what it must beat.

    The searched settings are columns of the search's table, or a table below it where they do not
    fit. Of the search the first `MOST_ROWS` trials are shown.
    """
    settings = _searched(ranking)
    fits = WIDTH + sum(max(len(short_name(name)), 8) + 1 for name in settings) <= width
    first = ranking.trials[:MOST_ROWS]
    tables = [
        _table(f"{ranking.study}: search", first, "rank", settings if fits else ()),
        *([] if fits else [_settings_table(first, settings)]),
        _table("winner and arms on the report seeds", ranking.confirmed, "arm"),
    ]
    if ranking.pareto:
        tables.append(_front_table(ranking.pareto))
    if ranking.optimism:
        tables.append(_optimism_table(ranking.optimism))
    notes = [Text(sentence) for sentence in least_told(ranking.least)]
    if more := len(ranking.trials) - len(first):
        notes.append(Text(f"{more} trials of lower rank are not shown; ranking.csv holds them"))
    notes += [Text(note, style="dim") for note in ranking.notes]
    if stopped := ranking.stopped:
        saved = f", {stopped.steps_saved:.0%} of steps saved" if stopped.steps_saved else ""
        notes.append(
            Text(
                f"stopped early: {stopped.num_stopped} trials{saved}; of {stopped.num_audited} "
                f"run to their end {stopped.num_would_be_best} would have been best, "
                f"{stopped.num_would_pass} would have passed"
            )
        )
    shown = [part for table in tables if table.row_count for part in (table, Text())]
    return Group(*shown, *notes)


def outcome(row: RankedTrial) -> str:
    """Return a trial's tier; of one that was stopped early ``pruned``."""
    return "pruned" if row.status == "pruned" else row.tier


def least_told(least: LeastNetwork | None) -> list[str]:
    """Return in sentences the least network that passed on the report seeds, and the knee's fate.

    Parameters
    ----------
    least
        The ranking's; nothing is said of None, or before any trial ran there.
    """
    if least is None or not least.num_run:
        return []
    of = f"of {least.num_run} that were run there"
    if trial := least.trial:
        measured = ", ".join(
            f"{name} {number(mean, DIGITS.get(name, 0))}" for name, mean in trial.means.items()
        )
        sentences = [
            f"The least network that passed on the report seeds, {of}, is {trial.arm} "
            f"(trial {trial.of_trial} of the search): {measured}."
        ]
    else:
        sentences = [f"No network passed on the report seeds, {of}."]
    if knee := least.knee:
        fate = "was not run on the report seeds"
        if knee.tier:
            fate = f"is {knee.arm}; on the report seeds it is {knee.tier}"
        sentences.append(f"The search's knee, trial {knee.trial_id}, {fate}.")
    return sentences


def _empty_table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
        pad_edge=False,
    )


def _front_table(front: ParetoFront) -> Table:
    table = _empty_table("front of trials through the gate on the search's seeds; * is its knee")
    table.add_column("trial", no_wrap=True)
    for name in front.objectives:
        table.add_column(name, justify="right", no_wrap=True)
    for row in front.trials:
        mark = "*" if row.trial_id == front.knee else ""
        means = [number(row.value(name).mean, DIGITS.get(name, 0)) for name in front.objectives]
        table.add_row(row.trial_id + mark, *means)
    return table


def _optimism_table(rows: Sequence[Optimism]) -> Table:
    table = _empty_table("optimism: CCA of the search, on validation, minus the report's, on test")
    table.add_column("arm", no_wrap=True)
    for name in ("search", "report", "optimism", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        interval = "{:+.3f} to {:+.3f}".format(*row.ci95) if row.ci95 else "-"
        means = (number(row.select), number(row.report), f"{row.mean:+.3f}")
        table.add_row(row.arm, *means, interval)
    return table


def short_name(path: str) -> str:
    """Return a setting's name without the table it is in, which is the same for all."""
    return path.removeprefix("student.")


def setting(value: Any) -> str:
    """Return a setting's value for people; a dash where it was not set.

    Examples
    --------
    >>> setting(0.0012345), setting(64), setting("atan"), setting(None)
    ('0.00123', '64', 'atan', '-')
    """
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _searched(ranking: Ranking) -> list[str]:
    """Return the searched settings, in the order in which they were drawn."""
    return list(dict.fromkeys(name for row in ranking.trials for name in row.params))


def _settings_table(rows: Sequence[RankedTrial], settings: Sequence[str]) -> Table:
    table = _empty_table("settings of the search")
    for name in ("rank", "trial"):
        table.add_column(name, no_wrap=True)
    for name in settings:
        table.add_column(short_name(name), justify="right")
    for row in rows if settings else ():
        values = [setting(row.params.get(name)) for name in settings]
        table.add_row(str(row.rank), row.trial_id[:SHORT], *values)
    return table


def _table(
    title: str,
    rows: Sequence[RankedTrial],
    first: Literal["rank", "arm"],
    settings: Sequence[str] = (),
) -> Table:
    table = _empty_table(title)
    table.add_column(first, no_wrap=True)
    table.add_column("tier", no_wrap=True)
    table.add_column("trial", no_wrap=True)
    for name in ("CCA", "untr", "lin", "null", "Hz", "band"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in settings:
        table.add_column(short_name(name), justify="right", no_wrap=True)
    for row in rows:
        all_nulls = row.null_shift_q95, row.null_clock_q95, row.null_session_q95, row.null_drift
        nulls = [null for null in all_nulls if null is not None]
        table.add_row(
            str(row.rank if first == "rank" else row.arm),
            Text(outcome(row), style=TIER_STYLE[row.tier]),
            row.trial_id,
            number(row.cca_heldout.mean),
            number(row.untrained, 2),
            number(row.linear_readout, 2),
            number(max(nulls, default=None), 2),
            number(row.rate_hz.mean, 1),
            number(row.rate_hz.in_band, 2),
            *(setting(row.params.get(name)) for name in settings),
        )
    return table


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people; a dash where there is none.

    Examples
    --------
    >>> number(0.91234), number(None)
    ('0.912', '-')
    """
    return "-" if value is None else f"{value:.{digits}f}"
