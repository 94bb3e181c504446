"""Distinct prompts, sorted by ids, in a file whose row groups are the parts of a stage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taskcatalog.ids import packed
from taskcatalog.tables.names import id_columns
from taskcatalog.tables.parquet import numpy_column

PROMPTS_PER_PART = 1 << 15


@dataclass(frozen=True)
class DistinctRows:
    """The distinct rows of a matrix, sorted, with how often and where first each one occurs."""

    rows: NDArray[Any]
    counts: NDArray[np.int64]
    first: NDArray[np.int64]
    """Index of the first occurrence."""
    inverse: NDArray[np.int64]
    """For each row of the matrix, which of the distinct ones it is."""


def distinct_rows(rows: NDArray[Any], bits: int) -> DistinctRows:
    """Sorts rows of ids, each below ``2**bits``, as numbers that hold several ids."""
    words = packed(rows, bits)
    order = np.lexsort(words[::-1])  # stable: of equal rows the first comes first
    is_new = np.ones(len(rows), np.bool_)
    is_new[1:] = np.logical_or.reduce([word[order[1:]] != word[order[:-1]] for word in words])
    starts = np.flatnonzero(is_new)
    first = order[starts]
    inverse = np.empty(len(rows), np.int64)
    inverse[order] = np.cumsum(is_new) - 1
    return DistinctRows(rows[first], np.diff(starts, append=len(rows)), first, inverse)


def n_parts(prompts: Path) -> int:
    """One at least: of no prompts there is one that is empty, so that its tables are there, too."""
    return max(1, int(pq.read_metadata(prompts).num_row_groups))


def read_part(prompts: Path, part: int) -> pa.Table:
    with pq.ParquetFile(prompts) as file:
        return file.read_row_group(part) if file.num_row_groups else file.read()


def ids_of(table: pa.Table, n: int) -> NDArray[Any]:
    """The columns ``id0`` … as a matrix (rows, n)."""
    return np.stack([numpy_column(table, name) for name in id_columns(n)], 1)
