"""A catalogue as one DuckDB file."""

from pathlib import Path

import duckdb

from taskcatalog.catalog.database import connect, quoted, table_names
from taskcatalog.catalog.files import written_atomically
from taskcatalog.catalog.folder import CatalogueFolder
from taskcatalog.catalog.sorting import literal
from taskcatalog.errors import ConflictError, InputError
from taskcatalog.progress import progress_bar


def write_duckdb(catalogue: str | Path, out: str | Path, *, force: bool = False) -> dict[str, int]:
    """Writes every finished table of a catalogue into a database at ``out``; returns the rows of each.

    Raises InputError where ``catalogue`` is none or cannot be read, ConflictError where ``out`` is there, unless it is
    to be replaced.
    """
    folder, out = CatalogueFolder(Path(catalogue)), Path(out)
    folder.corpus()
    if out.exists() and not force:
        raise ConflictError(f"{out}: is there already: choose another file, or give --force")
    with connect(folder) as database, written_atomically(out) as temporary:
        names = table_names(database)
        try:
            database.execute(f"ATTACH {literal(str(temporary))} AS exported")
            rows = {}
            with progress_bar("duckdb", len(names), "tables") as bar:
                for name in names:
                    table = f"exported.{quoted(name)}"
                    database.execute(f"CREATE TABLE {table} AS SELECT * FROM {quoted(name)}")
                    [(rows[name],)] = database.sql(f"SELECT count(*) FROM {table}").fetchall()
                    bar.update(1)
            database.execute("DETACH exported")
        except duckdb.Error as error:
            raise InputError(f"{out}: cannot be made ({str(error).splitlines()[0]})") from error
        finally:
            Path(f"{temporary}.wal").unlink(missing_ok=True)  # DuckDB's own, there if it could not end
    return rows
