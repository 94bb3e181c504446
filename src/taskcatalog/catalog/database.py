"""DuckDB over a catalogue's Parquet files: one view for each table, by its name.

The database itself is in memory and holds views only. Tables of a stage that is not complete are left out.
"""

from pathlib import Path

import duckdb

from taskcatalog.catalog.folder import CatalogueFolder
from taskcatalog.catalog.ledger import Ledger
from taskcatalog.catalog.schemas import MAX_N, MEASURES, id_columns, ngram_table, prefix_table, top_table
from taskcatalog.catalog.sorting import literal, parquet_files
from taskcatalog.errors import InputError, SettingsError

_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


def connect(folder: CatalogueFolder) -> duckdb.DuckDBPyConnection:
    """A connection that answers for every finished table of the catalogue."""
    database = duckdb.connect()
    database.execute("SET enable_progress_bar = false")
    _create_view(database, "tokens", f"SELECT * FROM {parquet_files([folder.tokens])}")
    complete = [ledger for stage in folder.stages() if (ledger := Ledger.read(stage)).complete]
    by_stage = {stage: [ledger for ledger in complete if ledger.stage == stage] for stage in ("predict", "scan")}
    if by_stage["predict"]:
        files = [path for ledger in by_stage["predict"] for path in ledger.files()]
        _create_view(database, "predictions", f"SELECT * FROM {parquet_files(files)}")
    for ledger in complete:
        if ledger.stage == "ngrams":
            _create_ngram_views(database, ledger, by_stage["predict"])
    for name in sorted({ledger.folder.parent.name for ledger in by_stage["scan"]}):
        _create_scan_views(database, name, [ledger for ledger in by_stage["scan"] if ledger.folder.parent.name == name])
    return database


def table_names(database: duckdb.DuckDBPyConnection) -> list[str]:
    rows = database.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1").fetchall()
    return [name for (name,) in rows]


def run_query(database: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyRelation:
    """Answers one statement that only reads; raises SettingsError for any other."""
    try:
        statements = database.extract_statements(query)
        if len(statements) != 1 or statements[0].type not in _READING:
            raise SettingsError("a query is one SELECT statement (or WITH, FROM, DESCRIBE, EXPLAIN): it only reads")
        # A DataFrame of the calling program is no table of the catalogue.
        database.execute("SET python_enable_replacements = false")
        return database.sql(query)
    except duckdb.Error as error:
        first = " ".join(str(error).split("\n\n")[0].split())
        hint = f"; the tables are {', '.join(table_names(database))}" if "does not exist" in first else ""
        raise SettingsError(f"query: {first}{hint}") from error


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _create_ngram_views(database: duckdb.DuckDBPyConnection, ngrams: Ledger, predicted: list[Ledger]) -> None:
    unigrams = ngrams.folder / f"{ngram_table(1)}.parquet"
    _create_view(database, ngram_table(1), f"SELECT * FROM {parquet_files([unigrams])}")
    for n in range(2, MAX_N + 1):
        for table in (ngram_table(n), prefix_table(n)):
            files = [path for path in ngrams.files() if path.parent.name == table]
            if files:
                _create_view(database, table, f"SELECT * FROM {parquet_files(files)}")
        top = ngrams.folder / f"{top_table(n)}.parquet"
        if top in ngrams.files():
            _create_view(database, top_table(n), _top_with_models(n, top, predicted))


def _top_with_models(n: int, top: Path, predicted: list[Ledger]) -> str:
    """The top table, with one column ``p_<label>`` for each model that was asked."""
    if not predicted:
        return f"SELECT * FROM {parquet_files([top])}"
    ids = ", ".join(f"t.{name}" for name in id_columns(n))
    columns, joins = [], []
    for i, ledger in enumerate(predicted):
        columns.append(f", m{i}.p AS {quoted('p_' + ledger.folder.name)}")
        joins.append(
            f" LEFT JOIN (SELECT ids, p FROM {parquet_files(ledger.files())} WHERE n = {n}) m{i} ON m{i}.ids = [{ids}]"
        )
    order = f" ORDER BY t.sum_count DESC, {ids}"
    return f"SELECT t.*{''.join(columns)} FROM {parquet_files([top])} t{''.join(joins)}{order}"


def _create_scan_views(database: duckdb.DuckDBPyConnection, name: str, scans: list[Ledger]) -> None:
    """The tasks of all models; with several, each prompt once with a column ``p_long_<label>`` for each of them, empty
    where it is no task of that model; and the measures of all prompts, where they were kept."""
    files = [path for scan in scans for path in scan.files()]
    tasks = parquet_files(path for path in files if path.parent.name != MEASURES)
    order = "" if len(scans) == 1 else " ORDER BY p_long DESC, long_ids, model"
    _create_view(database, name, f"SELECT * FROM {tasks}{order}")
    if len(scans) > 1:
        labels = [scan.folder.name for scan in scans]
        columns = (f"max(p_long) FILTER (model = {literal(one)}) AS {quoted('p_long_' + one)}" for one in labels)
        _create_view(
            database,
            f"{name}_models",
            f"""SELECT long_ids, first(text ORDER BY model) AS text, max(count) AS count, count(*) AS n_models,
                {", ".join(columns)} FROM {tasks} GROUP BY long_ids ORDER BY count DESC, long_ids""",
        )
    if measures := [path for path in files if path.parent.name == MEASURES]:
        _create_view(database, name.replace("scan", MEASURES), f"SELECT * FROM {parquet_files(measures)}")


def _create_view(database: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    try:
        database.execute(f"CREATE VIEW {quoted(name)} AS {query}")
    except duckdb.Error as error:
        raise InputError(f"table {name} cannot be read: {str(error).splitlines()[0]}") from error
