"""Paths as users write them: ``~``, ``$VARIABLES``, globs, and names that look like one."""

from __future__ import annotations

import glob
import os
from pathlib import Path


def expanded(text: str) -> str:
    """Return a path with ``~`` and ``$VARIABLES`` replaced; a variable that is not set stays.

    Examples
    --------
    >>> os.environ["LAB"] = "data"
    >>> expanded("$LAB/a.nwb")
    'data/a.nwb'
    """
    return os.path.expandvars(os.path.expanduser(text))


def matching(text: str, beside: Path | None = None) -> list[str]:
    """Return the paths that a path or a glob names, sorted.

    A name that exists is itself, brackets and all.

    Parameters
    ----------
    text
        As a user writes it.
    beside
        Folder to look in where nothing is found from here.
    """
    path = expanded(text)
    tried = [path]
    if beside is not None and not os.path.isabs(path):
        tried.append(str(beside / path))
    for one in tried:
        if os.path.exists(one):
            return [one]
        if found := sorted(glob.glob(one, recursive=True)):
            return found
    return []
