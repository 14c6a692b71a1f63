"""Ray Train fits the teacher with several workers."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train.backend import Backend
from ray.train.torch import TorchConfig, TorchTrainer

from rheobase.core.errors import RheobaseError
from rheobase.core.temporary import temporary_folder
from rheobase.distributed.cluster import ClusterError
from rheobase.shards.store import read_shard
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.fit import fit_teacher, trained
from rheobase.teacher.settings import TeacherSettings

MAX_DEATHS = 2  # of a worker, after which training goes on from the last checkpoint
STATE = "state.pt"


def train_teacher(
    shard_paths: Sequence[Path], settings: TeacherSettings, window_ms: float, folder: Path
) -> Teacher:
    """Train a teacher with its settings' number of workers.

    Parameters
    ----------
    shard_paths
        Binned sessions.
    settings
        The [teacher] table.
    window_ms
        Longest stretch a sample may span.
    folder
        Holds the checkpoints; training goes on from one that is there.

    Raises
    ------
    DataError
        As `fit_teacher` raises it.
    ClusterError
        Workers died again and again.
    """
    workers = settings.workers
    available = ray.cluster_resources()
    use_gpu = available.get("GPU", 0) >= workers
    # Half a CPU each leaves one to spare on small machines; more workers than that share.
    share = min(0.5, round(available["CPU"] / workers - 5e-5, 4))
    for _ in range(MAX_DEATHS + 1):
        trainer = TorchTrainer(
            _train_worker,
            train_loop_config={
                "settings": settings,
                "window_ms": window_ms,
                "shards": list(shard_paths),
                "rendezvous": folder / f"rendezvous-{uuid.uuid4().hex}",
                "backend": "nccl" if use_gpu else "gloo",
            },
            torch_config=_WorkersMeetInAFile(),
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers, use_gpu=use_gpu, resources_per_worker={"CPU": share}
            ),
            run_config=ray.train.RunConfig(
                name=folder.name,
                storage_path=str(folder),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            ),
        )
        try:
            result = _interruptible(trainer.fit)
        except ray.train.WorkerGroupError as error:
            for failure in error.worker_failures.values():
                _raise_told(failure)
            last = str(error)
            continue
        with result.checkpoint.as_directory() as checkpoint:
            saved = torch.load(Path(checkpoint) / STATE, weights_only=True)
        return trained(saved)
    raise ClusterError(
        f"the teacher's workers must live, but died {MAX_DEATHS + 1} times: "
        f"{' '.join(last.split())[-300:]}"
    )


class _WorkersMeetInAFile(TorchConfig):
    """Leaves `torch.distributed` to the workers: Ray's set-up listens on every address."""

    @property
    def backend_cls(self) -> type[Backend]:
        """Set nothing up."""
        return Backend


def _train_worker(config: dict[str, Any]) -> None:
    """Train as one of the teacher's workers."""
    torch.set_num_threads(1)
    settings: TeacherSettings = config["settings"]
    context = ray.train.get_context()
    dist.init_process_group(
        config["backend"],
        init_method=f"file://{config['rendezvous']}",
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
    )
    checkpoint = ray.train.get_checkpoint()
    resume = None
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            resume = torch.load(Path(folder) / STATE, weights_only=True)

    def report(step: int, metrics: dict[str, float], state: Callable[[], dict[str, Any]]) -> None:
        values = {"step": step, **metrics}
        if dist.get_rank() > 0:
            ray.train.report(values)
            return
        with temporary_folder() as folder:
            saved = folder / "checkpoint"
            saved.mkdir()
            torch.save(state(), saved / STATE)
            ray.train.report(values, checkpoint=ray.train.Checkpoint.from_directory(saved))

    try:
        fit_teacher(
            [read_shard(path) for path in config["shards"]],
            settings,
            config["window_ms"],
            resume=resume,
            on_report=report,
        )
    finally:
        dist.destroy_process_group()


def _interruptible(fit: Callable[[], Any]) -> Any:
    """Call Ray Train beside the main thread, in which it would replace Ctrl-C for good."""
    outcome: Future[Any] = Future()

    def call() -> None:
        try:
            outcome.set_result(fit())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return outcome.result()


def _raise_told(failure: BaseException | None) -> None:
    """Raise the error of this package that a worker failed with, if it is one."""
    while failure is not None:
        if isinstance(failure, RheobaseError):
            raise failure from None
        failure = getattr(failure, "_base_exc", None) or failure.__cause__
