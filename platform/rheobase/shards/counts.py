"""Spike counts of consecutive bins, stored as the entries that are not zero."""

# Shape legend: T bins, N units, E entries that are not zero.

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

CHUNK_BINS = 6000
"""Bins of a chunk, a row group of the file: one minute of 10 ms bins, about half a megabyte of
2,000 units."""
MAX_UNITS = np.iinfo(np.uint16).max + 1

Number = TypeVar("Number", np.uint8, np.float32)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Counts of consecutive bins in compressed sparse rows.

    The entries of bin t are ``offsets[t]`` to ``offsets[t + 1]`` of `unit` and `count`.

    Attributes
    ----------
    offsets
        (T + 1,) int32, from 0 to E.
    unit
        (E,) uint16 index of the unit, rising within a bin.
    count
        (E,) uint8 spikes, at least 1.
    """

    offsets: npt.NDArray[np.int32]
    unit: npt.NDArray[np.uint16]
    count: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True, eq=False)
class SparseCounts:
    """Spike counts (T, N) as chunks of equally many bins, of which only the last is shorter.

    A session of 2,000 units has 1 % of its 10 ms bins occupied: so stored it is 25 times
    smaller than dense, and windows are made dense where they are used.
    """

    chunks: tuple[Chunk, ...]
    num_units: int

    def __len__(self) -> int:
        if not self.chunks:
            return 0
        return (len(self.chunks) - 1) * len(self.chunks[0]) + len(self.chunks[-1])

    @classmethod
    def of_rows(cls, rows: csr_array) -> SparseCounts:
        """Return the counts of a (T, N) uint8 matrix in sorted compressed rows, without copies."""
        num_bins, num_units = rows.shape
        unit = rows.indices.astype(np.uint16)
        chunks = []
        for begin in range(0, num_bins, CHUNK_BINS):
            ends = rows.indptr[begin : begin + CHUNK_BINS + 1]
            inside = slice(ends[0], ends[-1])
            offsets = (ends - ends[0]).astype(np.int32)
            chunks.append(Chunk(offsets, unit[inside], rows.data[inside]))
        return cls(tuple(chunks), num_units)

    @classmethod
    def of_dense(cls, dense: npt.NDArray[np.uint8]) -> SparseCounts:
        """Return the counts of a dense (T, N) uint8 array."""
        return cls.of_rows(csr_array(dense))

    def dense(self, begin: int = 0, end: int | None = None) -> npt.NDArray[np.uint8]:
        """Return bins `begin` to `end`, all by default, as a dense (T, N) uint8 array.

        Examples
        --------
        >>> SparseCounts.of_dense(np.array([[0, 2], [0, 0], [1, 0]], np.uint8)).dense(1)
        array([[0, 0],
               [1, 0]], dtype=uint8)
        """
        pieces = self.pieces(begin, len(self) if end is None else end)
        return dense_rows(pieces, self.num_units, np.uint8)

    def pieces(self, begin: int, end: int) -> Iterator[Chunk]:
        """Return bins `begin` to `end` as views of the chunks they lie in.

        Raises
        ------
        IndexError
            The bins are not all there.
        """
        if not 0 <= begin <= end <= len(self):
            raise IndexError(f"bins {begin} to {end} must lie within {len(self)}")
        while begin < end:
            number, first = divmod(begin, len(self.chunks[0]))
            chunk = self.chunks[number]
            stop = min(first + end - begin, len(chunk))
            offsets = chunk.offsets[first : stop + 1]
            inside = slice(offsets[0], offsets[-1])
            yield Chunk(offsets, chunk.unit[inside], chunk.count[inside])
            begin += stop - first


def dense_rows(pieces: Iterable[Chunk], num_units: int, kind: type[Number]) -> npt.NDArray[Number]:
    """Return the bins of all pieces, one after another, as a dense (T, N) array of `kind`."""
    parts: list[Chunk] = list(pieces)
    if not parts:
        return np.zeros((0, num_units), kind)
    # Each piece's offsets, moved to where the piece's entries begin among those of all.
    begins = np.cumsum([0, *(len(part.unit) for part in parts)])
    offsets: list[npt.NDArray[np.int32]] = [
        part.offsets[:-1] + (begin - part.offsets[0])
        for part, begin in zip(parts, begins.tolist(), strict=False)
    ]
    rows = csr_array(
        (
            np.concatenate([part.count for part in parts]).astype(kind, copy=False),
            np.concatenate([part.unit for part in parts]).astype(np.int32),
            np.concatenate([*offsets, begins[-1:]]).astype(np.int32),
        ),
        shape=(sum(map(len, parts)), num_units),
    )
    dense: npt.NDArray[Number] = rows.toarray()
    return dense
