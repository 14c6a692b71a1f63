import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from rheobase.core.artifacts import write_json
from rheobase.study.file.spec import dump_study, parse_study

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
def process(root, tmp_path, stored, spec, how, *run):
    (shard, _), latents = stored
    write_json(tmp_path / "study.json", dump_study(spec))
    with subprocess.Popen(
        [sys.executable, KILLABLE, how, tmp_path / "study.json", shard, latents, *run],
        env={**os.environ, "PYTHONPATH": f"{root / 'platform'}:{root / 'tests'}"},
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


def told(started, run, moment):
    began = time.monotonic()
    started.stdin.write(f"{run} {moment}\n")
    started.stdin.flush()
    return started.stdout.readline().strip(), time.monotonic() - began


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
    root, stored, varied, found_in, tmp_path
):
    draw = random.Random(0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with process(root, tmp_path, stored, varied, "forks") as started:
        answer, seconds = told(started, whole, "never")
        assert answer == "ended"
        expected = found_in(varied, whole)
        assert {r.status for r in expected[1]} == {"complete", "pruned", "failed"}
        assert {r.request.stage for r in expected[1]} == {"select", "report", "audit"}

        num_kills, num_runs = 0, 0
        while num_kills < 16:
            num_runs += 1
            run = killed / str(num_runs)
            answer = "killed"
            while answer == "killed" and num_kills < 16:
                moment = draw.choice(
                    [f"seconds {draw.uniform(0, seconds / 5)}", f"write {draw.randint(1, 120)}"]
                )
                answer, _ = told(started, run, moment)
                num_kills += answer == "killed"
            if answer == "killed":
                answer, _ = told(started, run, "never")
            assert answer == "ended"
            assert found_in(varied, run) == expected
            assert files_of(run) == files_of(whole)


def test_a_study_whose_driver_is_killed_four_times_among_two_workers_loses_and_repeats_no_trial(
    root, stored, varied, found_in, awaited, tmp_path
):
    whole, run = tmp_path / "whole", tmp_path / "killed"
    with process(root, tmp_path, stored, varied, "forks") as started:
        assert told(started, whole, "never")[0] == "ended"

    def has_come(moment, num_ended):
        if moment == "another has ended":
            return len(list(run.glob("trials/*/students.npz"))) > num_ended
        return moment == "ready" or list(run.glob("trials/*"))

    for kill, moment in enumerate(["ready", "ready", "one runs", "another has ended"]):
        num_ended = len(list(run.glob("trials/*/students.npz")))
        with process(root, tmp_path, stored, varied, "ray", run) as started:
            awaited(partial(has_come, moment, num_ended), started)
            (os.killpg if kill % 2 else os.kill)(started.pid, signal.SIGKILL)
            assert started.wait(timeout=30) == -signal.SIGKILL
            while workers_of(started.pid):  # trials outlive no driver; pytest-timeout ends it
                time.sleep(0.1)
    with process(root, tmp_path, stored, varied, "ray", run) as started:
        assert started.wait(timeout=240) == 0
    ranking, records = found_in(varied, whole)
    ranking_after, records_after = found_in(varied, run)
    # A report that was on its way when the driver died may be missing from a trial's progress.
    assert [r.model_copy(update={"progress": ()}) for r in records_after] == [
        r.model_copy(update={"progress": ()}) for r in records
    ]
    assert ranking_after == ranking
    assert files_of(run) == files_of(whole)


def test_a_trial_that_runs_out_of_memory_fails_alone(root, stored, tiny, found_in, tmp_path):
    table = dump_study(tiny)
    table["ablation"]["arms"] = {
        "huge": {"student.num_neurons": 60_000},  # 14 GB of recurrent weights
        "small": {"student.num_neurons": 8},
    }
    spec, run = parse_study(table), tmp_path / "run"
    with process(root, tmp_path, stored, spec, "forks") as started:
        assert told(started, run, f"memory {12 * 10**9}")[0] == "ended"
    _, records = found_in(spec, run)
    status = {r.request.arm: r.status for r in records if r.request.stage == "report"}
    assert status == {"baseline": "complete", "huge": "failed", "small": "complete"}
    (huge,) = (r for r in records if r.request.arm == "huge")
    assert "memory" in huge.error
    assert "\n" not in huge.error
