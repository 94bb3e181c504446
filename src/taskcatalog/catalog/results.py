"""The rows of a query as a table, CSV, JSON or Parquet: to the screen or a file."""

import csv
import io
import json
import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, Literal, TextIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from taskcatalog.catalog.database import query_errors, quoted, rows_of
from taskcatalog.catalog.functions import drawn
from taskcatalog.errors import SettingsError
from taskcatalog.runs.outputs import result_file
from taskcatalog.terminal import SCREEN

TableFormat = Literal["table", "csv", "json", "parquet"]
_ROWS_AT_ONCE = 10_000
_UNCUT: dict[str, Any] = {"max_width": 1 << 20, "max_col_width": 1 << 16, "max_rows": 10_000}
_FORMATS: dict[str, TableFormat] = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
_NOT_FINITE = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}


def format_of(out: Path | None) -> TableFormat:
    """The format that a file's name tells; of the screen, a table. Raises SettingsError where it tells none."""
    if out is None:
        return "table"
    if (suffix := out.suffix.lower()) not in _FORMATS:
        raise SettingsError(f"{out}: its name tells no format: end it in {', '.join(_FORMATS)}, or give --format")
    return _FORMATS[suffix]


def write_result(
    relation: duckdb.DuckDBPyRelation,
    kind: TableFormat,
    out: Path | None,
    *,
    visible: bool = False,
    force: bool = False,
) -> None:
    """Writes a query's rows to a file, or to the standard output; rows are streamed, never all in memory.

    A column whose name was there before it is called ``name_1``, ``name_2`` … in CSV, JSON and Parquet.

    In JSON, numbers are exact: also sums, which DuckDB keeps in 128 bits, and decimals. What JSON has no number for is
    text: ``"NaN"``, ``"Infinity"``, ``"-Infinity"``. Raw bytes are hexadecimal digits; dates, times and intervals are
    text; lists are arrays, structs are objects, maps are arrays of pairs. A cell of CSV has the same text, without the
    quotes of JSON; of null it is empty. ``visible`` draws whitespace in columns of text (see ``display.DRAWN``).

    A table is as wide as the terminal. In a pipe or a file it has all columns whole, and up to 10,000 rows.

    Raises SettingsError where a row cannot be computed, or where the format has nothing for a column's type.
    """
    if visible:
        relation = relation.select(", ".join(map(_drawn, relation.columns, relation.types)))
    if kind == "parquet":
        if out is None:
            raise SettingsError("format parquet needs a file: name it with --out")
        with result_file(out, force=force) as temporary:
            _write_parquet(relation, temporary)
    elif kind == "table":
        text = _table(relation, on_terminal=out is None and sys.stdout is not None and sys.stdout.isatty())
        _to_file_or_screen(out, lambda stream: stream.write(text), force)
    else:
        writer = _write_csv if kind == "csv" else _write_json
        _to_file_or_screen(out, lambda stream: writer(relation, stream), force)


def _drawn(name: str, kind: object) -> str:
    """A column, of text with whitespace drawn."""
    column = quoted(name)
    if str(kind) != "VARCHAR":
        return column
    return f"{drawn(column)} AS {column}"


def _table(relation: duckdb.DuckDBPyRelation, *, on_terminal: bool) -> str:
    limits: dict[str, Any] = {"max_width": shutil.get_terminal_size().columns} if on_terminal else _UNCUT
    shown = io.StringIO()
    with query_errors(), redirect_stdout(shown):
        relation.show(**limits)
    return shown.getvalue()


def _to_file_or_screen(out: Path | None, write: Any, force: bool) -> None:
    if out is None:
        write(SCREEN)
        return
    with result_file(out, force=force) as temporary, temporary.open("w", encoding="utf-8") as stream:
        write(stream)


def _write_parquet(relation: duckdb.DuckDBPyRelation, path: Path) -> None:
    schema, batches = rows_of(relation, _ROWS_AT_ONCE)
    named = pa.schema([field.with_name(name) for field, name in zip(schema, _unique(schema.names), strict=True)])
    try:
        with pq.ParquetWriter(path, named, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=named), _ROWS_AT_ONCE)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise SettingsError(
            f"a column has a type that Parquet has nothing for ({error}): CAST it AS VARCHAR"
        ) from error


def _write_csv(relation: duckdb.DuckDBPyRelation, stream: TextIO) -> None:
    schema, batches = rows_of(relation, _ROWS_AT_ONCE)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_unique(schema.names))
    for rows in map(_rows, batches):
        writer.writerows([_csv_text(cell) for cell in row] for row in rows)


def _write_json(relation: duckdb.DuckDBPyRelation, stream: TextIO) -> None:
    """An array of objects, one a line."""
    schema, batches = rows_of(relation, _ROWS_AT_ONCE)
    keys = [f"{_json_text(name)}: " for name in _unique(schema.names)]
    separator = "[\n"
    for rows in map(_rows, batches):
        for row in rows:
            cells = ", ".join(key + _json_text(cell) for key, cell in zip(keys, row, strict=True))
            stream.write(f"{separator}{{{cells}}}")
            separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def _rows(batch: pa.RecordBatch) -> Iterable[tuple[Any, ...]]:
    try:  # by column, since a row as a dictionary would lose one of two columns of one name
        return zip(*(column.to_pylist() for column in batch.columns), strict=True)
    except (ValueError, OverflowError, ImportError, pa.ArrowException) as error:
        raise SettingsError(f"a value has no text in this format ({error}): CAST it AS VARCHAR") from error


def _unique(names: Sequence[str]) -> list[str]:
    """The names, a repeated one with a number that makes it another."""
    given: list[str] = []
    for name in names:
        numbered = (f"{name}_{i}" for i in count(1))
        given.append(name if name not in given else next(one for one in numbered if one not in [*given, *names]))
    return given


def _csv_text(cell: Any) -> str | int | None:
    if cell is None or type(cell) in (str, int):
        return cell  # type: ignore[no-any-return]
    text = _json_text(cell)
    return str(json.loads(text)) if text.startswith('"') else text


def _json_text(cell: Any) -> str:
    """A value as JSON; see ``write_result``."""
    if isinstance(cell, str):
        return json.dumps(cell, ensure_ascii=False)
    if type(cell) is int:
        return str(cell)
    if isinstance(cell, float):
        return repr(cell) if math.isfinite(cell) else _NOT_FINITE[str(cell)]
    if cell is None or isinstance(cell, bool):
        return json.dumps(cell)
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, bytes):
        return f'"{cell.hex()}"'
    if isinstance(cell, dict):
        return "{" + ", ".join(f"{_json_text(str(key))}: {_json_text(value)}" for key, value in cell.items()) + "}"
    if isinstance(cell, list) or type(cell) is tuple:
        return "[" + ", ".join(map(_json_text, cell)) + "]"
    return _json_text(cell.isoformat() if hasattr(cell, "isoformat") else str(cell))
