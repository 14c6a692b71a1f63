"""The one Ray session of a command: local on loopback, or a cluster that is there already."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType

import ray
from ray._private import ray_constants
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

from rheobase.core.answers import ANSWERED
from rheobase.core.artifacts import home, home_address
from rheobase.core.errors import RheobaseError
from rheobase.core.host import usable_cpus
from rheobase.core.storage import is_url
from rheobase.core.temporary import temporary_folder
from rheobase.distributed.joining import (
    found_address,
    refuse_other_installations,
    refuse_what_does_not_answer,
)

LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 256 * 2**20  # workers exchange references to shards, never their bytes
RAY_FOLDER = "/tmp"  # sockets lie below it, whose paths may have 107 characters at most
SESSION = "RHEOBASE_RAY_FOLDER"  # environment of every process of a local Ray session
WORKER = b"workers/default_worker.py"  # in the command of Ray's workers until they have a title
INSIST_S = 1.0  # between a Ctrl-C and the next, while it is not taken
ANSWER_S = 2.0  # for a cluster's head to take a connection
DIED = (OutOfMemoryError, RayActorError, WorkerCrashedError, NodeDiedError)
"""What Ray raises for a process of it that is gone; too little memory is the likeliest cause."""
QUIET: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # every report of Ray Train waits for this poll
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's returns as if the study were done
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "16",  # workers start side by side, not one after another
    "RAY_AIR_NEW_OUTPUT": "0",  # the old one can be silenced
}


class ClusterError(RheobaseError):
    """Ray that cannot be started or reached."""


@contextmanager
def ray_session(address: str, num_cpus: int | None = None) -> Iterator[None]:
    """Hold a Ray session open; on the way out end what it started and nothing else.

    A local one first removes what drivers that were killed have left on this machine.

    Parameters
    ----------
    address
        ``local`` starts Ray for this process, reachable from this machine alone. ``auto`` or
        ``host:port`` joins the cluster that this machine is a node of; all its nodes must see
        the same files and have rheobase installed.
    num_cpus
        Logical CPUs of a local session; all of them by default. It changes no number, only
        how many trials run at once.

    Raises
    ------
    ClusterError
        Ray cannot be started or reached, or only through Ray Client (``ray://``), which Ray
        Data and Ray Train cannot use; or a process of Ray's died in the block.

    Notes
    -----
    While it is open, what is printed goes to stderr: Ray tells of dead workers on stdout,
    which is the commands' own.
    """
    if address.startswith("ray://"):
        raise ClusterError(
            "address must be local, auto or host:port, for Ray Data and Ray Train cannot use Ray "
            f"Client, but got '{address}'; run this on a node of the cluster with --address auto"
        )
    variables = {**QUIET, "RHEOBASE_HOME": home_address()}
    if is_url(home_address()):
        variables["RHEOBASE_CACHE"] = str(home())  # paths travel between nodes
        variables[ANSWERED] = home_address()
    ours = _local(num_cpus) if address == "local" else _joined(address)
    with _environment(variables), redirect_stdout(sys.stderr), deaths_told(), ours:
        yield


@contextmanager
def deaths_told() -> Iterator[None]:
    """Tell in one line of a process of Ray's that died in the block.

    Raises
    ------
    ClusterError
        In place of what Ray raises.
    """
    try:
        yield
    except DIED as error:
        raise ClusterError(
            f"Ray's processes must live, but one died: {_first_line(error)[:300]}; is there "
            "enough memory? The same command goes on (run: with --resume)"
        ) from error


@contextmanager
def _local(num_cpus: int | None) -> Iterator[None]:
    with (
        temporary_folder(Path(RAY_FOLDER), on_left=_end_what_lives_on) as folder,
        _ray_below(folder, num_cpus),
    ):
        yield


@contextmanager
def _ray_below(folder: Path, num_cpus: int | None) -> Iterator[None]:
    several_nodes = ray_constants.ENABLE_RAY_CLUSTER
    # Without both, Ray listens on every address of the machine.
    ray_constants.ENABLE_RAY_CLUSTER = False
    variables = {
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
        "GLOO_SOCKET_IFNAME": _loopback(),
        SESSION: str(folder),
    }
    try:
        with _environment(variables):
            try:
                _uninterrupted(
                    ray.init,
                    address="local",
                    num_cpus=num_cpus or usable_cpus(),
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _node_ip_address=LOOPBACK,
                    _temp_dir=str(folder),
                )
            except (RuntimeError, OSError, ValueError) as error:
                raise ClusterError(f"Ray must start, but: {_first_line(error)}") from error
            with _terminated_as_interrupted():
                yield
    finally:
        try:
            _uninterrupted(_shut_down, folder=folder)
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = several_nodes


def _shut_down(folder: Path) -> None:
    """End Ray, and with it its workers: they would notice and leave only later."""
    ray.shutdown()
    _end_what_lives_on(folder)


def _end_what_lives_on(folder: Path) -> None:
    """End Ray's workers and agents of a session that has ended, and await it.

    Agents whose driver was killed would wait a minute for it.
    """
    while living := _processes_of(folder):
        for number in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.02)


def _processes_of(folder: Path) -> list[int]:
    """Return the ids of Ray's workers and agents of a session.

    They are told by the session's folder, which they have in their environment from its driver
    alone.
    """
    entry = f"{SESSION}={folder}".encode()
    processes = []
    for process in Path("/proc").glob("[0-9]*"):  # none on macOS, where they are waited for
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            title = (process / "cmdline").read_bytes()
            is_ray = title.startswith(b"ray::") or WORKER in title
            if is_ray and entry in (process / "environ").read_bytes().split(b"\0"):
                processes.append(int(process.name))
    return processes


def _loopback() -> str:
    """Return the name of the loopback interface: lo, or lo0 on macOS."""
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


@contextmanager
def _joined(address: str) -> Iterator[None]:
    ours = (*QUIET, *(name for name in os.environ if name.startswith("RHEOBASE_")))
    variables = {name: os.environ[name] for name in ours}
    try:
        try:
            found = found_address(address)
            _knock(found)
            refuse_what_does_not_answer(found)
            ray.init(
                address=found,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": variables},
            )
            refuse_other_installations()
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise ClusterError(
                f"a Ray cluster must answer at '{address}', but: {_first_line(error)}; "
                "use --address local, or start one with 'ray start --head'"
            ) from error
        with _terminated_as_interrupted():
            yield
    finally:
        _uninterrupted(ray.shutdown)


def _knock(address: str) -> None:
    """Raise if nothing listens at ``host:port``: Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon:
        raise ValueError("an address is local, auto or host:port")
    socket.create_connection((host, int(port)), timeout=ANSWER_S).close()


def _uninterrupted(call: Callable[..., object], **arguments: object) -> None:
    """Call, and let a Ctrl-C wait: half-started Ray would leave processes behind."""
    if threading.current_thread() is not threading.main_thread():
        call(**arguments)
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        call(**arguments)
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Take SIGTERM, as schedulers send it, for a Ctrl-C; Ray's own handler prints a C++ stack."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def insistent_interrupts() -> Iterator[None]:
    """Send a Ctrl-C again every second until it has ended the block.

    Python loses the KeyboardInterrupt of a signal that comes while a destructor or a callback of
    Ray's compiled code runs: the run would then go on as if none had been sent.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed, taken = threading.Event(), threading.Event()

    def insist() -> None:
        pressed.wait()
        while not taken.wait(INSIST_S):
            os.kill(os.getpid(), signal.SIGINT)

    def press(number: int, frame: FrameType | None) -> None:
        pressed.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    threading.Thread(target=insist, daemon=True).start()
    try:
        yield
    finally:
        taken.set()
        pressed.set()
        signal.signal(signal.SIGINT, before)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
