"""What is promised of the command as a process: entry point, exit code, its two streams."""

import json
import subprocess
import sys
from importlib.metadata import entry_points

import rheobase.cli


def test_the_command_rheobase_is_the_one_of_the_module():
    (entry,) = entry_points(group="console_scripts", name="rheobase")
    assert entry.load() is rheobase.cli.main


def test_a_refusal_is_exit_code_2_and_one_line_on_stderr(started):
    process = started("plan", "none.toml")
    out, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    (line,) = told.splitlines()
    assert "none.toml: a study file must be there, but there is none" in line


def test_json_stands_alone_on_stdout_and_needs_nothing_of_the_environment(tmp_path, root):
    words = ["simulate", "a.nwb", "--minutes", "0.5", "--units", "5", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "rheobase", *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root / "platform")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "nwb": "a.nwb",
        "latents": "a.latents.npz",
        "code": "Units carry the latents alike in both states.",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.latents.npz", "a.nwb"]


def test_a_report_is_written_without_a_word_on_stderr(started, small_run):
    process = started("report", small_run)
    out, told = process.communicate(timeout=120)
    assert process.returncode == 0
    assert told == ""
    assert out.strip().endswith("report/index.html")
