"""Tables that a caller hands over to one query: DataFrames of pandas or polars, Arrow tables, columns by name."""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa

from taskcatalog.errors import SettingsError
from taskcatalog.tables import registry

_NAME = re.compile(r"[A-Za-z_]\w*")


def as_tables(frames: Mapping[str, Any], taken: set[str]) -> dict[str, pa.Table]:
    """The Arrow table of each frame, by its name in lower case.

    Raises SettingsError for what is no frame, and for a name that is none or that is ``taken``.
    """
    if not isinstance(frames, Mapping):
        raise SettingsError(f"frames is {type(frames).__name__}: give a dictionary of names and tables")
    tables: dict[str, pa.Table] = {}
    for name, frame in frames.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SettingsError(f"frames: {name!a:.60} is no name of a table: use letters, digits and _")
        if name.lower() in taken or registry.find(name.lower()):
            raise SettingsError(f"frames: {name} is a table of the catalog or of DuckDB: give it another name")
        if name.lower() in tables:
            raise SettingsError(f"frames: two of them are called {name}, as SQL reads names")
        tables[name.lower()] = _as_table(name, frame)
    return tables


def lend(session: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> None:
    """Copies the tables into this session, which alone sees them; large ones it spills to disk."""
    for name, table in tables.items():
        session.register(f"{name} given", table)
        session.execute(f'CREATE TEMP TABLE "{name}" AS SELECT * FROM "{name} given"')
        session.unregister(f"{name} given")


def _as_table(name: str, frame: Any) -> pa.Table:
    try:
        for table in _ways(frame):
            return table
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(f"frames: {name} cannot be read as a table ({reason})") from error
    raise SettingsError(
        f"frames: {name} is {type(frame).__name__}: give a DataFrame of pandas or polars, an Arrow table, or a "
        "dictionary of columns"
    )


def _ways(frame: Any) -> Iterator[pa.Table]:
    """The frame as a table, if it is one of a kind that is known."""
    pandas = sys.modules.get("pandas")  # whoever has a frame of it has imported it
    if isinstance(frame, pa.Table):
        yield frame
    elif pandas is not None and isinstance(frame, pandas.DataFrame):
        yield pa.Table.from_pandas(frame, preserve_index=False)
    elif isinstance(frame, pa.RecordBatchReader):
        yield frame.read_all()
    elif isinstance(frame, dict) or hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__"):
        yield pa.table(frame)
