"""DuckDB over a catalog's Parquet files: one view for each table, by its name.

The database itself is in memory and holds views only. Tables of a stage that is not complete are left out. A table of
which a file is missing, has another size than its ledger says or cannot be opened does not answer, and says why; the
others do. What changed within a file of the same size DuckDB does not notice: it does not check Parquet's checksums of
pages. So the files that a query reads are compared with the ledger first, by a digest as fast as reading; if they are
very large, only where that is asked for.

Sorting and grouping keep within a limit of memory and spill into a folder of the database's own; ``close`` removes it.
"""

import atexit
import errno
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.catalog.frames import as_tables, lend
from taskcatalog.catalog.statements import builtin_views, tables_read
from taskcatalog.errors import DiskFullError, InputError, SettingsError, TaskcatalogError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import problem_of, wrong_size
from taskcatalog.sizes import Size, memory_budget, worker_count
from taskcatalog.storage import stamp_of
from taskcatalog.tables import corpus, ngrams, registry, scans
from taskcatalog.tables.declare import Table
from taskcatalog.tables.names import MAX_N, MEASURES, id_columns, top_table
from taskcatalog.tables.sorting import for_duckdb, limits, literal, parquet_files

_FAILURES = (errno.EIO, errno.EACCES, errno.EROFS)
"""Of the system, which DuckDB tells in the text of errors of many kinds."""
_BROKEN = (duckdb.IOException, duckdb.FatalException)
"""What DuckDB raises where the system fails; the latter where it could not sync a database that it writes."""
_COMPARED_BYTES = 10**9
"""Of the files of a query's tables: beyond, a comparison would take more than a moment."""
_Files = Mapping[Path, Mapping[str, Any]]
"""Each with what its ledger, or ``catalog.json``, says of it."""


@dataclass(frozen=True)
class _View:
    name: str
    query: str
    files: _Files
    own: _Files | None
    """The files whose rows are its rows; None where a query makes them."""


@dataclass(frozen=True)
class _Found:
    """What a catalog's folder holds."""

    tables: list[_View] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    """Tables that cannot be told from what is there, and why."""
    unfinished: dict[str, str] = field(default_factory=dict)
    """Tables that a stopped or running command is to make."""


def connect(folder: CatalogFolder, memory: Size | None = None) -> "Database":
    """The finished tables of the catalog, to be read within ``memory`` (as ``8GB``; default as elsewhere)."""
    budget = memory_budget(memory)
    found = _look(folder)
    spill = Path(tempfile.mkdtemp(prefix="taskcatalog-sql-"))
    try:
        settings = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,  # a DataFrame of the calling program is no table of the catalog
        }
        connection = duckdb.connect(config=limits(budget, spill) | settings)
        connection.execute("SET enable_progress_bar = false")
    except BaseException:
        shutil.rmtree(spill, ignore_errors=True)
        raise
    return Database(folder, connection, found, spill)


class Database:
    """The tables of one catalog, each as a view of its name."""

    def __init__(
        self, folder: CatalogFolder, connection: duckdb.DuckDBPyConnection, found: _Found, spill: Path
    ) -> None:
        self.connection = connection
        """For queries of our own; ``ask`` is for those of others."""
        self.damaged = dict(found.damaged)
        """The tables that do not answer, each with what is wrong."""
        self._folder, self._unfinished = folder, found.unfinished
        self._files: dict[str, _Files] = {}
        self._own: dict[str, _Files | None] = {}
        self._compared: set[Path] = set()
        self._stamps: dict[Path, str] = {}
        # Of a process that ends in between, too; one that is killed may leave the folder in the system's temporary one.
        self._end = weakref.finalize(self, shutil.rmtree, spill, ignore_errors=True)
        _open.add(self)
        for table in found.tables:
            self._create(table)

    @property
    def tables(self) -> list[str]:
        """The names of those that answer."""
        return sorted(self._files)

    def n_rows(self, table: str) -> int | None:
        """The rows of a table, as the ends of its files say; None where they do not, or cannot be read."""
        own = self._own[table]
        try:
            return None if own is None else sum(pq.read_metadata(path).num_rows for path in own)
        except (pa.ArrowException, OSError):
            return None

    def close(self) -> None:
        self.connection.close()
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lock(self) -> None:
        """From here on only the catalog's own files are read, nothing is written and no setting changes."""
        paths = {path for files in self._files.values() for path in files}
        # DuckDB looks for the pattern that a path is given as, and for the path.
        allowed = sorted({str(path.absolute()) for path in paths} | {for_duckdb(path) for path in paths})
        self.connection.execute(f"SET allowed_paths = [{', '.join(map(literal, allowed))}]")
        self.connection.execute("SET enable_external_access = false")
        self.connection.execute("SET lock_configuration = true")

    def ask(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        frames: Mapping[str, Any] | None = None,
        verify: bool = False,
    ) -> duckdb.DuckDBPyRelation:
        """Answers one statement that only reads the tables, and the ``frames``, in a session of its own.

        The files of its tables are compared with the ledger first, each once; more than 1 GB of them only with
        ``verify``. Raises SettingsError for any other statement, InputError for a table that is damaged.
        """
        if not self._end.alive:
            raise SettingsError(f"{self._folder.path}: this catalog was closed: open it again")
        with query_errors():
            session = self.connection.cursor()
            names = tables_read(session, query)
            known = {name.lower(): name for name in self._files}
            lent = as_tables(frames or {}, known.keys() | self._unfinished.keys() | builtin_views(session))
            names -= lent.keys()
            for name in sorted(names - known.keys()):
                self._refuse(name)
            self.check_unchanged([known[name] for name in names])
            self.compare([known[name] for name in names], whatever_size=verify)
            lend(session, lent)
            return session.sql(query, params=parameters) if parameters else session.sql(query)

    def check_unchanged(self, tables: Collection[str]) -> None:
        """Raises InputError where some tables are damaged, or have a file that is not the one that was opened."""
        for name in tables:
            if name in self.damaged:
                raise InputError(f"table {name} cannot be read: {self.damaged[name]}")
        for path in {path for name in tables for path in self._files[name]}:
            if stamp_of(path) != self._stamps[path]:
                raise InputError(f"{path}: was made anew since the catalog was opened: open it again")

    def compare(self, tables: Iterable[str], whatever_size: bool = False) -> None:
        """Compares the files of some tables with the ledger; raises InputError for one that is not as written."""
        files = {path: facts for name in tables for path, facts in self._files[name].items()}
        new = {path: facts for path, facts in files.items() if path not in self._compared}
        if not whatever_size and sum(facts["bytes"] for facts in new.values()) > _COMPARED_BYTES:
            return
        with ThreadPoolExecutor(worker_count(None)) as pool:
            for problem in pool.map(lambda item: problem_of(*item, quickly=True), sorted(new.items(), key=str)):
                if problem:
                    raise InputError(f"{problem}: {_REMEDY}")
        self._compared |= new.keys()

    def _create(self, table: _View) -> None:
        problem = next((wrong for path, facts in table.files.items() if (wrong := wrong_size(path, facts))), None)
        if problem is None:
            try:
                self.connection.execute(f"CREATE VIEW {quoted(table.name)} AS {table.query}")
                self._files[table.name] = table.files
                self._own[table.name] = table.own
                self._stamps |= {path: stamp_of(path) for path in table.files}
                return
            except duckdb.Error as error:
                problem = f"{_which(error, table.files)}: cannot be read ({_first_line(error)})"
        self.damaged[table.name] = f"{problem}: {_REMEDY}"

    def _refuse(self, name: str) -> None:
        """Says why there is no such table, and which command makes it."""
        damaged = {table.lower(): reason for table, reason in self.damaged.items()}
        if name in damaged:
            raise InputError(f"table {name} cannot be read: {damaged[name]}")
        if name in self._unfinished:
            raise InputError(f"table {name} is not there yet: {self._unfinished[name]}")
        command = _command_for(name, self._folder.path)
        remedy = f"{command} makes it" if command else f"the tables are {', '.join(self.tables)}"
        raise SettingsError(f"query: table {name!r} is not in {self._folder.path}: {remedy}")


_open: "weakref.WeakSet[Database]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """DuckDB warns of a connection with functions of Python's that is open when these are gone."""
    for database in list(_open):
        database.close()


_REMEDY = "restore it, or make it anew ('taskcatalog verify' tells all that is wrong)"


@contextmanager
def query_errors(what: str = "query") -> Iterator[None]:
    """Makes what DuckDB raises for a query, also while its rows are read, an error of ours about ``what``."""
    try:
        yield
    except RuntimeError as error:  # so DuckDB says that Ctrl-C was pressed
        if "interrupted" not in str(error).lower():
            raise
        raise KeyboardInterrupt from error
    except (duckdb.Error, pa.ArrowException, OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of a file that is being written
            raise
        first = _first_line(error)
        if isinstance(error, duckdb.OutOfMemoryException | MemoryError) or "Out of Memory" in first:
            raise TaskcatalogError(
                f"{what}: needs more memory than it may take ({first}): --memory gives more"
            ) from error
        if os.strerror(errno.ENOSPC) in first:
            raise DiskFullError(
                f"{what}: there is no more room on a disk ({first}): TMPDIR says where it sorts"
            ) from error
        if isinstance(error, _BROKEN) or any(os.strerror(number) in first for number in _FAILURES):
            raise TaskcatalogError(f"{what}: a file cannot be read or written ({first})") from error
        hint = re.search(r'"(p_\w+)" not found', first) and "; 'taskcatalog predict' adds columns p_MODEL to top tables"
        raise SettingsError(f"{what}: {first}{hint or ''}") from error


def rows_of(relation: duckdb.DuckDBPyRelation, at_once: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The columns of a query's answer and its rows, some at a time. Raises SettingsError for what a row lets fail."""
    with query_errors():
        reader = _interruptible(relation, lambda: relation.to_arrow_reader(at_once))
    return reader.schema, _each(relation, reader)


def _each(relation: duckdb.DuckDBPyRelation, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    while True:
        with query_errors():
            batch = _interruptible(relation, lambda: next(reader, None))
        if batch is None:
            return
        yield batch


def _interruptible(relation: duckdb.DuckDBPyRelation, work: Callable[[], Any]) -> Any:
    """Does it in another thread: where Arrow waits for DuckDB, Ctrl-C would wait with it."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            relation._con.interrupt()
            raise


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__


def _command_for(name: str, catalog: Path) -> str | None:
    """The command that makes a table of this name, if one does."""
    table = registry.find(name)
    if table is None or not table.command or table.stage == "tokenize":
        return None
    more = " with a second model" if table.name.endswith("_models") else ""
    return f"{table.command.replace('CATALOG', str(catalog))!r}{more}"


def _which(error: duckdb.Error, files: Iterable[Path]) -> Path | str:
    """The file that an error is about, as far as it says so."""
    paths = list(files)
    named = (path for path in paths if str(path) in str(error) or for_duckdb(path) in str(error))
    return next(named, paths[0] if len(paths) == 1 else "one of its files")


def _look(folder: CatalogFolder) -> _Found:
    found = _Found()
    lacking: dict[str, str] = {}
    if facts := folder.described(folder.tokens):
        found.tables.append(_plain(corpus.tokens().name, {folder.tokens: facts}))
    for stage in folder.folders_without_ledger():
        holds, lends = _tables_of(stage)
        reason = f"{stage}: holds files, but no ledger.json that tells them: restore it, or make the folder anew"
        found.damaged.update(dict.fromkeys(holds, reason))
        lacking.update(dict.fromkeys(lends, reason))
    complete: dict[str, list[Ledger]] = {"ngrams": [], "predict": [], "scan": []}
    for stage in folder.stages():
        try:
            ledger = folder.read_stage(stage)
        except InputError as error:
            holds, lends = _tables_of(stage)
            found.damaged.update(dict.fromkeys(holds, str(error)))
            lacking.update(dict.fromkeys(lends, str(error)))
            continue
        if ledger.complete:
            complete[ledger.stage].append(ledger)
        else:
            reason = f"{stage}: is not finished: the command that makes it, once more, goes on"
            tables = registry.made_by(ledger.stage, ledger.settings)
            found.unfinished.update({table.name: reason for table in tables})
    predicted = complete["predict"]
    if predicted:
        name = ngrams.predictions().name
        found.tables.append(_plain(name, _files(ngrams.predictions(), predicted)))
    for ledger in complete["ngrams"]:
        found.tables.extend(_ngram_tables(ledger, predicted))
    for length in sorted({int(ledger.settings["prompt_length"]) for ledger in complete["scan"]}):
        scanned = [ledger for ledger in complete["scan"] if ledger.settings["prompt_length"] == length]
        found.tables.extend(_scan_tables(length, scanned))
    # What lacks one model's rows, or columns, is not what it says it is.
    found.damaged.update({table.name: lacking[table.name] for table in found.tables if table.name in lacking})
    found.tables[:] = [table for table in found.tables if table.name not in found.damaged]
    return found


def _tables_of(stage: Path) -> tuple[list[str], list[str]]:
    """The tables that a folder with a damaged ledger seems to hold, and those that it gives rows or columns to."""
    if stage.parent.name == "predictions":
        return [ngrams.predictions().name], [top_table(n) for n in range(2, MAX_N + 1)]
    if stage.name == "ngrams":
        tables = registry.made_by("ngrams", {"n": range(1, MAX_N + 1)})
        return [table.name for table in tables if any(map(table.owns, _below(stage)))], []
    name = stage.parent.name
    return [name], [f"{name}_models", name.replace("scan", MEASURES)]


def _below(folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in folder.rglob("*")]


def files_of(table: Table, ledger: Ledger) -> _Files:
    """The files of a table that a finished stage made."""
    return {path: facts for path, facts in ledger.files().items() if table.owns(path.relative_to(ledger.folder))}


def _files(table: Table, ledgers: Iterable[Ledger]) -> _Files:
    return {path: facts for ledger in ledgers for path, facts in files_of(table, ledger).items()}


def _plain(name: str, files: _Files, order: str = "") -> _View:
    return _View(name, f"SELECT * FROM {parquet_files(files)}{order}", files, files)


def _ngram_tables(ledger: Ledger, predicted: list[Ledger]) -> Iterator[_View]:
    predictions = _files(ngrams.predictions(), predicted)
    tops = {top_table(n): n for n in range(2, MAX_N + 1)}
    for table in registry.made_by("ngrams", ledger.settings):
        files = files_of(table, ledger)
        if files and predicted and table.name in tops:
            query = _top_with_models(tops[table.name], files, predicted)
            yield _View(table.name, query, {**files, **predictions}, files)
        elif files:
            yield _plain(table.name, files)


def _top_with_models(n: int, top: _Files, predicted: list[Ledger]) -> str:
    """The top table, with one column ``p_<label>`` for each model that was asked."""
    ids = ", ".join(f"t.{name}" for name in id_columns(n))
    added = ngrams.top(n).of_each_model
    assert added is not None
    columns, joins = [], []
    for i, ledger in enumerate(predicted):
        files = parquet_files(files_of(ngrams.predictions(), ledger))
        columns.append(f", m{i}.p AS {quoted(added.of_model(ledger.folder.name).name)}")
        joins.append(f" LEFT JOIN (SELECT ids, p FROM {files} WHERE n = {n}) m{i} ON m{i}.ids = [{ids}]")
    order = f" ORDER BY t.sum_count DESC, {ids}"
    return f"SELECT t.*{''.join(columns)} FROM {parquet_files(top)} t{''.join(joins)}{order}"


def _scan_tables(length: int, scanned: list[Ledger]) -> Iterator[_View]:
    """The tasks of all models; with several, each prompt once with a column ``p_long_<label>`` for each of them, empty
    where it is no task of that model; and the measures of all prompts, where they were kept."""
    table, of_models, all_measures = scans.scan(length), scans.scan_models(length), scans.measures(length)
    tasks, measures = _files(table, scanned), _files(all_measures, scanned)
    yield _plain(table.name, tasks, "" if len(scanned) == 1 else " ORDER BY p_long DESC, long_ids, model")
    if len(scanned) > 1:
        added = of_models.of_each_model
        assert added is not None
        columns = ", ".join(
            f"max(p_long) FILTER (model = {literal(label)}) AS {quoted(added.of_model(label).name)}"
            for label in (ledger.folder.name for ledger in scanned)
        )
        query = f"""SELECT long_ids, first(text ORDER BY model) AS text, max(count) AS count, count(*) AS n_models,
            {columns} FROM {parquet_files(tasks)} GROUP BY long_ids ORDER BY count DESC, long_ids"""
        yield _View(of_models.name, query, tasks, None)
    if measures:
        yield _plain(all_measures.name, measures)
