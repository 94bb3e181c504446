"""N-grams looked up in a sorted table's files: only the row groups that may hold them are read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taskcatalog.errors import InputError
from taskcatalog.ids import searchable
from taskcatalog.runs.ledger import Ledger
from taskcatalog.sizes import worker_count
from taskcatalog.tables.names import id_columns
from taskcatalog.tables.parquet import numpy_column
from taskcatalog.tables.tabulated import Tabulated

_GROUPS_AT_ONCE = 8
_Lookup: TypeAlias = Callable[[], tuple[slice, NDArray[np.uint64]]]


@dataclass(frozen=True)
class _File:
    """One file of a table, and what its row groups may hold."""

    path: Path
    n: int

    @cached_property
    def _metadata(self) -> pq.FileMetaData:
        with _reading(self.path):
            return pq.read_metadata(self.path)

    @cached_property
    def bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The smallest and the largest id of each column of ids, in each row group: (row groups, n)."""
        shape = self._metadata.num_row_groups, self.n
        low, high = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for group in range(shape[0]):
            for i in range(self.n):
                statistics = self._metadata.row_group(group).column(i).statistics
                low[group, i], high[group, i] = statistics.min, statistics.max
        return low, high

    def read(self, groups: Sequence[int]) -> tuple[list[NDArray[Any]], NDArray[np.uint64]]:
        """The n columns of ids, and the counts, of some row groups."""
        with _reading(self.path), self._open() as file:
            table = file.read_row_groups(groups, use_threads=False)
        return [numpy_column(table, name) for name in id_columns(self.n)], numpy_column(table, "count")

    def _open(self) -> pq.ParquetFile:
        """Where pages have checksums, these are compared: a flipped bit is an error, not another number."""
        return pq.ParquetFile(self.path, metadata=self._metadata, page_checksum_verification=True)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}): 'taskcatalog verify' tells more") from error


def open_sorted(stage: Ledger, name: str, n: int) -> "SortedTable":
    """A table of n-grams of a finished stage."""
    files = sorted(
        (stage.folder / file, facts.first_id)
        for part, facts in stage.facts_of(Tabulated).items()
        for file in stage.parts[part].files
        if file == f"{name}.parquet" or file.startswith(f"{name}/")
    )
    return SortedTable([path for path, _ in files], [first_id for _, first_id in files], n)


class SortedTable:
    """A table of n-grams, in files that are sorted by ids and follow one another."""

    def __init__(self, files: Iterable[Path], first_ids: Iterable[int], n: int) -> None:
        """``first_ids`` are the ids from which each file holds the n-grams that begin with them."""
        self._files = [_File(path, n) for path in files]
        self._first_ids = np.array([*first_ids], np.int64)
        self._n = n

    def completions(self, prefix: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The last ids of the n-grams that begin with these n-1 ids, ascending, and their counts."""
        file = self._files[self._file_of(np.array([prefix[0]]))[0]]
        low, high = file.bounds
        groups = np.flatnonzero(_may_hold(low, high, np.array(prefix)))
        if not len(groups):
            return np.zeros(0, np.int64), np.zeros(0, np.uint64)
        ids, counts = file.read(groups.tolist())
        found = np.ones(len(counts), np.bool_)
        for column, id_ in zip(ids, prefix, strict=False):
            found &= column == id_
        return ids[-1][found].astype(np.int64), counts[found]

    def counts(self, grams: NDArray[np.int64]) -> NDArray[np.uint64]:
        """How often each n-gram (rows, n) occurs: (rows,)."""
        result = np.zeros(len(grams), np.uint64)
        inside = np.flatnonzero((grams >= 0).all(1) & (grams < 1 << 32).all(1))
        if not len(inside):
            return result
        order = inside[np.argsort(searchable(grams[inside])[0])]
        ordered = grams[order]
        file_of = self._file_of(ordered[:, 0])
        lookups: list[_Lookup] = []
        for number in np.unique(file_of).tolist():
            begin, end = np.searchsorted(file_of, [number, number + 1]).tolist()
            lookups += self._lookups(self._files[number], ordered, begin, end)
        found = np.zeros(len(ordered), np.uint64)
        with ThreadPoolExecutor(worker_count(None)) as pool:
            for rows, counts in pool.map(lambda look: look(), lookups):
                found[rows] += counts  # a gram may be looked for in two row groups, and is in one
        result[order] = found
        return result

    def _file_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.maximum(np.searchsorted(self._first_ids, ids, side="right") - 1, 0)

    def _lookups(self, file: _File, grams: NDArray[np.int64], begin: int, end: int) -> list[_Lookup]:
        """For each few row groups that may hold some of the n-grams, what looks for them there."""
        low, high = file.bounds
        first = begin + np.searchsorted(grams[begin:end, 0], low[:, 0])
        after = begin + np.searchsorted(grams[begin:end, 0], high[:, 0], side="right")
        lookups: list[_Lookup] = []
        together: list[int] = []
        rows = slice(0, 0)
        for group in range(len(low)):
            start, stop = int(first[group]), int(after[group])
            if low[group, 0] == high[group, 0] and self._n > 1:  # then its second ids are sorted, too
                seconds = grams[start:stop, 1]
                stop = start + int(np.searchsorted(seconds, high[group, 1], side="right"))
                start += int(np.searchsorted(seconds, low[group, 1]))
            if start == stop:
                continue
            if together and (group > together[-1] + 1 or len(together) == _GROUPS_AT_ONCE):
                lookups.append(partial(_find, file, together, grams, rows))
                together = []
            rows = slice(min(start, rows.start) if together else start, stop)
            together = [*together, group]
        return [*lookups, partial(_find, file, together, grams, rows)] if together else lookups


def _may_hold(low: NDArray[np.int64], high: NDArray[np.int64], prefix: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which row groups may hold grams that begin with these ids: each lies within the bounds of its column."""
    inside = np.ones(len(low), np.bool_)
    for i, id_ in enumerate(prefix):
        inside &= (low[:, i] <= id_) & (id_ <= high[:, i])
    return inside


def _find(file: _File, groups: list[int], grams: NDArray[np.int64], rows: slice) -> tuple[slice, NDArray[np.uint64]]:
    """The counts of some of the n-grams in neighbouring row groups, 0 for those that these do not hold."""
    ids, counts = file.read(groups)
    here, wanted = searchable(np.stack(ids, 1), grams[rows])
    at = np.minimum(np.searchsorted(here, wanted), len(here) - 1)
    return rows, np.where(here[at] == wanted, counts[at], np.uint64(0))
