"""The versions of all that decides a number, or which trial runs next."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

from rheobase import __version__

PACKAGES = ("numpy", "scipy", "torch", "numba", "llvmlite", "optuna", "cmaes")
"""Arithmetic, and the compilers of its loops; and the two that propose settings.

Not Ray, which only places trials, pyarrow and h5py, which hand on bytes as they are, or
scikit-learn, which fits baselines of the teacher's report alone.
"""
OWN = "rheobase"
"""Told, never compared: what of this package decides a number is in its code digest."""


@cache
def deciding_versions() -> Mapping[str, str]:
    """Return the version of Python, of this package and of each of `PACKAGES`.

    Examples
    --------
    >>> sorted(deciding_versions())[:4]
    ['cmaes', 'llvmlite', 'numba', 'numpy']
    """
    return {
        OWN: __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def other_versions(then: Mapping[str, str]) -> list[str]:
    """Return what is of another version now than it was then, with both, in words.

    Examples
    --------
    >>> other_versions({**deciding_versions(), "numpy": "1.0"})[0].split(" -> ")[0]
    'numpy 1.0'
    """
    now = deciding_versions()
    return [
        f"{name} {then.get(name, '(not recorded)')} -> {now[name]}"
        for name in now
        if name != OWN and then.get(name) != now[name]
    ]
