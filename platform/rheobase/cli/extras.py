"""Packages that only some commands need, and the extra that installs each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from rheobase.core.errors import RheobaseError

EXTRAS = {
    "train": {
        "cmaes", "numba", "optuna", "pandas", "ray", "requests", "sklearn", "tensorboard",
        "tensorboardX", "threadpoolctl", "torch", "yaml",
    },
    "nir": {"nir"},
    "snntorch": {"snntorch"},
}  # fmt: skip
"""Names of modules, by the extra of pyproject.toml that brings them."""


class MissingPackage(RheobaseError):
    """A package that this command needs and that was not installed."""


def extra_of(module: str) -> str | None:
    """Return the extra that brings a module, None where none does.

    Examples
    --------
    >>> extra_of("ray.data"), extra_of("numpy")
    ('train', None)
    """
    name = module.split(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if name in modules), None)


def version_or_extra(package: str) -> str:
    """Return the version of a package, or how to install it where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return f"not installed; pip install 'rheobase[{extra_of(package)}]'"


@contextmanager
def extras_installed() -> Iterator[None]:
    """Tell in one line of a package that only an extra brings.

    Raises
    ------
    MissingPackage
        In place of a ModuleNotFoundError for one of them; any other passes.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None:
            raise
        raise MissingPackage(
            f"this command needs {error.name}, which is not installed; "
            f"pip install 'rheobase[{extra}]'"
        ) from error
