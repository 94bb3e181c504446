"""Texts and ids as people hand them over: one or many, as lists, NumPy, Arrow or any sequence."""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from taskcatalog.errors import SettingsError
from taskcatalog.vocabulary import Vocabulary


@dataclass(frozen=True)
class Given:
    """Rows of ids."""

    ids: NDArray[np.int64]
    """All of them, one row after the other."""
    ends: NDArray[np.int64]
    """Row i is ``ids[ends[i] : ends[i + 1]]``; the first is 0."""
    is_one: bool
    """Whether it was one row, and not a list of rows that may be one."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.ends)

    def rows(self) -> list[list[int]]:
        return [self.ids[begin:end].tolist() for begin, end in pairwise(self.ends.tolist())]

    def of_length(self, n: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """The numbers of the rows that have n ids, and these rows: (rows, n)."""
        numbers = np.flatnonzero(self.lengths == n)
        return numbers, self.ids[self.ends[numbers, None] + np.arange(n)]


def read_given(values: Any, what: str, vocabulary: Callable[[], Vocabulary]) -> Given:
    """Rows of ids of whatever they are given as; ``vocabulary`` is asked for where there are texts.

    Raises SettingsError for what is neither text nor ids, in words about ``what`` takes them.
    """
    if isinstance(values, str):
        return _of_rows([vocabulary().encode_batch([values])[0]], is_one=True)
    if isinstance(values, np.ndarray) and values.ndim in (0, 1, 2) and values.dtype.kind in "iu":
        return _of_array(values, what)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not isinstance(values, pa.Array):
        values = _as_list(values, what)
        if of_text := [i for i, row in enumerate(values) if isinstance(row, str)]:
            for i, ids in zip(of_text, vocabulary().encode_batch([values[i] for i in of_text]), strict=True):
                values[i] = ids
        values = _as_arrow(values, what)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return read_given(values.to_pylist(), what, vocabulary)
    return _of_arrow(values, what)


def _of_rows(rows: list[list[int]], *, is_one: bool) -> Given:
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return Given(np.array([id_ for row in rows for id_ in row], np.int64), ends, is_one)


def _of_array(values: NDArray[Any], what: str) -> Given:
    if values.dtype == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max:
        raise SettingsError(f"{what} takes integer ids that fit 64 bits, not {values.max()}")
    rows = np.atleast_2d(values)
    ends = np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
    return Given(np.ascontiguousarray(rows, np.int64).ravel(), ends, values.ndim < 2)


def _of_arrow(values: pa.Array, what: str) -> Given:
    if pa.types.is_integer(values.type) and not values.null_count:
        return _of_array(values.to_numpy(zero_copy_only=False), what)
    kind = values.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and not values.null_count:
        flat = values.flatten()
        if (pa.types.is_integer(flat.type) or not len(flat)) and not flat.null_count:
            lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
            ids = _of_array(flat.cast(pa.int64()).to_numpy() if not len(flat) else flat.to_numpy(), what).ids
            return Given(ids, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), is_one=False)
    raise SettingsError(f"{what} takes integer ids or texts, without nulls, not {kind}")


def _as_list(values: Any, what: str) -> list[Any]:
    if isinstance(values, int | np.integer) and not isinstance(values, bool):
        return [values]
    if isinstance(values, bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise SettingsError(f"{what} takes integer ids or texts, not {values!a:.60}")
    return [*values]


def _as_arrow(rows: list[Any], what: str) -> pa.Array:
    if not rows:
        return pa.array([], pa.int64())
    try:
        return pa.array(rows)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(f"{what} takes integer ids or texts, in one list or a list of lists: {reason}") from error
