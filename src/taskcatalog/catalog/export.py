"""A catalogue as one DuckDB file."""

from pathlib import Path

import duckdb

from taskcatalog.catalog.database import connect, quoted, table_names
from taskcatalog.catalog.files import written_atomically
from taskcatalog.catalog.folder import CatalogueFolder
from taskcatalog.errors import ConflictError, DiskFullError
from taskcatalog.progress import progress_bar


def write_duckdb(catalogue: str | Path, out: str | Path, *, force: bool = False) -> dict[str, int]:
    """Writes every finished table of a catalogue into a database at ``out``; returns the rows of each.

    Raises InputError where ``catalogue`` is none, ConflictError where ``out`` is there, unless it is to be replaced.
    """
    folder, out = CatalogueFolder(Path(catalogue)), Path(out)
    folder.corpus()
    if out.exists() and not force:
        raise ConflictError(f"{out}: is there already: choose another file, or give --force")
    with connect(folder) as database, written_atomically(out) as temporary:
        names = table_names(database)
        try:
            database.execute(f"ATTACH '{str(temporary).replace(chr(39), chr(39) * 2)}' AS exported")
            rows = {}
            with progress_bar("duckdb", len(names), "tables") as bar:
                for name in names:
                    table = f"exported.{quoted(name)}"
                    database.execute(f"CREATE TABLE {table} AS SELECT * FROM {quoted(name)}")
                    [(rows[name],)] = database.sql(f"SELECT count(*) FROM {table}").fetchall()
                    bar.update(1)
            database.execute("DETACH exported")
        except duckdb.IOException as error:
            raise DiskFullError(f"{out}: cannot be written ({str(error).splitlines()[0]})") from error
    return rows
