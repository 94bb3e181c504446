"""Functions of SQL that every catalog has: ``text(ids)`` and ``visible(text)``.

``text`` is the text of a list of ids, from the bytes in the table ``tokens``: U+FFFD for what is no UTF-8, ``<id>`` for
an id beyond the vocabulary, NULL where the list is NULL or holds one. ``visible`` draws whitespace.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.display import DRAWN
from taskcatalog.errors import InputError, SettingsError
from taskcatalog.runs.parts import problem_of
from taskcatalog.tables.sorting import literal

_DRAWN = {character: drawn for character, drawn in DRAWN.items() if character != "\0"}
"""DuckDB has no text with NUL in a query."""
_functions: list[Callable[[pa.ChunkedArray], pa.Array]] = []
"""DuckDB does not keep them, and an answer that is not fetched yet calls them after its catalog is gone."""


def define(connection: duckdb.DuckDBPyConnection, folder: CatalogFolder) -> None:
    """Makes both functions known to every session of a database."""
    connection.execute(f"CREATE MACRO visible(text) AS {drawn('text')}")
    function = partial(_texts, folder)
    _functions.append(function)
    how: dict[str, Any] = {"type": "arrow", "null_handling": "special"}
    connection.create_function("text", function, ["BIGINT[]"], "VARCHAR", **how)


def drawn(expression: str) -> str:
    """A text in SQL, with its whitespace drawn (see ``display.DRAWN``)."""
    return f"translate({expression}, {literal(''.join(_DRAWN))}, {literal(''.join(_DRAWN.values()))})"


def _texts(folder: CatalogFolder, lists: pa.ChunkedArray) -> pa.Array:
    """One text for each list of ids."""
    given = lists.combine_chunks().cast(pa.large_list(pa.int64()))
    lengths = pc.fill_null(pc.list_value_length(given), 0).to_numpy().astype(np.int64)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    values = given.flatten()
    unknown = _rows_with(values.is_null().to_numpy(zero_copy_only=False), ends)
    ids = pc.fill_null(values, 0).to_numpy()
    if len(ids) and ids.min() < 0:
        raise SettingsError(f"text takes ids from 0 up, not {ids.min()}")
    pieces = _pieces(_token_bytes(folder), ids)
    return _decoded(pieces, ends, unknown | given.is_null().to_numpy(zero_copy_only=False))


@lru_cache(maxsize=4)
def _token_bytes(folder: CatalogFolder) -> pa.Array:
    """The bytes of each id, read when they are first asked for."""
    path = folder.tokens
    facts = folder.described(path)
    if facts is None:
        raise InputError(f"{path}: is missing, so ids have no text")
    if problem := problem_of(path, facts, quickly=True):
        raise InputError(f"{problem}: restore it")
    column = pq.read_table(path, columns=["bytes"])["bytes"].cast(pa.large_binary()).combine_chunks()
    if not len(column):
        raise InputError(f"{folder.path}: was made without a tokenizer, so ids have no text")
    return column


def _pieces(known: pa.Array, ids: np.ndarray) -> pa.Array:
    """The bytes of each id, one after the other."""
    beyond = np.unique(ids[ids >= len(known)])
    if len(beyond):
        names = pa.array([b"<%d>" % id_ for id_ in beyond.tolist()], pa.large_binary())
        ids = np.where(ids >= len(known), len(known) + np.searchsorted(beyond, ids), ids)
        known = pa.concat_arrays([known, names])
    return known.take(pa.array(ids))


def _rows_with(marked: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Which rows have a marked value; those of row i are ``ends[i]`` to ``ends[i + 1]``."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(marked)])
    rows: np.ndarray = before[ends[1:]] > before[ends[:-1]]
    return rows


def _decoded(pieces: pa.Array, ends: np.ndarray, unknown: np.ndarray) -> pa.Array:
    """The pieces of each row as one text, null where it is ``unknown``."""
    _, offsets, content = pieces.buffers()
    # The pieces of a row lie one after the other already: only where a row ends is new.
    bounds = np.frombuffer(offsets, np.int64)[pieces.offset :][ends] if len(pieces) else np.zeros_like(ends)
    rows = pa.Array.from_buffers(
        pa.large_binary(), len(ends) - 1, [None, pa.py_buffer(bounds), content or pa.py_buffer(b"")]
    )
    try:
        texts = rows.cast(pa.large_string())
    except pa.ArrowInvalid:
        texts = pa.array([row.decode("utf-8", "replace") for row in rows.to_pylist()], pa.large_string())
    return pc.if_else(pa.array(unknown), pa.scalar(None, pa.large_string()), texts).cast(pa.string())
