"""Whether an object store answers, asked before any work in a process that can be ended.

Arrow's clients try for minutes where a bucket's host or the credentials are not there, and a
process that has begun to ask does not end meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

from pyarrow.fs import LocalFileSystem

from rheobase.core.errors import ArtifactError
from rheobase.core.storage import filesystem_of

ANSWER_S = 6.0
ANSWERED = "RHEOBASE_STORE_ANSWERED"
"""In the environment of a command's workers: the store that has answered it."""
ASK = "import sys; from rheobase.core.answers import answer; answer(*sys.argv[1:])"
_answered: set[str] = set()


def refuse_silent_store(url: str, *, to_write: bool = False) -> None:
    """Ask a store once in a command whether it can be read, or written.

    Parameters
    ----------
    url
        Its address.
    to_write
        Write a file there and remove it.

    Raises
    ------
    ArtifactError
        It refuses, or does not answer within `ANSWER_S`: no such bucket, no network, no
        credentials, no rights.
    """
    if not to_write and (url in _answered or os.environ.get(ANSWERED) == url):
        return
    asked = _asked_here if url.startswith("file:") else _asked_in_a_process
    if reason := asked(url, "write" if to_write else "read"):
        raise refused(url, reason)
    _answered.add(url)


def refused(url: str, reason: object) -> ArtifactError:
    """Return the error that tells of a store that cannot be used."""
    first = next(iter(str(reason).strip().splitlines()), type(reason).__name__)
    return ArtifactError(
        f"{url}: artifacts must be readable and writable there, but: {first}; check the address, "
        "your credentials and the network"
    )


def answer(url: str, how: str) -> None:
    """Print why a store cannot be used, and end this process without waiting for its client."""
    print(_reason(url, how), end="", flush=True)
    os._exit(0)


def _asked_in_a_process(url: str, how: str) -> str:
    try:
        asked = subprocess.run(
            [sys.executable, "-c", ASK, url, how],
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER_S:g} s"
    return asked.stdout if asked.returncode == 0 else asked.stderr.strip().rpartition("\n")[2]


def _asked_here(url: str, how: str) -> str:
    found: Future[str] = Future()
    # A mount whose server is gone never answers.
    threading.Thread(target=lambda: found.set_result(_reason(url, how)), daemon=True).start()
    try:
        return found.result(timeout=ANSWER_S)
    except TimeoutError:
        return f"no answer within {ANSWER_S:g} s"


def _reason(url: str, how: str) -> str:
    try:
        _use(url, is_written=how == "write")
    except Exception as error:  # whatever a client raises is why it cannot be used
        return str(error).strip() or type(error).__name__
    return ""


def _use(url: str, *, is_written: bool) -> None:
    system, path = filesystem_of(url)
    if isinstance(system, LocalFileSystem) and not Path(path).is_dir():
        raise OSError(f"{path} is not there")
    if not is_written:
        system.get_file_info(path)
        return
    name = f"{path}/writable-{os.uname().nodename}-{os.getpid()}"
    system.create_dir(path, recursive=True)
    with system.open_output_stream(name) as stream:
        stream.write(b"rheobase\n")
    system.delete_file(name)
