"""A run: sorted, distinct n-grams with their counts. What counting makes, keeps on disk and merges."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from taskcatalog.counting.kernels import merge_two
from taskcatalog.ids import GramLayout, high_and_low
from taskcatalog.runs.files import written_atomically

COUNTS = np.dtype(np.uint32)
"""Of a run's grams: it has no more grams than this can count."""
_STARTS = np.dtype(np.int64)


@dataclass(frozen=True)
class Grams:
    """Some grams of a run: those of head ``first_head + i`` are rows ``starts[i]`` to ``starts[i + 1]`` of payload
    and counts, ascending by payload."""

    layout: GramLayout
    first_head: int
    starts: NDArray[np.int64]
    payload: NDArray[Any]
    counts: NDArray[Any]


class Run(Protocol):
    """The grams of a range of a corpus, in order."""

    @property
    def layout(self) -> GramLayout: ...

    def starts(self, first: int, stop: int) -> NDArray[np.int64]:
        """The row where each of the heads ``first`` to ``stop`` begins, that of ``stop`` too: (stop - first + 1,)."""

    def payload(self, begin: int, end: int) -> NDArray[Any]:
        """The payloads of some rows, to look at here and there."""

    def rows(self, begin: int, end: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Payloads and counts of some rows."""


@dataclass(frozen=True)
class MemoryRun:
    """A run in memory, in ranges of heads with gaps between them."""

    layout: GramLayout
    all_starts: NDArray[np.int64]
    """(heads + 1,)"""
    all_payload: NDArray[Any]
    all_counts: NDArray[Any]
    row_starts: NDArray[np.int64]
    """The first row of each range, and the number of rows: (ranges + 1,)."""
    begins: NDArray[np.int64]
    """Where each range begins in payload and counts: (ranges,)."""

    def __len__(self) -> int:
        return int(self.row_starts[-1])

    def starts(self, first: int, stop: int) -> NDArray[np.int64]:
        return self.all_starts[first : stop + 1]

    def payload(self, begin: int, end: int) -> NDArray[Any]:
        return self._rows(self.all_payload, begin, end)

    def rows(self, begin: int, end: int) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._rows(self.all_payload, begin, end), self._rows(self.all_counts, begin, end)

    def _rows(self, array: NDArray[Any], begin: int, end: int) -> NDArray[Any]:
        pieces = [array[:0]]
        for i in range(int(np.searchsorted(self.row_starts, begin, side="right")) - 1, len(self.begins)):
            first, stop = int(self.row_starts[i]), int(self.row_starts[i + 1])
            if first >= end:
                break
            shift = int(self.begins[i]) - first
            pieces.append(array[max(begin, first) + shift : min(end, stop) + shift])
        return pieces[-1] if len(pieces) <= 2 else np.concatenate(pieces)

    def write(self, folder: Path) -> list[Path]:
        """Writes the files of a ``StoredRun``."""
        ranges = list(map(slice, self.begins, self.begins + np.diff(self.row_starts)))
        contents = {
            "starts": [self.all_starts],
            "payload": [self.all_payload[rows] for rows in ranges],
            "counts": [self.all_counts[rows] for rows in ranges],
        }
        for name, pieces in contents.items():
            with written_atomically(folder / name) as temporary, temporary.open("wb") as file:
                for piece in pieces:
                    file.write(piece.data)
        return [folder / name for name in contents]


@dataclass(frozen=True)
class StoredRun:
    """A run in files of plain numbers, read in part."""

    layout: GramLayout
    folder: Path

    def starts(self, first: int, stop: int) -> NDArray[np.int64]:
        return self._read("starts", _STARTS, first, stop + 1)

    def payload(self, begin: int, end: int) -> NDArray[Any]:
        if begin == end:  # nothing cannot be mapped
            return np.zeros(0, self.layout.payload_dtype)
        dtype = self.layout.payload_dtype
        return np.memmap(self.folder / "payload", dtype, "r", begin * dtype.itemsize, end - begin).view(np.ndarray)

    def rows(self, begin: int, end: int) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._read("payload", self.layout.payload_dtype, begin, end), self._read("counts", COUNTS, begin, end)

    def _read(self, name: str, dtype: np.dtype[Any], begin: int, end: int) -> NDArray[Any]:
        return np.fromfile(self.folder / name, dtype, end - begin, offset=begin * dtype.itemsize)


def merge(parts: Iterable[Grams]) -> Grams:
    """One with the grams of all, which must span the same heads; neighbours are merged in pairs."""
    waiting: list[tuple[int, Grams]] = []
    for part in parts:
        level = 0
        while waiting and waiting[-1][0] == level:
            part = _merge_pair(waiting.pop()[1], part)
            level += 1
        waiting.append((level, part))
    _, merged = waiting.pop()
    while waiting:
        merged = _merge_pair(waiting.pop()[1], merged)
    return merged


def _merge_pair(a: Grams, b: Grams) -> Grams:
    starts = np.empty_like(a.starts)
    payload = np.empty(len(a.payload) + len(b.payload), a.payload.dtype)
    counts = np.empty(len(payload), np.uint64)
    ours, theirs = ((part.starts, *high_and_low(part.payload), part.counts) for part in (a, b))
    n = merge_two(*ours, *theirs, starts, *high_and_low(payload), counts)
    return Grams(a.layout, a.first_head, starts, payload[:n], counts[:n])
