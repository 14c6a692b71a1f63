import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rheobase.cli.results import ranking_of
from rheobase.report.tensorboard import TensorBoardLog


def ask(port, path, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/data/plugin/hparams/{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.loads(answer.read())


def served(folder, wanted):
    """Return session groups that a TensorBoard on loopback gives for a folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--load_fast", "false"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    groups = []
    try:
        for _ in range(300):
            time.sleep(0.2)
            try:
                experiment = ask(port, "experiment", {"experimentName": ""})
                groups = ask(
                    port,
                    "session_groups",
                    {
                        "experimentName": "",
                        "allowedStatuses": [
                            f"STATUS_{name}" for name in ("SUCCESS", "FAILURE", "UNKNOWN")
                        ],
                        "colParams": [{"hparam": h["name"]} for h in experiment["hparamInfos"]],
                        "startIndex": 0,
                        "sliceSize": 100,
                    },
                )["sessionGroups"]
            except (OSError, KeyError):
                continue
            if len(groups) == wanted:
                break
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=20)
    return groups


@pytest.mark.slow
def test_tensorboard_shows_each_trial_with_its_settings_measures_and_status(
    small_run, tmp_path, trial_of
):
    ranking = ranking_of(small_run)
    rows = {r.trial_id: r for r in [*ranking.trials, *ranking.confirmed]}
    groups = {g["sessions"][0]["name"]: g for g in served(small_run / "tensorboard", len(rows))}
    assert set(groups) == set(rows)
    for trial_id, group in groups.items():
        (session,) = group["sessions"]
        assert session["status"] == "STATUS_SUCCESS"
        metrics = {m["name"]["tag"]: m["value"] for m in session["metricValues"]}
        mean = rows[trial_id].cca_heldout.mean
        assert metrics["cca_heldout"] == pytest.approx(mean, abs=1e-6)
        assert metrics["untrained"] == pytest.approx(rows[trial_id].untrained, abs=1e-6)
        assert group["hparams"]["student.num_neurons"] == 8
        assert group["hparams"]["arm"] == rows[trial_id].arm
    assert {g["hparams"]["student.dale"] for g in groups.values()} == {True, False}


@pytest.mark.slow
def test_a_failed_trial_is_a_failure_and_a_killed_one_is_unknown(tmp_path, trial_of, spec_of):
    log = TensorBoardLog(tmp_path, spec_of)
    failed, killed = trial_of(0, status="failed"), trial_of(1, status="failed")
    log.teacher_progress(100, 100, {"loss": 0.5})  # its curve is no trial
    log.teacher_ended()
    log.trial_started(failed.request)
    log.trial_ended(failed)
    log.trial_started(killed.request)
    log.trial_progress("t1", 5, {"loss": 0.5})
    groups = served(tmp_path / "tensorboard", 2)
    status = {g["sessions"][0]["name"]: g["sessions"][0]["status"] for g in groups}
    assert status == {"t0": "STATUS_FAILURE", "t1": "STATUS_UNKNOWN"}


def test_nothing_is_written_before_a_report_or_a_trial(tmp_path, spec_of):
    TensorBoardLog(tmp_path, spec_of).stage("ingest", "")
    assert not list(tmp_path.iterdir())


def test_the_teachers_curve_can_be_read_while_it_grows_and_does_not_double_when_it_goes_on(
    tmp_path, spec_of
):
    def curve(tag):
        events = EventAccumulator(str(tmp_path / "tensorboard" / "teacher")).Reload()
        return [(event.step, event.value) for event in events.Scalars(tag)]

    killed = TensorBoardLog(tmp_path, spec_of)
    killed.teacher_progress(100, 400, {"loss": 4.0, "held_out": 8.0})
    killed.teacher_progress(200, 400, {"loss": 3.0, "held_out": 7.0})
    assert curve("teacher/loss") == [(100, 4.0), (200, 3.0)]
    time.sleep(1.1)  # files are read in the order of the seconds in their names
    log = TensorBoardLog(tmp_path, spec_of)
    for step, loss in ((100, 4.0), (200, 3.0), (300, 2.0), (400, 1.0)):
        log.teacher_progress(step, 400, {"loss": loss})
    log.teacher_ended()
    assert curve("teacher/loss") == [(100, 4.0), (200, 3.0), (300, 2.0), (400, 1.0)]


def test_the_columns_of_the_comparison_are_declared_though_the_teachers_curve_is_there_before(
    tmp_path, trial_of, spec_of
):
    log = TensorBoardLog(tmp_path, spec_of)
    log.teacher_progress(100, 100, {"loss": 0.5})
    assert not list(tmp_path.glob("tensorboard/events.*"))
    log.trial_started(trial_of(0, status="failed").request)
    log.trial_started(trial_of(1, status="failed").request)
    assert len(list(tmp_path.glob("tensorboard/events.*"))) == 1
