"""A row of a Parquet file is one document: its column of text."""

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from taskcatalog.documents.batch import BATCH_BYTES, BATCH_DOCUMENTS, Batch, Reading, in_pieces, value_at
from taskcatalog.documents.source import Chunk, DatasetChoice, Format, Source
from taskcatalog.errors import InputError
from taskcatalog.storage import locate, open_to_read

_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)


def _read(chunk: Chunk, reading: Reading) -> Iterator[Batch]:
    """The documents of the row groups ``start`` to ``stop``, the last excluded."""
    name, row = chunk.source.name, chunk.first
    try:
        with open_to_read(locate(name)) as opened, pq.ParquetFile(opened, buffer_size=BATCH_BYTES) as file:
            columns = _columns(file.schema_arrow, name, reading)
            groups = range(chunk.start, file.num_row_groups if chunk.stop is None else chunk.stop)
            for batch in file.iter_batches(_rows_at_once(file, reading.field), groups, columns):
                yield from in_pieces(_documents(batch, row, name, reading), reading)
                row += batch.num_rows
    except _DAMAGE as error:
        reading.problems.met(_damaged(name, row - 1, error))


def _cut(source: Source, at_most: int, choice: DatasetChoice) -> list[Chunk]:  # noqa: ARG001 a format's cut
    """Row groups together."""
    try:
        with open_to_read(locate(source.name)) as opened, pq.ParquetFile(opened) as file:
            groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
            sizes = [sum(g.column(i).total_compressed_size for i in range(g.num_columns)) for g in groups]
            rows = [group.num_rows for group in groups]
    except _DAMAGE as error:
        raise _damaged(source.name, 0, error) from error
    chunks, start, first, size, n_rows = [], 0, 1, 0, 0
    for i in range(len(sizes)):
        size, n_rows = size + sizes[i], n_rows + rows[i]
        if size >= at_most or i == len(sizes) - 1:
            chunks.append(Chunk(source, size, start, i + 1, first))
            start, first, size, n_rows = i + 1, first + n_rows, 0, 0
    return chunks


def _damaged(name: str, row: int, error: Exception) -> InputError:
    return InputError(f"{name}: cannot be read after row {row} ({error}): the file is damaged")


def _columns(schema: pa.Schema, name: str, reading: Reading) -> list[str]:
    """The columns to read. Raises InputError where there is no text."""
    column = schema.field(reading.field) if reading.field in schema.names else None
    if column is None or not _is_text(column.type):
        fields = ", ".join(schema.names)
        raise InputError(f"{name}: has no text column {reading.field!r} (its columns are {fields}): --field names it")
    if reading.meta is None:
        return [reading.field]
    meta = reading.meta if reading.meta in schema.names else reading.meta.partition(".")[0]
    return [reading.field, meta] if meta in schema.names else [reading.field]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _rows_at_once(file: pq.ParquetFile, field: str) -> int:
    """As many rows as make about a batch: rows may be of any length."""
    size = rows = 0
    at = file.schema_arrow.names.index(field)
    if file.num_row_groups:
        group = file.metadata.row_group(0)
        size = sum(group.column(i).total_uncompressed_size for i in range(group.num_columns)
                   if group.column(i).path_in_schema == file.schema_arrow.names[at])  # fmt: skip
        rows = group.num_rows
    return max(1, min(BATCH_DOCUMENTS, BATCH_BYTES * max(1, rows) // max(1, size)))


def _documents(rows: pa.RecordBatch, first: int, name: str, reading: Reading) -> Batch:
    texts, places = _texts(rows[reading.field], first, name, reading)
    metas: list[str | None] = [None] * len(texts)
    if reading.meta and len(rows.schema.names) > 1:
        column = rows.schema.names[1]
        values = [value_at({column: value}, reading.meta) for value in rows.column(1).to_pylist()]
        kept = [values[place - first] for place in places]
        metas = [v if v is None or isinstance(v, str) else json.dumps(v, sort_keys=True, default=str) for v in kept]
    return Batch(name, texts, places, metas)


def _texts(column: pa.Array, first: int, name: str, reading: Reading) -> tuple[list[str], list[int]]:
    try:
        column.validate(full=True)
        texts = column.to_pylist()
        if None not in texts:
            return texts, list(range(first, first + len(texts)))
    except (pa.ArrowInvalid, UnicodeDecodeError):
        if reading.problems.on_error == "stop":
            raise
    kept: dict[int, str] = {}
    for row, value in enumerate(column, first):
        try:
            text = value.as_py()
        except UnicodeDecodeError as error:
            reading.problems.met(InputError(f"{name}: row {row}: is not UTF-8 ({error})"))
            continue
        if text is None:
            reading.problems.met(InputError(f"{name}: row {row}: has no text in the column {reading.field!r}"))
        else:
            kept[row] = text
    return list(kept.values()), list(kept)


PARQUET = Format(
    name="parquet",
    source="`.parquet`",
    documents="one a row; the column is `--field`",
    read=_read,
    cut=_cut,
    suffixes=(".parquet",),
)
