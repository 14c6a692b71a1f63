import json
import os
import signal
import subprocess
import sys
import time

import pytest

STUDY = """
name = "killed"
[data]
sessions = ["synthetic:planted?seed=0&minutes=2&units=16&nuisance=0"]
[teacher]
latent_dim = 3
steps = 60
workers = 1
[student]
num_neurons = 12
steps = 150
batch_windows = 8
[search]
trials = 4
generation = 2
[search.space]
"student.rate_weight" = { low = 0.01, high = 1.0, log = true }
[seeds]
select = [0, 1]
report = [10, 11]
"""


@pytest.mark.cluster
@pytest.mark.slow
def test_a_run_whose_driver_was_killed_resumes_to_the_ranking_of_one_that_was_not(tmp_path, root):
    (tmp_path / "study.toml").write_text(STUDY)
    environment = {
        **os.environ,
        "PYTHONPATH": str(root / "platform"),
        "RHEOBASE_HOME": str(tmp_path / "home"),
    }

    def started(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "rheobase", *words],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finished(*words) -> str:
        process = started(*words)
        out, told = process.communicate(timeout=250)
        assert process.returncode == 0, told
        return out

    killed = started("run", "study.toml", "--out", "a")
    for line in killed.stderr:
        if "select" in line:  # a trial has ended, others run
            break
    time.sleep(0.3)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)

    finished("run", "study.toml", "--out", "a", "--resume")
    finished("run", "study.toml", "--out", "b")
    rankings = [json.loads(finished("rank", run, "--json")) for run in ("a", "b")]
    for ranking in rankings:
        assert len(ranking["trials"]) == 4
        for row in [*ranking["trials"], *ranking["confirmed"]]:
            row.pop("wall_s")
    assert rankings[0] == rankings[1]
