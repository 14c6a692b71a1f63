"""A run on a file system that nobody can write to."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from rheobase.study.run_folder import RunFolder

UNSHARED = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
MOUNTED = """
mount --bind "$RUN" "$RUN" && mount -o remount,ro,bind "$RUN" && exec "$PYTHON" -c "$CODE"
"""
SCRIPT = """
import json, os
from typer.testing import CliRunner
from rheobase.cli import app

run, told = os.environ["RUN"], {}
try:
    open(run + "/x", "w")
except OSError as error:
    told["write"] = error.strerror
for name, words in json.loads(os.environ["COMMANDS"]).items():
    done = CliRunner().invoke(app, words)
    told[name] = [done.exit_code, done.stdout, done.stderr, str(done.exception or "")]
print(json.dumps(told))
"""


@pytest.fixture
def run(small_run, tmp_path):
    shutil.copytree(small_run.parents[1], tmp_path / "home")
    return RunFolder(tmp_path / "home" / "studies" / "small")


@pytest.fixture
def on_a_read_only_disk(run, root, tmp_path):
    """Return a function that gives commands, by a name each, where the run cannot be written."""
    if (
        not shutil.which("unshare")
        or subprocess.run([*UNSHARED, "mount -t tmpfs none /mnt"]).returncode
    ):
        pytest.skip("no file system can be mounted here; run as root or allow user namespaces")

    def give(**commands):
        done = subprocess.run(
            [*UNSHARED, MOUNTED],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
            env={
                "PATH": os.environ["PATH"],
                "PYTHON": sys.executable,
                "PYTHONPATH": str(root / "platform"),
                "RHEOBASE_HOME": str(tmp_path / "nowhere"),
                "RUN": str(run.path),
                "CODE": SCRIPT,
                "COMMANDS": json.dumps({k: list(map(str, words)) for k, words in commands.items()}),
            },
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told.pop("write") == "Read-only file system"
        return told

    return give


def test_every_reading_command_reads_a_run_that_nobody_can_write(
    run, on_a_read_only_disk, tmp_path
):
    for kind in ("json", "csv", "parquet"):
        run.ranking(kind).unlink(missing_ok=True)
    trial = run.read_records()[0].request.trial_id
    told = on_a_read_only_disk(
        rank=("rank", run.path, "--json"),
        compare=("compare", run.path, "no-dale"),
        trace=("trace", run.path, trial),
        export=("export", run.path, trial, "--out", tmp_path / "out"),
        replay=("replay", run.path, trial),
        report=("report", run.path),
        elsewhere=("report", run.path, "--out", tmp_path / "page"),
        pack=("pack", run.path, "--out", tmp_path / "run.tar"),
    )
    refused = told.pop("report")
    assert refused[0] != 0
    assert "Read-only file system; name another folder with --out" in refused[3]
    assert {name: code for name, (code, *_) in told.items()} == dict.fromkeys(told, 0), told
    assert json.loads(told["rank"][1])["study"] == "small"
    assert "tables not written: [Errno 30] Read-only file system" in told["rank"][2]
    assert (tmp_path / "page" / "index.html").exists()
    assert not run.ranking("json").exists()


def test_a_run_that_was_cut_off_in_a_change_is_read_where_nobody_can_write(
    run, on_a_read_only_disk, tmp_path
):
    shutil.copy(run.ledger, tmp_path / "l")
    writer = sqlite3.connect(tmp_path / "l", isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE trial SET error = ?", ("x" * 50_000,))
    shutil.copy(tmp_path / "l", run.ledger)
    shutil.copy(tmp_path / "l-journal", f"{run.ledger}-journal")
    writer.close()
    (found,) = on_a_read_only_disk(rank=("rank", run.path, "--json")).values()
    assert found[0] == 0, found
    assert all(row["status"] == "complete" for row in json.loads(found[1])["trials"])
