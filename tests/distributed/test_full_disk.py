import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rheobase.core.artifacts import write_json
from rheobase.study.file.spec import dump_study, load_study
from rheobase.study.records.ledger import Ledger

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
KILLABLE = Path(__file__).with_name("killable.py")
# A file system of the test's own, of which a file takes all but some KiB.
FULL = """
mount -t tmpfs -o size=4096k none "$DISK"
head -c $((4096 * 1024 - LEFT * 1024)) /dev/zero > "$DISK/filler"
"""


def run_on_a_full_disk(tmp_path, script, left_kib, root, **variables):
    disk = tmp_path / "disk"
    disk.mkdir()
    unshared = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*unshared, "mount -t tmpfs none /mnt"]).returncode
    ):
        pytest.skip("no file system can be mounted here; run as root or allow user namespaces")
    return subprocess.run(
        [*unshared, FULL + script],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": f"{root / 'platform'}:{root / 'tests'}",
            "RHEOBASE_HOME": str(tmp_path / "home"),
            "DISK": str(disk),
            "LEFT": str(left_kib),
            "PYTHON": sys.executable,
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=550,
    )


def but_progress(found):
    """Leave out what trials told under way: of one that was cut off it may lack a step."""
    ranking, records = found
    return ranking, [record.model_copy(update={"progress": ()}) for record in records]


@pytest.fixture
def home(write_study, trained):
    """Home of artifacts with the teacher of `study.toml`, a study of four trials."""
    write_study(
        student={"num_neurons": 8, "steps": 40, "batch_windows": 4},
        search={
            "trials": 4,
            "generation": 2,
            "space": {"student.rate_weight": {"low": 0.01, "high": 1.0, "log": True}},
        },
        seeds={"select": [0], "report": [10]},
    )
    return trained.home


@pytest.mark.parametrize("left_kib", [100, 160])
def test_a_full_disk_fails_no_trial_and_the_study_goes_on_once_there_is_room(
    root, stored, tiny, expected, numbers_of, tmp_path, left_kib
):
    (shard, _), latents = stored
    write_json(tmp_path / "study.json", dump_study(tiny))
    script = f"""
    study() {{ echo "$DISK/run" never | "$PYTHON" {KILLABLE} forks study.json {shard} {latents}; }}
    study
    rm "$DISK/filler"
    study
    cp -r "$DISK/run" full
    """
    done = run_on_a_full_disk(tmp_path, script, left_kib, root)
    full, after = done.stdout.replace("ready\n", "").splitlines()
    assert (full, after) == (f"errno {errno.ENOSPC}", "ended"), done.stderr
    with Ledger.open_existing(tmp_path / "full" / "ledger.sqlite") as ledger:
        assert numbers_of(ledger) == expected(tiny)


def test_a_teacher_whose_checkpoint_finds_no_room_says_so_in_a_line_and_goes_on_from_the_last(
    root, write_study, tmp_path
):
    write_study(
        teacher={
            "latent_dim": 2,
            "steps": 500,
            "batch_windows": 32,
            "predictor_width": 1024,
        }
    )
    script = """
    rm "$DISK/filler"
    export RHEOBASE_HOME="$DISK/kept"
    "$PYTHON" -m rheobase pretrain study.toml > out 2> told &
    until ls "$DISK"/kept/latents/.train/*/checkpoint.pt > /dev/null 2>&1; do
        kill -0 $! || break
        sleep 0.05
    done
    cat /dev/zero > "$DISK/filler" 2> /dev/null
    truncate -s -60k "$DISK/filler"  # for anything but a checkpoint
    wait $!; echo $?
    cp -r "$DISK"/kept/latents/.train/*/ training
    rm "$DISK/filler"
    "$PYTHON" -m rheobase pretrain study.toml > out2 2> told2; echo $?
    """
    done = run_on_a_full_disk(tmp_path, script, 100, root)
    assert done.stdout.split() == ["2", "0"], (tmp_path / "told").read_text()
    told = (tmp_path / "told").read_text().strip().splitlines()
    assert told[-1].startswith("ArtifactError: the disk must have room")
    assert told[-1].endswith("make some, then give the same command again")
    assert not any("Traceback" in line for line in told)
    assert (tmp_path / "out").read_text() == ""
    kept = torch.load(tmp_path / "training" / "checkpoint.pt", weights_only=True)
    assert 0 < kept["step"] < 500
    assert not list((tmp_path / "training").glob(".*.*"))


def test_a_full_disk_is_told_in_a_line_whatever_it_cuts_off_and_loses_nothing(
    root, home, found_in, found_here, tmp_path
):
    script = """
    run() {
        "$PYTHON" -m rheobase run study.toml --out "$DISK/run" $1 > out 2> told
        echo $?
    }
    fill() {
        cat /dev/zero > "$DISK/filler" 2> /dev/null
        truncate -s -$1k "$DISK/filler"
    }
    run
    cp told told-by-search
    rm "$DISK/filler"
    run --resume
    cp -r "$DISK/run" first
    rm -r "$DISK/run/report" "$DISK"/run/ranking.*
    fill 24
    "$PYTHON" -m rheobase rank "$DISK/run" > /dev/null 2> told-by-rank; echo $?
    rm "$DISK/filler"
    fill 160
    run --resume
    cp told told-by-run
    rm "$DISK/filler"
    cp -r "$DISK/run" full
    run --resume
    cp -r "$DISK/run" last
    """
    done = run_on_a_full_disk(tmp_path, script, 200, root, RHEOBASE_HOME=str(home))
    assert done.stdout.split() == ["2", "0", "2", "2", "0"], done.stderr
    *before, last = (tmp_path / "told-by-search").read_text().strip().splitlines()
    assert "No space left on device" in last or "disk is full" in last
    assert "--resume" in last
    assert not any("Traceback" in line for line in before)
    spec = load_study(tmp_path / "study.toml")
    first = found_in(spec, tmp_path / "first")
    assert but_progress(first) == but_progress(found_here(spec, tmp_path / "first"))
    for command in ("rank", "run"):
        *before, last = (tmp_path / f"told-by-{command}").read_text().strip().splitlines()
        assert "the disk must have room" in last
        assert ("--resume" in last) == (command == "run")
        assert not any("Traceback" in line for line in before)
    assert (tmp_path / "full" / "ranking.json").exists()
    assert not (tmp_path / "full" / "report" / "index.html").exists()
    assert found_in(spec, tmp_path / "full") == first
    for name in ("ranking.json", "ranking.csv", "report/index.html"):
        first, last = ((tmp_path / run / name).read_text() for run in ("first", "last"))
        assert first == last
    assert not list((tmp_path / "last").rglob(".*.*"))
