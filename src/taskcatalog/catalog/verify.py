"""Whether a catalog is what its ledgers say, and its tables are what they are declared to be.

Everything is read again: each file's SHA-256, and whether its rows keep the rules of its table. Returns problems, one
line each; an empty list means that all is well.
"""

from collections.abc import Iterator
from pathlib import Path

from taskcatalog.catalog.database import connect, files_of, query_errors
from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.catalog.rules import Rows
from taskcatalog.errors import InputError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.sizes import Size
from taskcatalog.tables import corpus, registry
from taskcatalog.tables.measures import DIVERGENCE_MEASURE
from taskcatalog.tables.sorting import literal


def is_catalog(path: Path) -> bool:
    """Whether ``path`` is a catalog, or was one before it lost the file that says so."""
    folder = CatalogFolder(path)
    return folder.description.is_file() or any(folder.stages())


def verify_catalog(path: Path, memory: Size | None = None) -> list[str]:
    """Problems of a catalog, one line each."""
    folder = CatalogFolder(path)
    problems = [f"{one}: holds files, but no ledger.json that tells them" for one in folder.folders_without_ledger()]
    ledgers = []
    try:
        folder.identity()
        problems += folder.damaged_files()
    except InputError as error:
        problems.append(str(error))
    for stage in folder.stages():
        try:
            ledgers.append(folder.read_stage(stage))
        except InputError as error:
            problems.append(str(error))
    for ledger in ledgers:
        if not ledger.complete:
            problems.append(f"{ledger.folder}: is not finished: run its command again")
        problems += ledger.damaged_files()
    if problems:  # rules about tables that are damaged anyway say nothing
        return problems
    with connect(folder, memory) as tables, query_errors():
        for one in _all_rows(folder, ledgers):
            problems += one.problems(tables.connection)
    return problems


def _all_rows(folder: CatalogFolder, ledgers: list[Ledger]) -> Iterator[Rows]:
    """The rows of each table that each stage made."""
    identity = folder.identity()
    if folder.described(folder.tokens):
        yield Rows(
            table=corpus.tokens(),
            files=[folder.tokens],
            where=str(folder.tokens),
            identity=identity,
            known={},
            there=frozenset(),
        )
    for ledger in ledgers:
        tables = registry.made_by(ledger.stage, ledger.settings)
        files = {table.name: list(files_of(table, ledger)) for table in tables}
        there = frozenset(name for name, paths in files.items() if paths)
        for table in tables:
            if table.name in there:
                yield Rows(
                    table=table,
                    files=files[table.name],
                    where=f"{ledger.folder}: {table.name}",
                    identity=identity,
                    known=_known(ledger),
                    there=there,
                )


def _known(ledger: Ledger) -> dict[str, str]:
    """What the settings and facts are, in SQL."""
    known = {**ledger.settings, **ledger.facts}
    in_sql = {name: literal(value) if isinstance(value, str) else str(value) for name, value in known.items()}
    if divergence := ledger.settings.get("divergence"):
        in_sql["divergence_measure"] = DIVERGENCE_MEASURE[divergence]
    return in_sql
