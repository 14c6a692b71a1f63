"""A stored run in a notebook."""

import json
import shutil
import sqlite3

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.figure import Figure

import rheobase as rb


@pytest.fixture(scope="module")
def run(small_run):
    return rb.load_run(small_run)


def test_tables_hold_what_commands_print(run, small_run, cli):
    ranking = json.loads(cli("rank", small_run, "--json").stdout)
    trials = run.trials
    rows = [*ranking["trials"], *ranking["confirmed"]]
    assert trials["trial_id"].tolist() == [row["trial_id"] for row in rows]
    assert trials["cca_heldout"].tolist() == [row["cca_heldout"]["mean"] for row in rows]
    replicates = run.replicates
    assert set(replicates["seed"]) == {0, 1, 10, 11}
    means = replicates.groupby("trial_id")["cca_heldout"].mean()
    assert means[rows[0]["trial_id"]] == pytest.approx(rows[0]["cca_heldout"]["mean"])
    (effect,) = run.effects.to_dict("records")
    (told,) = json.loads(cli("compare", small_run, "--json").stdout)["arms"]
    assert (effect["name"], effect["kind"]) == ("no-dale", "arm")
    assert [effect["mean"], effect["ci95_low"]] == [told["mean"], told["ci95"][0]]
    (arm,) = run.table("arms", "pandas").to_dict("records")
    told = json.loads(cli("compare", small_run, "no-dale", "--json").stdout)
    assert (arm["arm"], arm["mean_difference"]) == ("no-dale", told["mean_difference"])


def test_a_table_is_of_the_library_that_is_named(run):
    assert isinstance(run.table("trials"), pa.Table)
    assert isinstance(run.table("trials", "pandas"), pd.DataFrame)
    with pytest.raises(rb.RheobaseError, match="arrow, pandas or polars, but got 'numpy'"):
        run.table("trials", "numpy")
    with pytest.raises(rb.RheobaseError, match="trials, replicates, effects or arms, but got 'x'"):
        run.table("x")


def test_the_best_trial_is_the_winner_on_the_reports_seeds(run):
    best = run.best
    assert best.row.arm == "baseline"
    assert best.record.request.stage == "report"
    assert best.settings["num_neurons"] == 8
    assert run.trial(best.trial_id[:6]).trial_id == best.trial_id
    with pytest.raises(rb.RheobaseError, match="must be named by its id"):
        run.trial("nothing")


def test_figures_are_matplotlibs_and_show_in_a_notebook(run):
    for name in (
        "raster",
        "latents",
        "pairs",
        "effects",
        "arms",
        "leaderboard",
        "history",
        "nulls",
    ):
        figure = getattr(run.figures, name)()
        assert isinstance(figure, Figure), name
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert isinstance(run.figures.raster(run.trials["trial_id"][0]), Figure)


def test_the_best_network_runs_on_new_spikes(run):
    network = run.best.network()
    assert network.settings["num_neurons"] == 8
    draw = np.random.default_rng(0)
    spikes_s = [np.sort(draw.uniform(0, 20, 200)) for _ in network.unit_id]
    spikes = network(network.counts_of(spikes_s, 0, 20))
    assert spikes.shape == (2000, 8)
    assert network.latents(network.features(spikes)).shape == (2000, 3)
    with pytest.raises(rb.RheobaseError, match=r"there are seeds 10 on .*, 11 on"):
        run.best.network(seed=3)


def test_a_folder_that_is_no_run_and_a_newer_run_are_told_in_one_line(run, tmp_path):
    with pytest.raises(rb.RheobaseError, match=r"it has no study\.json") as refused:
        rb.load_run(tmp_path)
    assert "\n" not in str(refused.value)
    newer = tmp_path / "newer"
    shutil.copytree(run.path, newer)
    with sqlite3.connect(newer / "ledger.sqlite") as ledger:
        ledger.execute("PRAGMA user_version = 99")
    with pytest.raises(rb.RheobaseError) as refused:
        rb.load_run(newer)
    assert "\n" not in str(refused.value)


def test_what_is_no_network_is_told_without_advice_to_unpickle_it(tmp_path):
    (tmp_path / "x.npz").write_text("not one")
    with pytest.raises(rb.RheobaseError, match="an archive of arrays must be there, but none is"):
        rb.load_network(tmp_path / "x.npz")


def test_two_arrays_are_scored_with_null_and_interval():
    draw = np.random.default_rng(1)
    y = draw.standard_normal((4000, 2))
    x = y @ draw.standard_normal((2, 10)) + draw.standard_normal((4000, 10))
    found = rb.measures.heldout_cca(x, y, groups=np.arange(4000) // 50)
    low, high = found.ci95
    assert low < found.cca_heldout < high
    assert high - low < 0.1
    noise = rb.measures.heldout_cca(
        draw.standard_normal((4000, 10)), y, groups=np.arange(4000) // 50
    )
    assert noise.ci95[0] < noise.null_shift_q95
    few = rb.measures.heldout_cca(x, y, groups=np.arange(4000) // 1000)
    assert few.ci95 is None
    assert any(note.startswith("ci95: at least 4 groups") for note in few.notes)


@pytest.mark.parametrize(
    ("x", "groups", "told"),
    [
        (np.zeros(100), np.arange(100) // 10, r"x must be numbers of shape \(samples, dim"),
        (np.full((100, 2), "a"), np.arange(100) // 10, "x must be numbers of shape"),
        (np.zeros((100, 2)), np.zeros((100, 1)), "groups must be one label a sample"),
        (np.zeros((90, 2)), np.arange(100) // 10, "as many samples, but got 90, 100 and 100"),
        (np.zeros((100, 2)), np.zeros(100), "at least 3 groups must hold"),
    ],
)
def test_arrays_that_do_not_fit_are_told_in_one_line(x, groups, told):
    y = np.random.default_rng(0).standard_normal((100, 2))
    with pytest.raises(rb.RheobaseError, match=told) as refused:
        rb.measures.heldout_cca(x, y, groups=groups)
    assert "\n" not in str(refused.value)
