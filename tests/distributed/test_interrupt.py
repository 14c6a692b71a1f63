import os
import signal

import pytest

from rheobase.study.records.ledger import Ledger

pytestmark = pytest.mark.cluster
LAST = "interrupted; the same command with --resume goes on"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_end_asked_for_says_how_to_go_on_and_leaves_no_process(
    started, write_study, trained, awaited, session_processes, tmp_path, number
):
    write_study(student={"num_neurons": 8, "steps": 100_000})
    process = started("run", "study.toml", "--out", "run", home=trained.home)
    run = tmp_path / "run"
    awaited(lambda: list(run.glob("tensorboard/search/*/events.*")), process)  # a trial runs
    process.send_signal(number)
    out, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert out == ""
    assert told.strip().splitlines()[-1] == LAST
    assert "SIGTERM" not in told  # no stack of C++
    with Ledger.open_existing(run / "ledger.sqlite") as ledger:
        status = {record.status for record in ledger.records()}
    assert "running" in status
    assert status <= {"waiting", "running"}
    assert session_processes(process.pid) == {}


def test_ctrl_c_while_the_teacher_trains_ends_soon(
    started, write_study, awaited, session_processes, tmp_path
):
    write_study(teacher={"latent_dim": 2, "steps": 100_000, "workers": 1})
    process = started("run", "study.toml")
    awaited(lambda: list(tmp_path.glob("home/latents/.train/*/checkpoint.pt")), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert out == ""
    assert told.strip().splitlines()[-1] == LAST
    assert session_processes(process.pid) == {}
