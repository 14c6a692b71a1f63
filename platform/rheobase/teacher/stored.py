"""A state that PyTorch stored, read only as far as it holds numbers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from rheobase.core.errors import ArtifactError

DAMAGE = (
    RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError,
    IndexError, OverflowError, MemoryError, pickle.UnpicklingError,
)  # fmt: skip
"""Whatever PyTorch makes of a damaged file."""


def read_state(path: Path, do: str, *, mapped: bool = False) -> dict[str, Any]:
    """Return what ``torch.save`` wrote.

    Parameters
    ----------
    path
        The file.
    do
        What the user can do where it is damaged.
    mapped
        Map its arrays from the file instead of reading them, for who wants little of it.

    Raises
    ------
    ArtifactError
        It is missing or damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
        return state
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {do}") from None
    except DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(
            f"{path}: a whole state must be there, but it is damaged: {reason}; {do}"
        ) from None
