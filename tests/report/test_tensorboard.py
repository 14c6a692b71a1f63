import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

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
        for _ in range(60):
            time.sleep(1)
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
@pytest.mark.timeout(120)
def test_tensorboard_shows_each_trial_with_its_settings_measures_and_status(
    small_run, tmp_path, trial_of
):
    ranking = ranking_of(small_run)
    rows = {r["trial_id"]: r for r in [*ranking["trials"], *ranking["confirmed"]]}
    groups = {g["sessions"][0]["name"]: g for g in served(small_run / "tensorboard", len(rows))}
    assert set(groups) == set(rows)
    for trial_id, group in groups.items():
        (session,) = group["sessions"]
        assert session["status"] == "STATUS_SUCCESS"
        metrics = {m["name"]["tag"]: m["value"] for m in session["metricValues"]}
        mean = rows[trial_id]["cca_heldout"]["mean"]
        assert metrics["cca_heldout"] == pytest.approx(mean, abs=1e-6)
        assert metrics["untrained"] == pytest.approx(rows[trial_id]["untrained"], abs=1e-6)
        assert group["hparams"]["student.num_neurons"] == 8
        assert group["hparams"]["arm"] == rows[trial_id]["arm"]
    assert {g["hparams"]["student.dale"] for g in groups.values()} == {True, False}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_failed_trial_is_a_failure_and_a_killed_one_is_unknown(tmp_path, trial_of, spec_of):
    log = TensorBoardLog(tmp_path, spec_of)
    failed, killed = trial_of(0, status="failed"), trial_of(1, status="failed")
    log.trial_started(failed.request)
    log.trial_ended(failed)
    log.trial_started(killed.request)
    log.trial_progress("t1", 5, {"loss": 0.5})
    groups = served(tmp_path / "tensorboard", 2)
    status = {g["sessions"][0]["name"]: g["sessions"][0]["status"] for g in groups}
    assert status == {"t0": "STATUS_FAILURE", "t1": "STATUS_UNKNOWN"}


def test_nothing_is_written_before_a_trial_starts(tmp_path, spec_of):
    TensorBoardLog(tmp_path, spec_of).stage("ingest", "")
    assert not list(tmp_path.iterdir())
