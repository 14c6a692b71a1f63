"""Paths as users write them: ``~``, ``$VARIABLES``, globs, several files of one session."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from rheobase.core.errors import ArtifactError

JOIN = " + "
"""Between the files of one session."""


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


def parts_of(address: str) -> list[str]:
    """Return the files of a session that is kept in several; none of an address of one.

    Examples
    --------
    >>> parts_of("probeA.nwb + probeB.nwb"), parts_of("a+b.nwb")
    (['probeA.nwb', 'probeB.nwb'], [])
    """
    if JOIN not in address or os.path.exists(expanded(address)):
        return []
    return [part.strip() for part in address.split(JOIN)]


def refuse_nowhere(text: str) -> None:
    """Refuse the name of a folder that is empty, or a URL of which nothing follows ``://``.

    Raises
    ------
    ArtifactError
        It is one of them.
    """
    if not text.strip() or ("://" in text and not text.partition("://")[2].strip("/ ")):
        raise ArtifactError(
            f"'{text}': a folder must be a path or a URL such as s3://bucket/folder, but this "
            "names no place; write the whole of it"
        )
