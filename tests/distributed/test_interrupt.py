import os
import signal
import subprocess
import sys
import time

import pytest

from rheobase.study.records.ledger import Ledger

STUDY = """
name = "long"
[data]
sessions = ["synthetic:planted?seed=0&minutes=1&units=10"]
[teacher]
latent_dim = 2
steps = 20
[student]
num_neurons = 8
steps = 100000
"""


@pytest.mark.cluster
def test_ctrl_c_says_how_to_go_on_and_leaves_no_process(tmp_path, root):
    (tmp_path / "study.toml").write_text(STUDY)
    done = subprocess.Popen(
        [sys.executable, "-m", "rheobase", "run", "study.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root / "platform"), "RHEOBASE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run = tmp_path / "studies" / "long"
    for _ in range(400):
        time.sleep(0.5)
        if (run / "ledger.sqlite").exists() and (run / "tensorboard").exists():
            break
    os.kill(done.pid, signal.SIGINT)
    out, told = done.communicate(timeout=60)
    assert done.returncode == 130, told
    assert out == ""
    assert told.strip().splitlines()[-1] == "interrupted; the same command with --resume goes on"
    with Ledger.open_existing(run / "ledger.sqlite") as ledger:
        assert {record.status for record in ledger.records()} <= {"waiting", "running"}
    with pytest.raises(ProcessLookupError):
        os.killpg(done.pid, 0)
