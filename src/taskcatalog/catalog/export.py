"""A catalog as one DuckDB file.

Tables and columns carry comments that say what they mean (``duckdb_columns()`` shows them). The same catalog gives the
same tables, with their rows in the same order. The bytes of two such files differ all the
same: DuckDB puts a random identifier into each, and lays out blocks as its threads come to them.
"""

from contextlib import ExitStack
from os import PathLike
from pathlib import Path

import duckdb

from taskcatalog.catalog.database import connect, query_errors, quoted
from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.errors import InputError
from taskcatalog.runs.files import folder_held
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.outputs import check_result_file, result_file
from taskcatalog.runs.progress import note, progress_bar
from taskcatalog.sizes import Size
from taskcatalog.storage import locate_here
from taskcatalog.tables import registry
from taskcatalog.tables.sorting import literal


def write_duckdb(
    catalog: str | PathLike[str], out: str | PathLike[str], *, memory: Size | None = None, force: bool = False
) -> dict[str, int]:
    """Writes every finished table of a catalog into a database at ``out``; returns the rows of each.

    Raises InputError where ``catalog`` is none or cannot be read, ConflictError where ``out`` is there, unless it is
    to be replaced, or is inside a catalog or store.
    """
    folder, out = CatalogFolder(locate_here(catalog)), locate_here(out)
    folder.identity()
    check_result_file(out, force=force)
    if odd := {"\\", "?"} & set(str(out.absolute())):
        raise InputError(f"{out}: DuckDB opens no database whose path has a {min(odd)} in it: choose another path")
    with ExitStack() as stack:
        for stage in folder.stages():
            stack.enter_context(folder_held(stage))
            if not Ledger.read(stage).complete:
                note(f"{stage}: is not finished, and left out")
        database = stack.enter_context(connect(folder, memory))
        for table, reason in database.damaged.items():
            raise InputError(f"table {table} cannot be read: {reason}")
        database.compare(database.tables, whatever_size=True)
        with result_file(out, force=force) as temporary, query_errors(str(out)):
            return _copy(database.connection, database.tables, temporary)


def _copy(connection: duckdb.DuckDBPyConnection, names: list[str], to: Path) -> dict[str, int]:
    connection.execute(f"ATTACH {literal(str(to.absolute()))} AS exported")
    rows = {}
    with progress_bar("duckdb", len(names), "tables") as bar:
        for name in names:
            table = f"exported.{quoted(name)}"
            connection.execute(f"CREATE TABLE {table} AS SELECT * FROM {quoted(name)}")
            connection.execute(_comments(name, table, connection.table(f"exported.{quoted(name)}").columns))
            [(rows[name],)] = connection.sql(f"SELECT count(*) FROM {table}").fetchall()
            bar.update(1)
    connection.execute("DETACH exported")
    return rows


def _comments(name: str, table: str, columns: list[str]) -> str:
    """Statements that say of a table and its columns what they mean."""
    declared = registry.find(name)
    assert declared is not None
    about = " ".join(declared.about.split())
    told = {column: found.described() for column in columns if (found := declared.column(column))}
    return ";".join(
        [f"COMMENT ON TABLE {table} IS {literal(about)}"]
        + [f"COMMENT ON COLUMN {table}.{quoted(column)} IS {literal(text)}" for column, text in told.items()]
    )
