"""What a command loads, and what it says where a package of an extra is not installed."""

import os
import subprocess
import sys

import pytest

TRAINING = {"torch", "ray", "optuna", "sklearn", "numba", "tensorboard"}
HEAVY = TRAINING | {"matplotlib", "pandas", "scipy", "numpy", "pyarrow", "h5py", "pynwb", "fsspec"}
# The first word is a package that seems not to be installed, or "-".
PROGRAM = """
import atexit, sys
if sys.argv[1] != "-":
    sys.modules[sys.argv[1]] = None
del sys.argv[1]
from rheobase.cli import main
loaded = lambda: {name.split(".")[0] for name, module in sys.modules.items() if module}
atexit.register(lambda: print("loaded:", *loaded(), file=sys.stderr))
main()
"""


@pytest.fixture
def command(root, tmp_path):
    """Return a function that runs a command and tells which packages it has loaded."""

    def run(missing, *words):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, missing, *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
            env=os.environ | {"PYTHONPATH": str(root / "platform")},
        )
        told, _, loaded = done.stderr.rpartition("loaded: ")
        return done.returncode, told, set(loaded.split())

    return run


def test_help_loads_no_heavy_library(command):
    code, told, loaded = command("-", "--help")
    assert code == 0, told
    assert "typer" in loaded
    assert not HEAVY & loaded


def test_ranking_loads_no_library_of_training_or_drawing(command, small_run):
    code, told, loaded = command("-", "rank", small_run)
    assert code == 0, told
    assert not (TRAINING | {"matplotlib", "pandas", "h5py"}) & loaded


def test_comparing_loads_no_library_of_training_or_drawing(command, small_run):
    code, told, loaded = command("-", "compare", small_run, "no-dale")
    assert code == 0, told
    assert not (TRAINING | {"matplotlib", "pandas", "h5py"}) & loaded


def test_reporting_loads_no_library_of_training(command, small_run):
    code, told, loaded = command("-", "report", small_run)
    assert code == 0, told
    assert not TRAINING & loaded


def test_planning_loads_no_library_of_training_or_drawing(command, root):
    code, told, loaded = command("-", "plan", root / "studies" / "quickstart.toml")
    assert code == 0, told
    assert not (TRAINING | {"matplotlib", "pandas"}) & loaded


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("ray", ["run", "STUDY"]),
        ("torch", ["replay", "RUN", "0"]),
        ("optuna", ["export-optuna", "RUN", "--out", "j"]),
    ],
)
def test_a_missing_package_is_told_with_its_extra(command, small_run, root, missing, words):
    where = {"RUN": small_run, "STUDY": root / "studies" / "quickstart.toml"}
    code, told, _ = command(missing, *(where.get(word, word) for word in words))
    assert code == 2
    (line,) = told.splitlines()
    assert f"needs {missing}" in line
    assert "pip install 'rheobase[train]'" in line


def test_ranking_needs_no_extra(command, small_run):
    for missing in ("torch", "ray", "optuna"):
        code, told, _ = command(missing, "rank", small_run)
        assert code == 0, told
