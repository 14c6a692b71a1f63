import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rheobase.core.artifacts import write_json
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.ledger import Ledger

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
KILLABLE = Path(__file__).with_name("killable.py")


@pytest.fixture
def varied(tiny):
    """Return a study with trials that end in every way: complete, stopped, failed, audited."""
    table = dump_study(tiny)
    table["search"] |= {
        "trials": 8,
        "generation": 4,
        "pack": 2,
        "stop": {"rungs": [0.5], "min_trials": 4, "audit": 1},
    }
    return parse_study(table)


@contextmanager
def process(root, tmp_path, stored, spec, run, how):
    (shard, _), latents = stored
    write_json(tmp_path / "study.json", dump_study(spec))
    with subprocess.Popen(
        [sys.executable, KILLABLE, how, tmp_path / "study.json", run, shard, latents],
        env={**os.environ, "PYTHONPATH": str(root / "platform")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        try:
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)


def told(started, line):
    began = time.monotonic()
    started.stdin.write(line + "\n")
    started.stdin.flush()
    return started.stdout.readline().strip(), time.monotonic() - began


def found_in(spec, run):
    """Return everything a run found but times: its ranking and its ledger."""
    with Ledger.open_existing(run / "ledger.sqlite") as ledger:
        records = ledger.records()
    timeless = []
    for record in records:
        result = record.result and record.result.model_copy(update={"wall_s": 0.0})
        timeless.append(
            record.model_copy(update={"result": result, "started_at": None, "ended_at": None})
        )
    return rank_study(spec, timeless), timeless


def workers_of(session):
    """Return the process ids of Ray's workers in a session of processes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError, FileNotFoundError):
            title = (process / "cmdline").read_bytes()
            if title.startswith((b"ray::IDLE", b"ray::Implicit")):
                found += [int(process.name)] if os.getsid(int(process.name)) == session else []
    return found


def files_of(run):
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def test_a_study_killed_at_sixteen_moments_ends_as_one_that_never_was(
    root, stored, varied, tmp_path
):
    draw = random.Random(0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with process(root, tmp_path, stored, varied, whole, "forks") as started:
        answer, seconds = told(started, "never")
        assert answer == "ended"
    expected = found_in(varied, whole)
    assert {r.status for r in expected[1]} == {"complete", "pruned", "failed"}
    assert {r.request.stage for r in expected[1]} == {"select", "report", "audit"}

    num_kills, num_runs = 0, 0
    while num_kills < 16:
        num_runs += 1
        run = killed / str(num_runs)
        with process(root, tmp_path, stored, varied, run, "forks") as started:
            answer = "killed"
            while answer == "killed" and num_kills < 16:
                moment = draw.choice(
                    [f"seconds {draw.uniform(0, seconds / 5)}", f"write {draw.randint(1, 120)}"]
                )
                answer, _ = told(started, moment)
                num_kills += answer == "killed"
            if answer == "killed":
                answer, _ = told(started, "never")
            assert answer == "ended"
        assert found_in(varied, run) == expected
        assert files_of(run) == files_of(whole)


def test_a_study_whose_driver_is_killed_four_times_among_two_workers_loses_and_repeats_no_trial(
    root, stored, varied, tmp_path
):
    draw = random.Random(1)
    whole, run = tmp_path / "whole", tmp_path / "killed"
    with process(root, tmp_path, stored, varied, whole, "forks") as started:
        assert told(started, "never")[0] == "ended"
    for kill in range(4):
        with process(root, tmp_path, stored, varied, run, "ray") as started:
            time.sleep(draw.uniform(0, 4))
            (os.killpg if kill % 2 else os.kill)(started.pid, signal.SIGKILL)
            assert started.wait(timeout=30) == -signal.SIGKILL
            gone_by = time.monotonic() + 60
            while workers_of(started.pid):
                assert time.monotonic() < gone_by, "trials outlive their driver"
                time.sleep(0.2)
    with process(root, tmp_path, stored, varied, run, "ray") as started:
        assert started.wait(timeout=240) == 0
    ranking, records = found_in(varied, whole)
    ranking_after, records_after = found_in(varied, run)
    # A report that was on its way when the driver died may be missing from a trial's progress.
    assert [r.model_copy(update={"progress": ()}) for r in records_after] == [
        r.model_copy(update={"progress": ()}) for r in records
    ]
    assert ranking_after == ranking
    assert files_of(run) == files_of(whole)


def test_a_trial_that_runs_out_of_memory_fails_alone(root, stored, tiny, tmp_path):
    table = dump_study(tiny)
    table["ablation"]["arms"] = {
        "huge": {"student.num_neurons": 60_000},  # 14 GB of recurrent weights
        "small": {"student.num_neurons": 8},
    }
    spec, run = parse_study(table), tmp_path / "run"
    with process(root, tmp_path, stored, spec, run, "forks") as started:
        assert told(started, f"memory {12 * 10**9}")[0] == "ended"
    _, records = found_in(spec, run)
    status = {r.request.arm: r.status for r in records if r.request.stage == "report"}
    assert status == {"baseline": "complete", "huge": "failed", "small": "complete"}
    (huge,) = (r for r in records if r.request.arm == "huge")
    assert "memory" in huge.error
    assert "\n" not in huge.error
