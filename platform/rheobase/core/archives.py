"""NumPy files and archives of others, each array checked before it is made."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import DataError
from rheobase.core.memory import refuse_beyond_memory

Arrays = dict[str, npt.NDArray[Any]]


def read_archive(path: Path, names: Collection[str] | None = None) -> Arrays:
    """Return the arrays of an ``.npz`` archive by name.

    Parameters
    ----------
    path
        The archive.
    names
        Those that are read; None: all.

    Raises
    ------
    DataError
        It is missing, no archive, encrypted or damaged; or an array of it claims more than was
        written or fits into memory, or is not of plain numbers or words.
    """
    with _told(path), path.open("rb") as file:
        _refuse_other_kinds(path, file)
        return _read_members(path, file, names)


def _refuse_other_kinds(path: Path, file: IO[bytes]) -> None:
    begins = file.read(8)
    file.seek(0)
    kinds = {
        b"": "it is empty; copy it again",
        b"\x89HDF\r\n\x1a\n": "this is HDF5; if it is NWB name it .nwb",
        b"\x93NUMPY": "this is one array; save several by name with numpy.savez",
        b"MATLAB 5": "this is a MATLAB file; save it with numpy.savez",
        b"\x1f\x8b": "this is compressed by gzip; unpack it",
    }
    for words, told in kinds.items():
        if begins.startswith(words) and bool(words) == bool(begins):
            raise DataError(f"{path}: an archive of arrays (.npz) must be given, but {told}")


def _read_members(path: Path, file: IO[bytes], names: Collection[str] | None) -> Arrays:
    with zipfile.ZipFile(file) as archive:
        arrays: Arrays = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if info.is_dir() or (names is not None and name not in names):
                continue
            if not info.filename.endswith(".npy"):
                raise DataError(
                    f"{path}: an archive of arrays must hold .npy files alone, but holds "
                    f"'{info.filename}'; write it with numpy.savez"
                )
            if info.flag_bits & 1:
                raise DataError(
                    f"{path}: an archive must be readable, but '{name}' is encrypted; write it "
                    "again without a password"
                )
            with archive.open(info) as member:
                arrays[name] = _array(member, f"{path}: '{name}'", info.file_size)
        return arrays


def read_array(path: Path) -> npt.NDArray[Any]:
    """Return the array of an ``.npy`` file.

    Raises
    ------
    DataError
        As `read_archive`.
    """
    with _told(path), path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            raise DataError(
                f"{path}: one array (.npy) must be given, but this is an archive of several; save "
                "the one you mean with numpy.save"
            )
        file.seek(0)
        return _array(file, str(path), path.stat().st_size)


def _array(file: IO[bytes], where: str, num_bytes: int) -> npt.NDArray[Any]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, fortran, kind = read(file)
    if kind.hasobject or kind.kind not in "biufSU":
        what = "objects, which only pickle can read" if kind.hasobject else f"{kind}"
        raise DataError(
            f"{where} must hold plain numbers or words, but holds {what}; convert it with "
            "numpy.asarray before saving"
        )
    if any(length < 0 for length in shape):
        raise DataError(f"{where} must have a shape, but has {shape}; write it again")
    size = 1
    for length in shape:
        size *= length
    claimed = size * kind.itemsize
    if not claimed:
        return np.zeros(shape, kind)
    if claimed > num_bytes:
        raise DataError(
            f"{where} must hold the {claimed} bytes that its shape {shape} claims, but at most "
            f"{num_bytes} are there; write or copy it again"
        )
    refuse_beyond_memory(claimed, where, "use a machine with more")
    raw = bytearray()
    while len(raw) < claimed:
        piece = file.read(min(claimed - len(raw), 2**26))
        if not piece:
            raise EOFError(f"{claimed - len(raw)} bytes are missing at its end")
        raw += piece
    if file.read(1):
        raise DataError(f"{where} must end with its array, but goes on; write or copy it again")
    array = np.frombuffer(raw, kind, size)
    return array.reshape(shape, order="F" if fortran else "C")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: a file of arrays must be there, but there is none") from None
    # Whatever zipfile, tokenize, ast and numpy make of damaged bytes: no list of kinds was whole.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip("'\"")
        raise DataError(
            f"{path}: a file of plain arrays must be given, but reading it failed: {reason}; "
            "write it again with numpy, or copy it again"
        ) from None
