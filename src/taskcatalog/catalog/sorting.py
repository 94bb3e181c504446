"""Sorting and grouping of files that do not fit in memory: DuckDB, within a limit, spilling to disk."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from taskcatalog.catalog.parquet import ROW_GROUP_ROWS, TableWriter, table_writer

_LEAST_MEMORY = 1 << 28


def sorted_batches(
    query: str, memory: int, spill: Path, params: Sequence[Any] = (), rows: int = ROW_GROUP_ROWS
) -> Iterator[pa.Table]:
    """The rows of a query that orders them, about ``rows`` at a time.

    Works within ``memory`` bytes (256 MiB at least) and a temporary folder ``spill``, which goes again.
    """
    config: dict[str, Any] = {
        "memory_limit": f"{max(memory, _LEAST_MEMORY)}B",
        "temp_directory": str(spill),
    }
    with duckdb.connect(config=config) as database:
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


def parquet_files(files: Iterable[Path]) -> str:
    """The table function of these files, for a query."""
    paths = ", ".join(literal(str(path.absolute())) for path in sorted(files))
    return f"read_parquet([{paths}])"


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"
