"""Sorting and grouping of files that do not fit in memory: DuckDB, within a limit, spilling to disk."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from taskcatalog.tables.parquet import ROW_GROUP_ROWS, TableWriter, table_writer

_LEAST_MEMORY = 1 << 28


def sorted_batches(
    query: str, memory: int, spill: Path, params: Sequence[Any] = (), rows: int = ROW_GROUP_ROWS
) -> Iterator[pa.Table]:
    """The rows of a query that orders them, about ``rows`` at a time.

    Works within ``memory`` bytes (256 MiB at least) and a temporary folder ``spill``, which goes again.
    """
    with duckdb.connect(config=limits(memory, spill)) as database:
        database.execute("SET enable_progress_bar = false")
        for batch in database.sql(query, params=list(params)).to_arrow_reader(rows):
            yield pa.Table.from_batches([batch])


def write_sorted(
    query: str, schema: pa.Schema, out: Path, memory: int, spill: Path, row_group_rows: int = ROW_GROUP_ROWS
) -> TableWriter:
    """Writes the rows of a query that orders them; the writer that is returned knows how many there were."""
    with table_writer(out, schema, row_group_rows) as writer:
        for table in sorted_batches(query, memory, spill):
            writer.write(table.select(schema.names).cast(schema))
    return writer


def limits(memory: int, spill: Path) -> dict[str, Any]:
    """DuckDB's settings to work within ``memory`` bytes, 256 MiB at least, and a temporary folder ``spill``."""
    return {"memory_limit": f"{max(memory, _LEAST_MEMORY)}B", "temp_directory": str(spill)}


def parquet_files(files: Iterable[Path]) -> str:
    """The table function of these files, for a query."""
    paths = ", ".join(literal(for_duckdb(path)) for path in sorted(files))
    # Of a folder that is called 'count=3' DuckDB would make a column.
    return f"read_parquet([{paths}], hive_partitioning = false)"


def for_duckdb(path: Path) -> str:
    """A path as DuckDB takes it, to which ``*``, ``?`` and ``[`` mean patterns."""
    return re.sub(r"[*?[]", r"[\g<0>]", str(path.absolute()))


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"
