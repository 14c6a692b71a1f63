"""Forecasts of a whole small run, from the command."""

import json
import shutil
import sqlite3

import numpy as np
import pytest

from rheobase.cli.schemas import schema_of
from rheobase.study.forecast import networks
from rheobase.study.forecast.record import Forecast, SessionForecast
from rheobase.study.forecast.run import chosen_trials
from rheobase.study.forecast.session import MODELS
from rheobase.study.run_folder import RunFolder

TRAINED = ("gru", "by-rates", "no-teacher")


@pytest.fixture(scope="module")
def run(small_run, tmp_path_factory):
    """A copy of the small run, which the forecast writes into."""
    home = tmp_path_factory.mktemp("forecast") / "home"
    shutil.copytree(small_run.parents[1], home)
    return RunFolder(home / "studies" / "small")


@pytest.fixture(scope="module")
def found(run, called_once):
    return Forecast.model_validate(json.loads(called_once("forecast", run.path, "--json")))


@pytest.fixture(scope="module")
def called_once():
    from typer.testing import CliRunner

    from rheobase.cli import app

    def call(*words):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    return call


def test_every_model_is_scored_and_stands_above_what_it_must(found):
    assert [one.model for one in found.models] == list(MODELS)
    bits = {one.model: one.scores["bits_per_spike"].mean for one in found.models}
    assert bits["mean-rate"] < 0.01
    for model in ("smoothing", "filtered-counts", "pca", "cva", "teacher"):
        assert bits[model] > bits["mean-rate"] + 0.02
    runs = {one.model: one.num_runs for one in found.models}
    assert runs["teacher"] == 2  # of two teachers, each taught a seed
    assert {runs[name] for name in ("student", "untrained", *TRAINED)} == {2}
    assert {runs[name] for name in ("mean-rate", "pca", "cva", "filtered-counts")} == {1}


def test_seeds_stand_beside_their_own_teachers(found):
    (session,) = found.sessions
    of_model = {}
    for one in session.forecasts:
        of_model.setdefault(one.model, {})[one.seed if one.seed is not None else one.teacher] = one
    assert {seed: one.teacher for seed, one in of_model["student"].items()} == {10: 0, 11: 7}
    assert {one.teacher for one in of_model["no-teacher"].values()} == {None}
    by_name = {(one.model, one.minus): one for one in found.differences}
    for score in ("bits_per_spike", "alignment"):
        lost = [
            of_model["student"][seed].scores[score] - of_model["teacher"][root].scores[score]
            for seed, root in ((10, 0), (11, 7))
        ]
        told = by_name["student", "teacher"].scores[score]
        assert told.mean == pytest.approx(np.mean(lost))
        gained = [
            of_model["student"][seed].scores[score] - of_model["no-teacher"][seed].scores[score]
            for seed in (10, 11)
        ]
        assert by_name["student", "no-teacher"].scores[score].mean == pytest.approx(np.mean(gained))
    assert by_name["student", "teacher"].scores["bits_per_spike"].unit == "teacher"


def test_a_verdict_is_what_the_interval_says(found):
    for one in found.differences:
        low, high = one.scores["bits_per_spike"].ci95
        assert one.verdict == ("gains" if low > 0 else "loses" if high < 0 else "not told")


def test_an_infeasible_student_is_told(found):
    assert found.tier == "infeasible"
    assert any("not feasible" in note for note in found.notes)


def test_what_is_printed_is_as_published(found):
    schema = schema_of("forecast")
    told = found.model_dump(mode="json")
    assert set(schema["required"]) == set(told)


def test_the_same_command_trains_nothing_again(run, found, called_once, monkeypatch):
    def trained(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(networks, "advance", trained)
    again = called_once("forecast", run.path, "--json")
    assert Forecast.model_validate(json.loads(again)) == found
    table = called_once("forecast", run.path)
    assert "student minus no-teacher" in table
    assert "bits/spike" in table
    assert {path.name for path in run.lasting_files()} >= {"forecast.json"}


def test_an_interrupted_forecast_goes_on_with_the_network_that_was_cut_off(
    run, found, command, monkeypatch
):
    (kept,) = run.forecast.glob("*-50ms.json")
    whole, advance, calls = kept.read_bytes(), networks.advance, []
    kept.unlink()

    def interrupted(*given):
        calls.append(given)
        if len({one[0].replicates for one in calls}) == 4:  # two of each model: the second's second
            raise KeyboardInterrupt
        return advance(*given)

    monkeypatch.setattr(networks, "advance", interrupted)
    done = command("forecast", run.path)
    assert done.returncode == 130
    assert "the same command goes on" in done.stderr
    partial = SessionForecast.model_validate_json(kept.read_bytes())
    assert not partial.is_whole
    trained = [(one.model, one.seed) for one in partial.forecasts if one.model in TRAINED]
    assert trained == [("gru", 10), ("gru", 11), ("by-rates", 10)]
    monkeypatch.setattr(networks, "advance", lambda *given: calls.append(given) or advance(*given))
    calls.clear()
    assert command("forecast", run.path).returncode == 0
    assert kept.read_bytes() == whole
    assert len({one[0].replicates for one in calls}) == 3
    assert [path for path in run.forecast.iterdir() if path.name.startswith(".")] == []


def test_a_width_that_is_no_number_of_bins_is_refused_in_one_line(run, command):
    done = command("forecast", run.path, "--ahead-ms", "15")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "whole number of the study's bins of 10 ms" in done.stderr


def test_a_run_whose_report_stage_has_not_been_is_refused(run, command, tmp_path):
    shutil.copytree(run.path.parents[1], tmp_path / "home")
    other = RunFolder(tmp_path / "home" / "studies" / "small")
    with sqlite3.connect(other.ledger) as ledger:
        ledger.execute("UPDATE trial SET status = 'waiting' WHERE status = 'complete'")
    ledger.close()
    done = command("forecast", other.path)
    assert done.returncode == 2
    assert "must have ended" in done.stderr


def test_only_winners_of_the_report_stage_are_the_student(run):
    spec, records = run.read_study(), run.read_records()
    row, chosen = chosen_trials(spec, records, "run")
    assert (row.arm, chosen.student.stage, chosen.student.seeds) == ("baseline", "report", (10, 11))
    assert chosen.gru is None
