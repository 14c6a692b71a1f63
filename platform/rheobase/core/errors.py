"""Errors that say what must hold, what was found, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RheobaseError(Exception):
    """Wrong input, told in one line; the command line turns it into exit code 2.

    Examples
    --------
    >>> try:
    ...     raise StudyError("mine.toml: no such study file")
    ... except RheobaseError as error:
    ...     print(error)
    mine.toml: no such study file
    """

    def __str__(self) -> str:
        """Return the message in one line, whatever the names in it hold."""
        return one_line(super().__str__())


class StudyError(RheobaseError):
    """A study file that cannot be run as written."""


class SessionError(RheobaseError):
    """A recording that cannot be read or used."""


class DataError(RheobaseError):
    """Arrays that do not fit what is asked of them."""


class ConstraintError(RheobaseError):
    """A network setting outside the range in which it means something."""


class ArtifactError(RheobaseError):
    """A stored result that is missing, damaged or belongs to another run."""


def one_line(text: str) -> str:
    r"""Return a text with what no line holds escaped: ends of lines, controls, broken letters.

    Examples
    --------
    >>> print(one_line("a\nb \udc80 ü"))
    a\nb \udc80 ü
    """
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string.

    Examples
    --------
    >>> did_you_mean("dalle", ["dale", "rate_weight"])
    " Did you mean 'dale'?"
    """
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{nearest[0]}'?" if nearest else ""
