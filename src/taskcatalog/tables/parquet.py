"""Parquet files whose bytes depend on the rows alone, not on the batches that they came in."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taskcatalog.runs.files import written_atomically

ROW_GROUP_ROWS = 32_768


class TableWriter:
    """Writes rows in row groups of a fixed size, whatever the size of the batches."""

    def __init__(self, path: Path, schema: pa.Schema, row_group_rows: int, delta: Sequence[str]) -> None:
        self._schema = schema
        self._row_group_rows = row_group_rows
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            use_dictionary=[name for name in schema.names if name not in delta],
            column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED") or None,
            write_statistics=True,
            write_page_checksum=True,
        )
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0
        self.n_rows = 0

    def write(self, columns: Mapping[str, Any] | pa.Table) -> None:
        """Adds rows: a table, or arrays by column name."""
        if not isinstance(columns, pa.Table):
            arrays = [arrow_column(columns[field.name], field.type) for field in self._schema]
            columns = pa.Table.from_arrays(arrays, schema=self._schema)
        self._waiting.append(columns)
        self._n_waiting += columns.num_rows
        self.n_rows += columns.num_rows
        if self._n_waiting >= self._row_group_rows:
            whole = self._n_waiting - self._n_waiting % self._row_group_rows
            table = pa.concat_tables(self._waiting)
            self._writer.write_table(table.slice(0, whole).combine_chunks(), self._row_group_rows)
            # Copied, so that what was written can be freed.
            self._waiting = [table.slice(whole).combine_chunks()]
            self._n_waiting -= whole

    def close(self) -> None:
        if self._n_waiting:
            self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks(), self._row_group_rows)
        self._writer.close()

    def give_up(self) -> None:
        """Lets go of the file, which counts for nothing: what cannot be written to it any more is no further error."""
        with suppress(Exception):
            self._writer.close()


def numpy_column(table: pa.Table, name: str) -> NDArray[Any]:
    """A column of integers without nulls, (rows,).

    Arrow's own ``to_numpy`` imports pandas, where that is installed: a third of a second in every process.
    """
    column = table[name]
    kind = np.dtype(column.type.to_pandas_dtype())
    chunks = [np.frombuffer(chunk.buffers()[1], kind)[chunk.offset :][: len(chunk)] for chunk in column.chunks]
    return np.concatenate(chunks) if chunks else np.zeros(0, kind)


def text_array(texts: Sequence[str | None]) -> pa.DictionaryArray:
    """Texts of which many are the same, as a column."""
    index_of: dict[str | None, int] = {}
    indices = np.array([index_of.setdefault(text, len(index_of)) for text in texts], np.int32)
    if None in index_of:
        null = index_of.pop(None)
        valid = indices != null
        indices -= indices > null
    else:
        valid = np.ones(len(indices), bool)
    words = arrow_column([text for text in index_of if text is not None], pa.string())
    mask = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.DictionaryArray.from_arrays(
        pa.Array.from_buffers(pa.int32(), len(indices), [mask, pa.py_buffer(indices)]), words
    )


def arrow_column(values: Any, kind: pa.DataType) -> pa.Array:
    """Numbers, texts or bytes as a column of a type.

    Arrow's own ``array`` imports pandas, as in ``numpy_column``; it is left what may have nulls, and all else.
    """
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, np.ndarray) and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        whole = np.ascontiguousarray(values, kind.to_pandas_dtype())
        return pa.Array.from_buffers(kind, len(whole), [None, pa.py_buffer(whole)])
    if (kind in (pa.string(), pa.binary())) and isinstance(values, list) and None not in values:
        raw = values if kind == pa.binary() else [text.encode() for text in values]
        ends = np.cumsum([0, *map(len, raw)], dtype=np.int32)
        return pa.Array.from_buffers(kind, len(raw), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(raw))])
    return pa.array(values, kind)


@contextmanager
def table_writer(
    path: Path, schema: pa.Schema, row_group_rows: int = ROW_GROUP_ROWS, delta: Sequence[str] = ()
) -> Iterator[TableWriter]:
    """A TableWriter whose file appears at ``path`` when the block ends well.

    The columns that ``delta`` names, of integers in order or nearly, are stored as differences; others get a
    dictionary while it is small.
    """
    with written_atomically(path) as temporary:
        writer = TableWriter(temporary, schema, row_group_rows, delta)
        try:
            yield writer
            writer.close()
        except BaseException:
            writer.give_up()
            raise


def list_array(rows: np.ndarray[Any, Any]) -> pa.ListArray:
    """A matrix as a column of lists, one for each row."""
    offsets = np.arange(0, rows.size + 1, max(1, rows.shape[1]), dtype=np.int32)
    field = pa.field("element", pa.from_numpy_dtype(rows.dtype), nullable=False)
    return pa.ListArray.from_arrays(offsets, rows.ravel(), type=pa.list_(field))
