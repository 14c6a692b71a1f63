"""How a command ends that could not do its work: in one line, with the exit code it promises."""

from __future__ import annotations

import errno
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from typer.exceptions import TyperException

from rheobase import __version__
from rheobase.cli.terminal import print_error, say_error
from rheobase.core.artifacts import home
from rheobase.core.errors import RheobaseError

WRONG_INPUT = 2
FAULT = 70  # EX_SOFTWARE of sysexits.h: an internal error
WRONG_PATHS = (
    errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EACCES, errno.EPERM,
    errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTEMPTY,
)  # fmt: skip
MOST_LETTERS = 300


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Print an error in one line and exit: 2 for wrong input, 70 for a fault of ours.

    The traceback of a fault goes into a file that the line names.
    """
    try:
        yield
    except RheobaseError as error:
        print_error(error)
        sys.exit(WRONG_INPUT)
    except TyperException as error:
        _end_with_usage(error)
    except OSError as error:
        path = error.filename2 or error.filename
        if path is None or error.errno not in WRONG_PATHS:
            _end_with_a_log(error)
        told = str(error.strerror).lower()
        say_error(f"PathError: {path}: it must be there and of the right kind, but: {told}; "
             "name another path, or see to this one")  # fmt: skip
        sys.exit(WRONG_INPUT)
    except Exception as error:
        _end_with_a_log(error)


def _end_with_usage(error: TyperException) -> None:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "rheobase"
    told = error.format_message() if isinstance(error, typer.BadParameter) else str(error)
    say_error(f"UsageError: {command}: {told.rstrip('.')}; '{command} -h' tells how it is used")
    sys.exit(WRONG_INPUT)


def _end_with_a_log(error: Exception) -> None:
    log = _written(error)
    what = " ".join(str(error).split())[:MOST_LETTERS]
    say_error(
        f"Fault: {type(error).__name__}: {what}; this is an error of rheobase, not of your input. "
        f"What was stored is kept, and the same command (run: with --resume) may go on. "
        f"Please report it with the file {log}, which holds the traceback"
    )
    sys.exit(FAULT)


def _written(error: Exception) -> Path:
    """Write command, versions and traceback into a new file and return it."""
    name = f"rheobase-fault-{time.strftime('%Y%m%d-%H%M%S')}-"
    text = "\n".join(
        [
            f"command: {' '.join(sys.argv)}",
            f"rheobase {__version__}, Python {platform.python_version()}, {platform.platform()}",
            "",
            *traceback.format_exception(error),
        ]
    )
    for folder in (home(), Path(tempfile.gettempdir())):
        try:
            with tempfile.NamedTemporaryFile(
                "w", dir=folder, prefix=name, suffix=".log", delete=False
            ) as file:
                file.write(text)
            return Path(file.name)
        except OSError:  # not there, or nobody may write in it
            continue
    sys.stderr.write(text)
    return Path("-")
