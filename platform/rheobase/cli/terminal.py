"""What commands print: JSON alone on stdout, all else for people on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

from rheobase.core.errors import one_line

log = Console(stderr=True, emoji=False)  # else :abc: of an address becomes a picture
SHORT = 8  # letters of a trial's id that are shown; commands take any that are unique


def print_error(error: Exception) -> None:
    """Print an error in one line, its kind first; also where all else is quiet."""
    say_error(f"{type(error).__name__}: {error}")


def say_error(line: str) -> None:
    """Print one line of an error."""
    Console(stderr=True, emoji=False).print(
        one_line(line), style="red", markup=False, highlight=False, soft_wrap=True
    )


def print_json(value: Any) -> None:
    """Print JSON on stdout; NaN is refused."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")
