"""Errors keep their promise: one line, the exit code that it says, and what to do."""

import re

import pytest
import typer

from rheobase import __version__
from rheobase.cli import app, results
from rheobase.cli.progress import Terminal
from rheobase.core.errors import StudyError

COMMANDS = typer.main.get_command(app).commands


def one_line(done, code):
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("words", [("plan", "."), ("run", ".")])
def test_a_folder_in_place_of_a_study_is_told_in_one_line(cli, words):
    line = one_line(cli(*words), 2)
    assert "a study file (.toml) must be named, but this is a folder" in line


@pytest.mark.parametrize("name", ["rank", "report", "pack"])
def test_a_file_in_place_of_a_run_is_told_in_one_line(cli, tmp_path, name):
    (tmp_path / "file").write_text("")
    line = one_line(cli(name, "file"), 2)
    assert "file: the folder of a run must be named, but this is a file" in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run",), "rheobase run: Missing argument 'study'; 'rheobase run -h' tells"),
        (("score", "a", "b"), "rheobase score: Missing option '--groups'; "),
        (("rank", "--nope"), "rheobase rank: No such option: --nope; "),
        (("frobnicate",), "rheobase: No such command 'frobnicate'; 'rheobase -h' tells"),
        (("simulate", "x.nwb", "--minutes", "abc"), "Invalid value for '--minutes': "),
    ],
)
def test_wrong_words_are_told_in_one_line(cli, words, told):
    line = one_line(cli(*words), 2)
    assert line.startswith("UsageError: ")
    assert told in line


def test_without_a_command_the_help_is_shown(cli):
    done = cli()
    assert done.returncode == 2
    assert "validate" in done.stdout + done.stderr


def test_a_path_that_cannot_be_written_is_told_in_one_line(cli, tmp_path):
    (tmp_path / "there.nwb").mkdir()
    line = one_line(cli("simulate", "there.nwb", "--minutes", "0.5", "--units", "5"), 2)
    assert "there.nwb: a file must be written there, but it is a folder; name a file" in line
    assert [path.name for path in tmp_path.iterdir()] == ["there.nwb"]


def test_what_nobody_foresaw_is_one_line_with_a_log_and_a_code_of_its_own(
    cli, tmp_path, monkeypatch
):
    def broken(run):
        raise KeyError("several\nlines\nof it")

    monkeypatch.setattr(results, "ranking_of", broken)
    (tmp_path / "home").mkdir()
    line = one_line(cli("rank", "."), 70)
    assert "KeyError" in line
    (log,) = (tmp_path / "home").iterdir()
    assert str(log) in line
    told = log.read_text()
    assert "command: rheobase rank ." in told
    assert f"rheobase {__version__}" in told
    assert "in broken" in told
    assert told.rstrip().endswith("KeyError: 'several\\nlines\\nof it'")


def test_a_fault_without_a_home_leaves_its_log_among_temporary_files(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ranking_of", lambda run: 1 / 0)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    line = one_line(cli("rank", "."), 70)
    (log,) = tmp_path.iterdir()
    assert str(log) in line


def test_the_version_is_told(cli):
    assert cli("--version").stdout == f"rheobase {__version__}\n"


@pytest.mark.parametrize("words", [(), ("run",), ("rank",)])
def test_h_is_help(cli, words):
    short, long = cli(*words, "-h"), cli(*words, "--help")
    assert short.returncode == 0
    assert short.stdout == long.stdout
    assert "Usage:" in short.stdout


def told_by(command):
    """Return every text that a command's help is made of, as it is to be read."""
    texts = [command.help or "", *(getattr(one, "help", "") or "" for one in command.params)]
    return [text.replace("\\[", "[") for text in texts]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_help_text_loses_a_bracket(cli, name):
    shown = re.sub(r"[\s│╭╮╰╯─]+", "", cli(name, "--help").stdout)
    for text in told_by(COMMANDS[name]):
        for found in re.findall(r"\S*\[[^\]]*\]\S*", text):
            assert re.sub(r"\s+", "", found) in shown


def test_the_check_of_brackets_has_something_to_check():
    brackets = [text for one in COMMANDS.values() for text in told_by(one) if "[" in text]
    assert any("[data.events]" in text for text in brackets)


def test_quiet_says_nothing_but_errors(cli, tmp_path, capfd, spec_of):
    arms = '[ablation.arms.no-dale]\n"student.dale" = false\n[seeds]\nreport = [10, 11]\n'
    (tmp_path / "a.toml").write_text(f'name = "a"\n[data]\nsessions = ["none.nwb"]\n{arms}')
    line = one_line(cli("run", "a.toml", "--quiet"), 2)
    assert "none.nwb" in line
    Terminal([], spec_of).stage("ingest", "1 address")
    assert capfd.readouterr().err == ""
    cli("run", "a.toml")
    Terminal([], spec_of).stage("ingest", "1 address")
    assert capfd.readouterr().err == "ingest 1 address\n"


def test_a_beginning_that_names_two_trials_is_told_with_both(tmp_path, trial_of, monkeypatch):
    records = [
        one.model_copy(update={"request": one.request.model_copy(update={"trial_id": name})})
        for one, name in ((trial_of(0), "abcd1111"), (trial_of(1), "abcd2222"))
    ]
    monkeypatch.setattr(results, "_stored", lambda run: (None, records))
    with pytest.raises(StudyError, match="begins abcd1111, abcd2222; give more of it"):
        results._record(tmp_path, "abcd")
    assert results._record(tmp_path, "abcd2")[1] is records[1]
