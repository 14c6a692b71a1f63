import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from ray.exceptions import OutOfMemoryError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from listeners import Silent
from rheobase.core.artifacts import read_json, write_json
from rheobase.core.errors import DataError
from rheobase.distributed import train
from rheobase.distributed.cluster import SESSION, ClusterError
from rheobase.distributed.ingest import ingest
from rheobase.distributed.pretrain import pretrain, training_folder
from rheobase.distributed.train import train_teacher
from rheobase.report.tensorboard import TensorBoardLog
from rheobase.study.file.spec import dump_study, load_study, parse_study

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


class Ear(Silent):
    def __init__(self):
        self.heard = []

    def teacher_progress(self, step, num_steps, values):
        self.heard.append((step, num_steps, dict(values)))


def with_teacher(spec, **changes):
    table = dump_study(spec)
    return parse_study({**table, "teacher": {**table["teacher"], **changes}})


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def step_kept(folder):
    """Return the step of a training's checkpoint; 0 where there is none."""
    with suppress(FileNotFoundError):
        return torch.load(folder / "checkpoint.pt", weights_only=True)["step"]
    return 0


def workers_of(ray_folder):
    """Return the ids of the teacher's workers in the Ray session of a folder."""
    entry = f"{SESSION}={ray_folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError, FileNotFoundError, PermissionError):
            if b"TrainWorker" in (process / "cmdline").read_bytes() and entry in (
                process / "environ"
            ).read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def test_the_driver_hears_each_report_once_and_again_when_a_training_goes_on(
    ray_with_two_cpus, stored, tiny, tmp_path
):
    paths, _ = stored
    settings = tiny.teacher.model_copy(update={"steps": 150})
    ear, again = Ear(), Ear()
    train_teacher(paths, settings, 100.0, tmp_path, ear)
    steps = [step for step, _, _ in ear.heard]
    assert len(steps) >= 2
    assert steps == sorted(set(steps))
    assert steps[-1] == 300  # of two sessions
    assert all(num_steps == 300 and values["loss"] > 0 for _, num_steps, values in ear.heard)
    train_teacher(paths, settings, 100.0, tmp_path, again)
    assert again.heard == ear.heard


def test_a_teacher_whose_loss_is_never_finite_is_told_without_a_checkpoint(
    ray_with_two_cpus, stored, tiny, tmp_path, monkeypatch
):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path))
    spec = with_teacher(tiny, learning_rate=1e30)
    with pytest.raises(
        DataError, match=r"must stay finite.*; there was no checkpoint yet$"
    ) as told:
        pretrain(spec, stored[0], Silent())
    assert "\n" not in str(told.value)


def test_a_teacher_whose_loss_is_no_longer_finite_keeps_and_names_its_last_checkpoint(
    ray_with_two_cpus, stored, tiny, tmp_path, monkeypatch
):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path))
    spec = with_teacher(tiny, workers=2, steps=200)
    folder = training_folder(spec, stored[0])
    settings = spec.teacher.model_copy(update={"steps": 100})
    train_teacher(stored[0], settings, spec.data.window_ms, folder, Silent())
    kept = folder / "checkpoint.pt"
    state = torch.load(kept, weights_only=True)
    state["teacher"]["settings"]["steps"] = 200  # a training goes on by its checkpoint's settings
    for weight in state["teacher"]["weights"].values():
        weight.mul_(1e30)
    torch.save(state, kept)
    before = kept.read_bytes()
    with pytest.raises(DataError) as told:
        pretrain(spec, stored[0], Silent())
    assert str(told.value).endswith(f"; the last checkpoint, of step 200, is kept: {kept}")
    assert "step 201 gave" in str(told.value)
    assert "\n" not in str(told.value)
    assert kept.read_bytes() == before


def test_a_teacher_whose_worker_is_killed_ends_as_one_that_never_was(
    ray_with_two_cpus, stored, tiny, awaited, tmp_path
):
    paths, _ = stored
    settings = tiny.teacher.model_copy(update={"steps": 300, "workers": 2, "batch_windows": 64})
    whole, killed, folder = Ear(), Ear(), tmp_path / "killed"
    expected = train_teacher(paths, settings, 100.0, tmp_path / "whole", whole)
    at = []

    def kill():
        awaited(lambda: step_kept(folder))
        os.kill(awaited(lambda: workers_of(os.environ[SESSION]))[-1], signal.SIGKILL)
        at.append(step_kept(folder))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    found = train_teacher(paths, settings, 100.0, folder, killed)
    thread.join(timeout=10)
    assert 0 < at[0] < 600  # of two sessions
    assert same(found.state(), expected.state())
    assert killed.heard == whole.heard


def test_a_teacher_whose_controller_dies_is_tried_again_and_told_in_one_line(
    ray_with_two_cpus, stored, tiny, tmp_path, monkeypatch
):
    # One that is killed in earnest is given up by Ray after two minutes only.
    calls = []

    def die(*given):
        calls.append(given)
        raise OutOfMemoryError("the node was low on memory\nand more")

    monkeypatch.setattr(train, "_interruptible", die)
    with pytest.raises(ClusterError, match=r"low on memory and more; .*--resume") as told:
        train_teacher(stored[0], tiny.teacher, 100.0, tmp_path, Silent())
    assert len(calls) == train.MAX_DEATHS + 1
    assert "\n" not in str(told.value)


@pytest.fixture
def study(write_study, tmp_path):
    """The study of `study.toml`, whose teacher has two workers."""
    return load_study(
        tmp_path
        / write_study(teacher={"latent_dim": 2, "steps": 400, "batch_windows": 64, "workers": 2})
    )


def test_a_command_that_is_killed_goes_on_from_its_checkpoint_and_ends_as_one_that_never_was(
    ray_with_two_cpus, study, started, kill_session, awaited, tmp_path, monkeypatch
):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path / "whole"))
    shards = ingest(study)
    whole = pretrain(study, shards, TensorBoardLog(training_folder(study, shards), study))
    training = tmp_path / "killed" / "latents" / ".train" / whole.name

    killed = started("pretrain", "study.toml", home="killed")
    awaited(lambda: step_kept(training), killed)
    awaited(lambda: list(training.glob("tensorboard/teacher/events.*")), killed)
    # All at once: a worker that outlives its driver for a moment may report once more.
    kill_session(killed.pid)
    killed.wait(timeout=30)
    # Reports and checkpoint are of one training, so that a changed report shows that it went on.
    reports = read_json(training / "reports.json")
    assert reports[0][0] <= step_kept(training) < 400
    reports[0][1]["loss"] = 1234.0
    write_json(training / "reports.json", reports)

    out, told = started("pretrain", "study.toml", home="killed").communicate(timeout=250)
    found = tmp_path / "killed" / "latents" / whole.name
    assert f"\nlatents: {found}\n" in out, told
    for path in whole.glob("*.npy"):
        assert (found / path.name).read_bytes() == path.read_bytes()
    teachers = (torch.load(f / "teacher.pt", weights_only=True) for f in (whole, found))
    assert same(*teachers)

    curve, expected = (loss_curve(folder) for folder in (found, whole))
    assert curve[0] == (expected[0][0], 1234.0)
    assert curve[1:] == expected[1:]
    assert f"TensorBoard: tensorboard --logdir {found / 'tensorboard'}" in told.replace("\n", "")
    assert not training.exists()


def loss_curve(latents):
    events = EventAccumulator(str(latents / "tensorboard" / "teacher")).Reload()
    return [(event.step, event.value) for event in events.Scalars("teacher/loss")]


def test_ctrl_c_says_that_the_same_command_goes_on_and_leaves_no_process(
    study, started, awaited, session_processes, tmp_path
):
    process = started("pretrain", "study.toml")
    awaited(lambda: list(tmp_path.glob("home/latents/.train/*/checkpoint.pt")), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert out == ""
    assert told.strip().splitlines()[-1] == "interrupted; the same command goes on"
    assert session_processes(process.pid) == {}
