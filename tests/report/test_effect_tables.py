import csv
import io
import json

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from rheobase.report.effect_tables import effects_table
from rheobase.study.ranking.effect_table import effects_of
from rheobase.study.run_folder import RunFolder


@pytest.fixture(scope="module")
def effects(small_run):
    run = RunFolder(small_run)
    return effects_of(run.read_study(), run.read_records(), "cca_heldout", 0.02, small_run)


@pytest.mark.parametrize("width", [80, 140])
def test_every_effect_stands_in_a_line_that_fits(effects, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(effects_table(effects, width))
    lines = console.file.getvalue().splitlines()
    for one in effects.rows:
        (line,) = [line for line in lines if line.strip().startswith(one.name)]
        assert f"{one.mean:+.3f}" in line
    assert all(len(line.rstrip()) <= width for line in lines)
    assert ("IQM" in "".join(lines)) == (width == 140)


def test_the_command_prints_and_writes_the_same_effects(effects, small_run, command, tmp_path):
    files = {kind: tmp_path / f"effects.{kind}" for kind in ("csv", "parquet", "latex")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    done = command("compare", small_run, "--json", *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = [one.name for one in effects.rows]
    assert [one["name"] for one in found["arms"]] == names
    with files["csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == names
    assert [float(row["mean"]) for row in rows] == [one.mean for one in effects.rows]
    assert pq.read_table(files["parquet"]).column("name").to_pylist() == names
    latex = files["latex"].read_text()
    assert latex.count(r"\\") == len(names) + 1
    assert latex.count("&") == 11 * (len(names) + 1)


def test_options_of_the_whole_table_are_refused_beside_an_arm(small_run, command, effects):
    arm = effects.rows[0].name
    done = command("compare", small_run, arm, "--margin", "0.1")
    assert done.returncode == 2
    assert "must be of the whole table" in done.stderr
