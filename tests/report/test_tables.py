import csv
import io
import json

import pyarrow.parquet as pq
from rich.console import Console

from rheobase.cli.results import ranking_of
from rheobase.report import tables
from rheobase.report.tables import flat_rows, ranking_table, setting, write_tables


def shown(ranking, width=80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(ranking_table(ranking, width))
    return console.file.getvalue()


def test_the_three_files_hold_the_same_trials(small_run, tmp_path):
    ranking = ranking_of(small_run)
    write_tables(ranking, tmp_path)
    assert json.loads((tmp_path / "ranking.json").read_text()) == ranking.model_dump(mode="json")
    with (tmp_path / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "ranking.parquet")
    ids = [row.trial_id for row in [*ranking.trials, *ranking.confirmed]]
    assert [row["trial_id"] for row in rows] == ids
    assert table.column("trial_id").to_pylist() == ids
    means = table.column("cca_heldout").to_pylist()
    assert means == [float(row["cca_heldout"]) for row in rows]
    assert set(table.column_names) == set(rows[0])


def test_every_row_has_every_column(small_run):
    rows = flat_rows(ranking_of(small_run))
    assert len({tuple(row) for row in rows}) == 1
    assert "params.student.rate_weight" in rows[0]


def test_eighty_columns_hold_every_trial_with_its_numbers(small_run):
    ranking = ranking_of(small_run)
    text = shown(ranking)
    for row in [*ranking.trials, *ranking.confirmed]:
        (line,) = [one for one in text.splitlines() if row.trial_id[:10] in one]
        assert f"{row.cca_heldout.mean:.3f}" in line
        assert len(line.rstrip()) <= 80
    assert "…" not in text


def test_a_long_search_shows_its_best_and_says_where_the_others_are(small_run, monkeypatch):
    monkeypatch.setattr(tables, "MOST_ROWS", 1)
    ranking = ranking_of(small_run)
    text = shown(ranking)
    best, *others = ranking.trials
    assert best.trial_id in text
    assert not any(row.trial_id in text for row in others)
    assert f"{len(others)} trials of lower rank are not shown; ranking.csv holds them" in text


def test_a_failed_trial_shows_dashes_not_zeros(trial_of, spec_of):
    from rheobase.study.ranking.rank import rank_study

    ranking = rank_study(spec_of, [trial_of(0, status="failed")])
    assert " - " in shown(ranking)
    assert "0.00" not in shown(ranking)


def test_the_ranking_shows_the_searched_settings_beside_or_below(small_run):
    ranking = ranking_of(small_run)
    wide, narrow = (shown(ranking, width).splitlines() for width in (120, 80))
    assert "rate_weight" in wide[1]
    for row in ranking.trials:
        told = setting(row.params["student.rate_weight"])
        (line,) = [line for line in wide if row.trial_id in line and row.tier in line]
        assert line.split()[-1] == told
    assert max(map(len, narrow)) <= 80


def test_settings_that_do_not_fit_are_a_table_of_their_own(small_run):
    ranking = ranking_of(small_run)
    row = ranking.trials[0]
    names = {f"student.a_long_name_{n}": 0.5 + n for n in range(4)}
    many = ranking.model_copy(update={"trials": (row.model_copy(update={"params": names}),)})
    text = shown(many)
    assert "settings of the search" in text
    below = text[text.index("settings of the search") :]
    assert row.trial_id[:8] in below
    assert "3.5" in below
