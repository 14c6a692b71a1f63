"""Datasets and tables of an HDF5 file, each checked before it is read."""

# Shape legend: N units, E entries.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError, SessionError
from rheobase.core.memory import refuse_beyond_memory
from rheobase.sessions.readers.columns import strings
from rheobase.sessions.records.session import Strings

Table = Mapping[str, npt.NDArray[Any]]
MOST_SQUEEZED = 1032
"""Deflate makes nothing smaller than this many times: what claims more was never written."""
MOST_GROUPS = 20_000
"""Of a file that are looked into for tables; a real one has hundreds."""
SMALL_BYTES = 2**20


def dataset(group: h5py.Group, name: str) -> h5py.Dataset | None:
    """Return a dataset of a group, None where there is none or its link leads nowhere."""
    try:
        node = group.get(name)
    except (OSError, RuntimeError, KeyError):
        return None
    return node if isinstance(node, h5py.Dataset) else None


def array_of(node: h5py.Dataset) -> npt.NDArray[Any]:
    """Return all that a dataset holds.

    Raises
    ------
    DataError
        It claims more than was written, or than fits into memory.
    OSError
        It is damaged, or compressed by what is not installed.
    """
    num_bytes = float(np.prod(node.shape, dtype=float)) * node.dtype.itemsize
    if num_bytes > SMALL_BYTES:
        stored = node.id.get_storage_size()
        if node.external is None and num_bytes > MOST_SQUEEZED * max(stored, 1):
            raise DataError(
                f"{node.name[1:]} must hold the {num_bytes:.3g} bytes that it claims, but "
                f"{stored} were written; write the file again"
            )
        refuse_beyond_memory(num_bytes, node.name[1:], "use a machine with more, or split the file")
    values: npt.NDArray[Any] = np.asarray(node[()])
    return values


def numbers_of(
    group: h5py.Group, name: str, what: str, path: Path, num: int | None = None
) -> npt.NDArray[Any]:
    """Return a column of numbers (E,).

    Parameters
    ----------
    group, name
        Where it lies.
    what
        What it is for, for errors.
    path
        The file, for errors.
    num
        How many there must be; None: any number.

    Raises
    ------
    SessionError
        It is missing, damaged, no column of numbers, or of another length.
    """
    full = f"{group.name}/{name}".strip("/")
    node = dataset(group, name)
    if node is None:
        found = "it is another thing" if name in group else f"there is {_some_names(group)}"
        raise SessionError(
            f"{path}: '{full}' must be there, {what}, but {found}; write the file again with it"
        )
    if node.ndim != 1 or node.dtype.kind not in "fiu":
        raise SessionError(
            f"{path}: '{full}' must be a row of numbers, {what}, but is {node.dtype} of shape "
            f"{node.shape}; write the file again"
        )
    if num is not None and len(node) != num:
        raise SessionError(
            f"{path}: '{full}' must have {num} entries, {what}, but has {len(node)}; write the "
            "file again"
        )
    try:
        return array_of(node)
    except DataError as error:
        raise SessionError(f"{path}: {error}") from None
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise SessionError(f"{path}: {told_of(full, error)}") from None


def told_of(name: str, error: Exception) -> str:
    """Return in one line why a dataset could not be read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0].strip("'\"")
    if "filter" in reason.lower() or "plugin" in reason.lower():
        return (
            f"'{name}' must be readable by HDF5 as it is installed, but is compressed by what is "
            f"not ({reason}); repack the file with 'h5repack -f GZIP=4'"
        )
    return f"'{name}' must be whole, but is damaged: {reason}; copy or download the file again"


def _some_names(group: h5py.Group) -> str:
    names = sorted(group)
    return ", ".join(names[:9]) + (" …" if len(names) > 9 else "") if names else "nothing"


def columns_of(group: h5py.Group, skip: frozenset[str] = frozenset()) -> tuple[Table, list[str]]:
    """Return the columns of a table that hold one number, flag or word a row, and what is damaged.

    Indices of an enumeration are its words; the words of a ragged column, such as ``tags``, are
    joined by ``", "``.

    Parameters
    ----------
    group
        The table.
    skip
        Names of columns that are not read.
    """
    ids = dataset(group, "id")
    first = dataset(group, "start_time")
    lengths = [len(one) for one in (ids, first) if one is not None and one.ndim]
    num = lengths[0] if lengths else -1
    columns: dict[str, npt.NDArray[Any]] = {}
    damaged: list[str] = []
    ordered = [str(name) for name in strings(np.asarray(group.attrs.get("colnames", [])))]
    for name in dict.fromkeys([*ordered, *group]):
        node = dataset(group, name)
        if node is None or node.ndim != 1 or name == "id" or name in skip:
            continue
        if name.endswith(("_index", "_elements")) and name.rsplit("_", 1)[0] in group:
            continue
        is_text = h5py.check_string_dtype(node.dtype) is not None
        if not is_text and node.dtype.kind not in "biufSU":
            continue
        try:
            ends = dataset(group, f"{name}_index")
            if ends is not None:
                if is_text and ends.shape == (num,):
                    columns[name] = _joined(strings(array_of(node)), array_of(ends))
            elif len(node) == num:
                columns[name] = _words(group, name, node)
            elif name in ordered:
                where = f"{group.name}/{name}".strip("/")
                damaged.append(
                    f"'{where}' must have an entry for each of {num} rows, but has {len(node)}; "
                    "write the file again"
                )
        except (OSError, RuntimeError, ValueError, TypeError, IndexError, DataError) as error:
            damaged.append(told_of(f"{group.name}/{name}".strip("/"), error))
    return columns, damaged


def _words(group: h5py.Group, name: str, node: h5py.Dataset) -> npt.NDArray[Any]:
    """Return a column, the indices of an enumeration as its words."""
    values = array_of(node)
    elements = None
    if isinstance(node.attrs.get("elements"), h5py.Reference):
        elements = group.file[node.attrs["elements"]]
    elif node.attrs.get("neurodata_type") in ("EnumData", b"EnumData"):
        elements = dataset(group, f"{name}_elements")
    if elements is None:
        return values
    words = strings(array_of(elements))
    inside = (values >= 0) & (values < len(words))
    named: Strings = np.where(inside, words[np.where(inside, values, 0)], "")
    return named


def _joined(words: Strings, ends: npt.NDArray[Any]) -> Strings:
    ends = ends.astype(np.int64)
    if (np.diff(ends, prepend=0) < 0).any() or ends.max(initial=0) > len(words):
        raise ValueError(f"its index does not rise to its {len(words)} words")
    begins = [0, *ends[:-1].tolist()]
    return np.array(
        [", ".join(words[b:e]) for b, e in zip(begins, ends.tolist(), strict=True)], np.str_
    )


def tables_of(file: h5py.File) -> dict[str, h5py.Group]:
    """Return every table with ``start_time`` and ``stop_time`` by its path in the file.

    External links are followed; a group that is reached twice is listed once, and one that cannot
    be opened is left out.
    """
    found: dict[str, h5py.Group] = {}
    seen: set[tuple[int, int]] = set()
    left: list[tuple[str, h5py.Group]] = [("", file)]
    while left and len(seen) < MOST_GROUPS:
        path, group = left.pop(0)
        about = h5py.h5o.get_info(group.id)
        if (about.fileno, about.addr) in seen:
            continue
        seen.add((about.fileno, about.addr))
        if dataset(group, "start_time") is not None and dataset(group, "stop_time") is not None:
            found[path] = group
        left += [(f"{path}/{name}".strip("/"), one) for name, one in _groups_in(group)]
    return found


def _groups_in(group: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    for name in group:
        try:
            if group.get(name, getclass=True) is h5py.Group:
                yield name, group[name]
        except (OSError, RuntimeError, KeyError):
            continue
