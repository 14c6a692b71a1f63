"""Files of others are read by a process that can be stopped: HDF5 can loop, or crash, on damage."""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from rheobase.core.errors import RheobaseError, SessionError
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.path_settings import PathSettings
from rheobase.sessions.records.session import Session

LEAST_CPU_S, BYTES_PER_CPU_S = 2.5, 10e6
"""CPU seconds that reading a file may take: a damaged one ends in a loop. A sound one of 2,000
units and 145 MB takes half a second."""
PIPE_BYTES = 2**20
"""What a pipe holds, where the system lets it: fewer turns from one process to the other."""
CHILD = """
import sys
sys.path[:] = {path!r}
from rheobase.sessions.readers.isolated import serve
from rheobase.sessions.readers.nwb import read_nwb
serve(read_nwb)
"""


def read_isolated(
    path: Path,
    events: EventSettings | None,
    paths: PathSettings | None,
    *,
    spikes: bool = True,
) -> Session:
    """Read an NWB file as `rheobase.sessions.readers.nwb.read_nwb` does, in a process of its own.

    That process reads one file after another and ends with this one.

    Raises
    ------
    SessionError
        As `read_nwb`; or reading it took more CPU time than any sound file of its size, or ended
        the process.
    """
    if not path.is_file():
        raise SessionError(f"{path}: an NWB file must be there, but there is none; check the path")
    limit_s = LEAST_CPU_S + path.stat().st_size / BYTES_PER_CPU_S
    try:
        kind, answer = _reader.ask((os.getcwd(), str(path), events, paths, spikes, limit_s))
    except _Ended as ended:
        if ended.code == -signal.SIGPROF:
            why = f"HDF5 was still reading it after {limit_s:.0f} s of CPU time"
        elif ended.code == -signal.SIGKILL:
            why = "its reader was killed, as a machine out of memory does"
        else:
            why = f"HDF5 crashed on it (exit {ended.code})"
        raise SessionError(
            f"{path}: a whole NWB (HDF5) file must be given, but {why}; copy or download it again"
        ) from None
    if kind == "refused":
        raise answer
    session: Session = answer
    return session


class _Ended(Exception):
    """The reading process ended before it answered."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Reader:
    """A process that is started when it is first asked, and again after it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def ask(self, question: Any) -> tuple[str, Any]:
        """Return the answer to a question.

        Raises
        ------
        _Ended
            The process ended in place of answering.
        """
        with self._lock:
            process = self._running()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                pickle.dump(question, process.stdin, protocol=5)
                process.stdin.flush()
                return _received(process.stdout)
            except (EOFError, BrokenPipeError, pickle.UnpicklingError):
                process.wait()
                raise _Ended(self.end()) from None
            except BaseException:  # a Ctrl-C: its answer would be taken for the next one's
                self.end()
                raise

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self.end()
            source = CHILD.format(path=sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-c", source],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pipesize=PIPE_BYTES,
            )
            self._owner = os.getpid()
        return self._process

    def end(self) -> int:
        """End the process, whatever it does, and return its exit code."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return 0
        process.kill()  # one that has ended already keeps its code
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        return process.wait()


_reader = _Reader()
atexit.register(_reader.end)


def serve(read: Callable[..., Session]) -> None:
    """Answer questions from stdin on stdout with `read` until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked decides when this process ends
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between answers
    with suppress(EOFError):
        while True:
            _answer(questions, answers, read)


def _answer(questions: BinaryIO, answers: BinaryIO, read: Callable[..., Session]) -> None:
    folder, path, events, paths, spikes, limit_s = pickle.load(questions)
    os.chdir(folder)
    signal.setitimer(signal.ITIMER_PROF, limit_s)  # its signal ends a process, inside C too
    try:
        answer: tuple[str, Any] = ("read", read(Path(path), events, paths, spikes=spikes))
    except RheobaseError as error:
        answer = ("refused", error)
    except MemoryError:
        message = f"{path}: it must fit into memory, but does not; use a machine with more"
        answer = ("refused", SessionError(message))
    except Exception as error:  # a kind of damage that no check foresaw
        reason = (str(error).splitlines() or [""])[0]
        message = (
            f"{path}: a whole NWB 2.x file must be given, but reading it failed "
            f"({type(error).__name__}: {reason}); copy or download it again"
        )
        answer = ("refused", SessionError(message))
    signal.setitimer(signal.ITIMER_PROF, 0)
    _send(answer, answers)


def _send(answer: tuple[str, Any], stream: BinaryIO) -> None:
    """Write an answer, its arrays after it as they lie in memory."""
    arrays: list[pickle.PickleBuffer] = []
    head = pickle.dumps(answer, protocol=5, buffer_callback=arrays.append)
    views = [array.raw() for array in arrays]
    pickle.dump((len(head), [view.nbytes for view in views]), stream, protocol=5)
    stream.write(head)
    for view in views:
        stream.write(view)
    stream.flush()


def _received(stream: IO[bytes]) -> tuple[str, Any]:
    head_bytes, sizes = pickle.load(stream)
    head = stream.read(head_bytes)
    arrays = [np.empty(size, np.uint8) for size in sizes]  # not zeroed before it is filled
    for array in arrays:
        left = array.data
        while left:
            num = stream.readinto(left)  # type: ignore[attr-defined]
            if not num:
                raise EOFError
            left = left[num:]
    answer: tuple[str, Any] = pickle.loads(head, buffers=arrays)
    return answer
