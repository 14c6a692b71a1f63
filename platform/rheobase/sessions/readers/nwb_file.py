"""An NWB file opened to be read: what it is not is refused by its name, what it links to listed."""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from rheobase.core.digest import digest, file_digest
from rheobase.core.errors import RheobaseError, SessionError
from rheobase.core.temporary import temporary_folder
from rheobase.sessions.readers.columns import text_of

KINDS = (
    (b"\x89HDF\r\n\x1a\n", ""),
    (b"MATLAB 5.0", "a MATLAB file; read it there, write spike times and units with write_npz"),
    (b"PK\x03\x04", "a ZIP archive; name it .npz if numpy wrote it, else unpack it"),
    (b"\x1f\x8b", "compressed by gzip; name it .nwb.gz, or unpack it"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself with 'git lfs pull'"),
    (b"/annex/objects", "a pointer of git-annex; fetch the file itself with 'datalad get'"),
    (b"<!DOCTYPE", "a web page; download the file itself"),
    (b"<html", "a web page; download the file itself"),
)
"""How files begin, and what each is where a recording was looked for."""
PIECE_BYTES, LEAST_FREE_BYTES = 2**24, 2**28
"""Of a packed file, unpacked at once; and what is left free on the disk beside it."""


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an NWB 2.x file to be read.

    Raises
    ------
    SessionError
        It is missing, no HDF5, of another kind or version, or damaged.
    """
    if not path.is_file():
        raise SessionError(f"{path}: an NWB file must be there, but there is none; check the path")
    if path.suffix.lower() != ".gz":
        with _opened(path, path) as file:
            yield file
        return
    with temporary_folder() as folder:
        unpacked = folder / path.stem
        try:
            with gzip.open(path) as source, unpacked.open("wb") as target:
                target.write(source.read(512))
                target.flush()
                _refuse_other_kinds(unpacked, path)
                while piece := source.read(PIECE_BYTES):
                    if shutil.disk_usage(folder).free < len(piece) + LEAST_FREE_BYTES:
                        raise SessionError(
                            f"{path}: it must fit unpacked among temporary files, but {folder} is "
                            "full; unpack it elsewhere, or name a roomier TMPDIR"
                        )
                    target.write(piece)
        except (OSError, EOFError, zlib.error) as error:
            raise SessionError(
                f"{path}: a whole gzip file must be given, but unpacking it failed: {error}; copy "
                "or download it again"
            ) from None
        with _opened(unpacked, path) as file:
            yield file


@contextmanager
def _opened(path: Path, named: Path) -> Iterator[h5py.File]:
    _refuse_other_kinds(path, named)
    try:
        with h5py.File(path) as file:
            _refuse_other_versions(file, named)
            yield file
    except RheobaseError:
        raise
    except MemoryError:
        raise SessionError(
            f"{named}: what is read of it must fit into memory, but does not; use a machine with "
            "more, or split the file"
        ) from None
    except Exception as error:  # whatever h5py makes of a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip("'\"")
        what = "its end is missing" if "truncated" in reason else "HDF5 cannot follow it"
        raise SessionError(
            f"{named}: a whole NWB (HDF5) file must be given, but {what}: {reason}; copy or "
            "download it again"
        ) from None


def _refuse_other_kinds(path: Path, named: Path) -> None:
    with path.open("rb") as file:
        begins = file.read(512)
    for words, kind in KINDS:
        if begins.startswith(words) or (kind and words in begins[:64]):
            if kind:
                raise SessionError(f"{named}: an NWB (HDF5) file must be given, but this is {kind}")
            return
    if h5py.is_hdf5(path):  # behind a user's block
        return
    found = "is empty" if not begins else f"begins with {begins[:8]!r}, as no HDF5 file does"
    raise SessionError(
        f"{named}: a whole NWB (HDF5) file must be given, but it {found}; copy or download it again"
    )


def _refuse_other_versions(file: h5py.File, named: Path) -> None:
    version = file.attrs.get("nwb_version", "")
    if not version and isinstance(file.get("nwb_version"), h5py.Dataset):
        version = file["nwb_version"][()]  # of NWB 1, a dataset
    told = text_of(version)
    if told.removeprefix("NWB-").startswith("1"):
        raise SessionError(
            f"{named}: an NWB 2.x file must be given, but this is NWB {told}; convert it with the "
            "MatNWB or PyNWB of its time, or write its spikes with write_npz"
        )
    if "#refs#" in file and "units" not in file:
        raise SessionError(
            f"{named}: an NWB 2.x file must be given, but this is a MATLAB 7.3 file; read it "
            "there, write spike times and units with write_npz"
        )


def digest_of(path: Path, file: h5py.File) -> str:
    """Return the digest of a file's bytes, and of those that its external links lead to."""
    own = file_digest(path)
    others = sorted(_linked(file, Path(file.filename).resolve().parent))
    return digest([own, *(file_digest(other) for other in others)]) if others else own


def _linked(file: h5py.File, folder: Path) -> set[Path]:
    """Return the other files that hold what is linked to, and raw data of datasets."""
    found: set[Path] = set()
    seen: set[tuple[int, int]] = set()
    left: list[tuple[h5py.Group, Path]] = [(file, folder)]
    while left:
        group, beside = left.pop()
        about = h5py.h5o.get_info(group.id)
        if (about.fileno, about.addr) in seen:
            continue
        seen.add((about.fileno, about.addr))
        for name in group:
            link = group.get(name, getlink=True)
            where = beside
            if isinstance(link, h5py.ExternalLink):
                other = (beside / link.filename).resolve()
                if other.is_file():
                    found.add(other)
                    where = other.parent
            elif isinstance(link, h5py.SoftLink):
                continue
            try:
                node = group.get(name)
            except (OSError, RuntimeError, KeyError):
                continue
            if isinstance(node, h5py.Group):
                left.append((node, where))
            elif isinstance(node, h5py.Dataset) and node.external:
                raw = [(where / str(name)).resolve() for name, _, _ in node.external]
                found |= {one for one in raw if one.is_file()}
    return found
