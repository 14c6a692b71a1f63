"""Ray Train fits the teacher with several workers."""

from __future__ import annotations

import io
import math
import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train.backend import Backend
from ray.train.torch import TorchConfig, TorchTrainer

from rheobase.core.artifacts import PARTIALS, read_json, room_on_disk, whole_file, write_json
from rheobase.core.errors import RheobaseError
from rheobase.core.store import pull, push
from rheobase.distributed.cluster import SESSION, ClusterError
from rheobase.distributed.nodes import room_for
from rheobase.shards.states import fitted_in
from rheobase.shards.store import read_shard
from rheobase.study.records.listener import Listener
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.source import sources_of
from rheobase.teacher.stored import read_state
from rheobase.teacher.training import Training, TrainingFailed, advance, begun, restored

MAX_DEATHS = 2  # of a worker, after which training goes on from the last checkpoint
HEAR_S = 0.5  # between two looks for what the workers have reported
CHECKPOINT, REPORTS = "checkpoint.pt", "reports.json"
AGAIN = "delete it, and the same command begins the training again"


def train_teacher(
    shard_paths: Sequence[Path],
    settings: TeacherSettings,
    window_ms: float,
    folder: Path,
    listener: Listener,
    fit_states: Sequence[str] = (),
) -> Teacher:
    """Train a teacher with its settings' number of workers; a closed form takes none.

    Parameters
    ----------
    shard_paths
        Binned sessions.
    settings
        The [teacher] table.
    window_ms
        Longest stretch a sample may span.
    folder
        Holds ``checkpoint.pt``, from which training goes on if it is there, and
        ``reports.json``, all reports up to it.
    listener
        Hears every report once, in this process; first those made before an interruption.
    fit_states
        States whose bins alone it learns from; empty: all.

    Raises
    ------
    DataError
        As `fit_teacher` raises it; of a loss that is not finite, with the checkpoint's path.
    ArtifactError
        The disk is full.
    ClusterError
        Workers died again and again.

    Notes
    -----
    The files are the trainer's own, not Ray Train's, whose list of checkpoints is not written
    whole: a kill or a full disk on the way would leave nothing to go on from.
    """
    if settings.kind != "lejepa":
        shards = [fitted_in(read_shard(path), fit_states) for path in shard_paths]
        return fit_teacher(shards, settings, window_ms)
    with room_for("the teacher", {"CPU": 1}):
        return _trained(shard_paths, settings, window_ms, folder, listener, fit_states)


def _trained(
    shard_paths: Sequence[Path],
    settings: TeacherSettings,
    window_ms: float,
    folder: Path,
    listener: Listener,
    fit_states: Sequence[str],
) -> Teacher:
    workers = settings.workers
    available = ray.cluster_resources()
    use_gpu = available.get("GPU", 0) >= workers
    backend = "nccl" if use_gpu else "gloo"
    # Half a CPU each leaves one to spare on small machines; more workers than that share.
    share = min(0.5, round(available["CPU"] / workers - 5e-5, 4))
    heard = 0

    def hear() -> None:
        nonlocal heard
        pull(folder / REPORTS, anew=True)
        for step, values in _reports(folder):
            if step > heard:
                listener.teacher_progress(step, settings.steps * len(shard_paths), values)
                heard = step

    for path in folder.glob(PARTIALS):  # of a process that was killed
        path.unlink(missing_ok=True)
    for _ in range(MAX_DEATHS + 1):
        trainer = TorchTrainer(
            _train_worker,
            train_loop_config={
                "settings": settings,
                "window_ms": window_ms,
                "shards": list(shard_paths),
                "fit_states": tuple(fit_states),
                "folder": folder,
                "rendezvous": folder / f"rendezvous-{uuid.uuid4().hex}",
                "backend": backend,
            },
            torch_config=_WorkersMeetInAFile() if SESSION in os.environ else TorchConfig(backend),
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers, use_gpu=use_gpu, resources_per_worker={"CPU": share}
            ),
            run_config=ray.train.RunConfig(name=folder.name, storage_path=str(folder)),
        )
        try:
            _interruptible(trainer.fit, hear)
        except ray.train.WorkerGroupError as error:
            for failure in error.worker_failures.values():
                _raise_told(failure, folder)
            last = str(error)
            continue
        except (ray.train.ControllerError, ray.exceptions.RayError) as error:
            last = str(error)  # of its controller, which may be killed for memory as well
            continue
        pull(folder / CHECKPOINT, anew=True)
        return restored(read_state(folder / CHECKPOINT, AGAIN)).finished()
    raise ClusterError(
        f"the teacher's workers must live, but died {MAX_DEATHS + 1} times: "
        f"{' '.join(last.split())[-300:]}; is there enough memory? Its last checkpoint is kept, "
        "the same command goes on (run: with --resume)"
    )


class _WorkersMeetInAFile(TorchConfig):
    """Leaves `torch.distributed` to the workers of one machine, which see one folder.

    Ray's own set-up, which a cluster has, listens on every address.
    """

    @property
    def backend_cls(self) -> type[Backend]:
        """Set nothing up."""
        return Backend


def _train_worker(config: dict[str, Any]) -> None:
    """Train as one of the teacher's workers."""
    torch.set_num_threads(1)
    settings: TeacherSettings = config["settings"]
    context = ray.train.get_context()
    if not dist.is_initialized():
        dist.init_process_group(
            config["backend"],
            init_method=f"file://{config['rendezvous']}",
            rank=context.get_world_rank(),
            world_size=context.get_world_size(),
        )
    folder: Path = config["folder"]
    shards = [fitted_in(read_shard(path), config["fit_states"]) for path in config["shards"]]
    try:
        sources = sources_of(shards, settings, config["window_ms"])
        for name in (REPORTS, CHECKPOINT):
            pull(folder / name, anew=True)
        if (folder / CHECKPOINT).exists():
            training = restored(read_state(folder / CHECKPOINT, AGAIN))
        else:
            training = begun(shards, settings)
        reports = [(step, values) for step, values in _reports(folder) if step <= training.step]
        while not training.is_over:
            training, means = advance(training, sources)
            if dist.get_rank() == 0:
                finite = {name: value for name, value in means.items() if math.isfinite(value)}
                reports.append((training.step, finite))
                _keep(folder, training, reports)
    finally:
        dist.destroy_process_group()


def _keep(
    folder: Path, training: Training, reports: Sequence[tuple[int, Mapping[str, float]]]
) -> None:
    """Write the checkpoint and all reports up to it."""
    content = io.BytesIO()
    torch.save(training.state(), content)  # to a file it hides why it could not write
    with room_on_disk("give the same command again"):
        # Reports first: after a kill between the two, the last is made and said again.
        write_json(folder / REPORTS, reports)
        push(folder / REPORTS)
        with whole_file(folder / CHECKPOINT) as partial:
            partial.write_bytes(content.getvalue())
        push(folder / CHECKPOINT)


def _reports(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Return step and values of each report so far."""
    if not (folder / REPORTS).exists():
        return []
    return [(step, values) for step, values in read_json(folder / REPORTS)]


def _interruptible(fit: Callable[[], object], meanwhile: Callable[[], None]) -> None:
    """Call Ray Train beside the main thread, in which it would replace Ctrl-C for good."""
    outcome: Future[object] = Future()

    def call() -> None:
        try:
            outcome.set_result(fit())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    while not outcome.done():
        wait([outcome], timeout=HEAR_S)
        meanwhile()
    outcome.result()


def _raise_told(failure: BaseException | None, folder: Path) -> None:
    """Raise the error of this package that a worker failed with, if it is one."""
    while failure is not None:
        if isinstance(failure, TrainingFailed):
            raise TrainingFailed(f"{failure}; {_last_checkpoint(folder)}") from None
        if isinstance(failure, RheobaseError):
            raise failure from None
        failure = getattr(failure, "_base_exc", None) or failure.__cause__


def _last_checkpoint(folder: Path) -> str:
    path = folder / CHECKPOINT
    if not path.exists():
        return "there was no checkpoint yet"
    step = read_state(path, AGAIN, mapped=True)["step"]
    return f"the last checkpoint, of step {step}, is kept: {path}"
