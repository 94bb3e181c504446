"""Whether a catalog is what its ledgers say, and its tables are what the design says they are.

Everything is read again: each file's SHA-256, and rules that hold between the columns and tables. Returns
problems, one line each; an empty list means that all is well.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq

from taskcatalog.catalog.database import connect, query_errors, quoted
from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.errors import InputError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.tables.schemas import above_count, id_columns, ngram_table, prefix_table, top_table
from taskcatalog.tables.sorting import literal, parquet_files

_LARGEST_JSD = 0.6931473  # ln 2, rounded up in float32


def is_catalog(path: Path) -> bool:
    """Whether ``path`` is a catalog, or was one before it lost the file that says so."""
    folder = CatalogFolder(path)
    return folder.description.is_file() or any(folder.stages())


def verify_catalog(path: Path, memory: str | None = None) -> list[str]:
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
        for ledger in ledgers:
            problems += _RULES[ledger.stage](tables.connection, ledger)
    return problems


def _ngram_problems(database: duckdb.DuckDBPyConnection, ledger: Ledger) -> Iterator[str]:
    yield from _unsorted(ngram_table(1), id_columns(1), [ledger.folder / f"{ngram_table(1)}.parquet"])
    [(tokens,)] = database.sql(f"SELECT coalesce(sum(count), 0) FROM {ngram_table(1)}").fetchall()
    if tokens != ledger.facts["tokens"]:
        yield f"{ngram_table(1)}: counts {tokens} tokens, not {ledger.facts['tokens']}"
    for n in (n for n in ledger.settings["n"] if n > 1):
        grams, prefixes, top = ngram_table(n), prefix_table(n), top_table(n)
        for table, columns in ((grams, id_columns(n)), (prefixes, id_columns(n - 1))):
            yield from _unsorted(table, columns, [path for path in ledger.files() if path.parent.name == table])
        ids, best = ", ".join(id_columns(n - 1)), f"id{n - 1}"
        yield from _broken(
            database,
            f"{prefixes}: numbers that do not follow from {grams}",
            f"""SELECT * FROM (SELECT {ids}, sum(count) AS s, max(count) AS m, count(*) AS c,
                    ln(s) - sum(count * ln(count)) / s AS h, arg_max({best}, (count, -{best}::BIGINT)) AS b
                FROM {quoted(grams)} GROUP BY {ids}) FULL JOIN {quoted(prefixes)} p USING ({ids})
            WHERE s IS DISTINCT FROM sum_count OR m IS DISTINCT FROM max_count OR b IS DISTINCT FROM p.{best}
                OR c IS DISTINCT FROM completions OR abs(h - entropy) > 1e-5
                OR frac_max IS DISTINCT FROM max_count::DOUBLE / sum_count::DOUBLE""",
        )
        above = above_count(n, ledger.settings["min_prefix_count"])
        compared = f"{ids}, {best}, sum_count, max_count, frac_max"
        chosen = f"""SELECT {compared} FROM {quoted(prefixes)}
            WHERE frac_max > {ledger.settings["min_share"]} AND sum_count > {above}"""
        listed = f"SELECT {compared} FROM {quoted(top)}"
        for one, other in ((chosen, listed), (listed, chosen)):
            yield from _broken(database, f"{top}: rows that differ from {prefixes}", f"({one}) EXCEPT ALL ({other})")


def _prediction_problems(database: duckdb.DuckDBPyConnection, ledger: Ledger) -> Iterator[str]:
    label = literal(ledger.folder.name)
    yield from _of_other_models(database, ledger)
    yield from _broken(
        database,
        f"predictions of {ledger.folder.name}: impossible numbers",
        f"""SELECT * FROM predictions WHERE model = {label} AND (NOT p BETWEEN 0 AND 1.00001
            OR NOT best_p BETWEEN p AND 1.00001 OR rank < 1 OR (ids[-1] = best_id AND (rank <> 1 OR p <> best_p)))""",
    )


def _scan_problems(database: duckdb.DuckDBPyConnection, ledger: Ledger) -> Iterator[str]:
    label, settings = literal(ledger.folder.name), ledger.settings
    table = quoted(ledger.folder.parent.name)
    yield from _of_other_models(database, ledger)
    divergence = "JS" if settings["divergence"] == "jeffreys" else "jsd"
    yield from _broken(
        database,
        f"{ledger.folder}: tasks below the thresholds, or with impossible numbers",
        f"""SELECT * FROM {table} WHERE model = {label} AND (p_long <= {settings["min_probability"]}
            OR {divergence} <= {settings["min_divergence"]} OR jsd > {_LARGEST_JSD} OR p_long > 1.00001 OR count < 1
            OR len(long_ids) <> {settings["prompt_length"] + 1})""",
    )
    yield from _broken(
        database,
        f"{ledger.folder}: prompts that stand there twice",
        f"SELECT long_ids FROM {table} WHERE model = {label} GROUP BY long_ids HAVING count(*) > 1",
    )


_RULES = {"ngrams": _ngram_problems, "predict": _prediction_problems, "scan": _scan_problems}


def _of_other_models(database: duckdb.DuckDBPyConnection, ledger: Ledger) -> Iterator[str]:
    label = literal(ledger.folder.name)
    rows = f"SELECT * FROM {parquet_files(ledger.files())} WHERE model <> {label}"
    yield from _broken(database, f"{ledger.folder}: rows of another model", rows)


def _broken(database: duckdb.DuckDBPyConnection, rule: str, offenders: str) -> Iterator[str]:
    [(count,)] = database.sql(f"SELECT count(*) FROM ({offenders})").fetchall()
    if count:
        yield f"{rule} ({count} rows)"


def _unsorted(table: str, columns: list[str], files: Iterable[Path]) -> Iterator[str]:
    """Looks for rows that are not strictly above the row before them."""
    before = None
    for path in sorted(files):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=columns):
                rows = np.stack([batch[name].to_numpy().astype(np.int64) for name in columns], 1)
                if before is not None:
                    rows = np.concatenate([before, rows])
                before = rows[-1:]
                steps = np.diff(rows, axis=0)
                first = np.argmax(steps != 0, axis=1)
                if np.any(steps[np.arange(len(steps)), first] <= 0):
                    yield f"{table}: rows of {path} are not in the order of their ids"
                    return
