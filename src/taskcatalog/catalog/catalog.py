"""A catalog, opened: SQL over its tables, completions of a prefix, counts of n-grams."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from operator import itemgetter
from os import PathLike
from typing import Annotated, Any, Self, overload

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from taskcatalog.catalog.completions import Completer
from taskcatalog.catalog.completions import Completions as Completions
from taskcatalog.catalog.database import connect, query_errors, quoted
from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.catalog.functions import define
from taskcatalog.catalog.given import Given, read_given
from taskcatalog.catalog.lookup import SortedTable, open_sorted
from taskcatalog.display import columns
from taskcatalog.errors import InputError, SettingsError, TaskcatalogError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.settings import POSITIVE, checked
from taskcatalog.sizes import Size
from taskcatalog.storage import locate_here
from taskcatalog.tables import registry
from taskcatalog.tables.names import MAX_N, ngram_table
from taskcatalog.vocabulary import Vocabulary


class Catalog:
    """The tables in a catalog's folder.

    >>> catalog = Catalog("catalog")
    >>> "bigrams" in catalog
    True
    >>> catalog["bigrams"].columns
    ['id0', 'id1', 'count']

    A path, too, wherever a stage takes the path of a catalog. A context manager: at its end the folder goes that large
    queries sort in. Without, it goes with the process.
    """

    def __init__(self, folder: str | PathLike[str], *, memory: Size | None = None, verify: bool = False) -> None:
        """Queries work within ``memory`` (as ``8GB``; by default 8 GB, or half of the machine's), and spill to disk.

        Each file is compared with its ledger before the first query that reads it; a query of more than 1 GB of files
        does so only with ``verify``, and else sees no change that leaves the size of a file as it is. Raises
        InputError where ``folder`` is no catalog; a table that is damaged raises it when it is asked for.
        """
        self.folder = CatalogFolder(locate_here(folder))
        self.identity = self.folder.identity()
        self._database = connect(self.folder, memory)
        define(self._database.connection, self.folder)
        self._database.lock()
        self._verify = verify

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __fspath__(self) -> str:
        return str(self.folder.path)

    def __contains__(self, table: object) -> bool:
        """Whether there is such a table, complete and whole."""
        return table in self.tables

    def __getitem__(self, table: str) -> duckdb.DuckDBPyRelation:
        """One table, whole and lazy."""
        return self.table(table)

    def __iter__(self) -> Iterable[str]:
        raise TypeError("a Catalog is no sequence: catalog.tables has the names of its tables")

    def __repr__(self) -> str:
        lines = columns([[name, rows] for name, rows in self._rows()], "<>")
        return "\n".join([f"Catalog({str(self.folder.path)!r})", *(f"  {line}" for line in lines)])

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        cells = "".join(
            f'<tr><td style="text-align: left">{escape(name)}</td><td>{escape(rows)}</td></tr>'
            for name, rows in self._rows()
        )
        title = f"<b>Catalog</b> <code>{escape(str(self.folder.path))}</code>"
        return f"<div>{title}<table><tr><th>table</th><th>rows</th></tr>{cells}</table></div>"

    def _rows(self) -> list[tuple[str, str]]:
        """The tables and how many rows they have, as far as the ends of their files say."""
        counted = {name: self._database.n_rows(name) for name in self.tables}
        known = {name: "" if n is None else f"{n:,}" for name, n in counted.items()}
        return sorted((known | dict.fromkeys(self.damaged, "cannot be read")).items())

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        return self.folder.vocabulary()

    @property
    def tables(self) -> list[str]:
        """The names of the tables that are complete and whole."""
        return self._database.tables

    @property
    def damaged(self) -> dict[str, str]:
        """The tables that cannot be read, each with what is wrong."""
        return dict(self._database.damaged)

    def sql(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        frames: Mapping[str, Any] | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """Answers one SELECT over the tables by name, lazily: ``.fetchall()``, ``.to_arrow_table()`` … get it.

        >>> catalog.sql("SELECT count(*) FROM tokens WHERE id < ?", [10]).fetchall()
        [(10,)]
        >>> catalog.sql("SELECT text(ids) FROM mine", frames={"mine": {"ids": [[72, 73]]}}).fetchall()
        [('hi',)]

        ``parameters`` are a list for ``?`` in the query, or a dictionary for ``$name``; with some, the query is
        answered at once. ``frames`` are tables of the caller's by name, for this query alone, which copies them:
        DataFrames of pandas or polars, Arrow tables, dictionaries of columns. None may have the name of a table that
        is there. ``text(ids)`` is the text of a list of ids, and ``visible(text)`` draws whitespace.

        The query reads the tables and nothing else, and the relation writes no file: to write one, take its Arrow
        table. Sorting and grouping keep within the catalog's ``memory``; one value that is larger, such as
        ``repeat('x', 2000000000)``, does not. A program that lets others ask limits its process
        (``sizes.memory_limited``), as the command ``sql`` does.

        Raises SettingsError for a query that is wrong or that does anything but read, InputError for a table that is
        damaged. What only the rows tell, such as text that is no number, is DuckDB's error while they are read.
        """
        if not isinstance(query, str):
            raise SettingsError(f"query is {query!a:.60}: give one SELECT as a text, not {type(query).__name__}")
        if parameters is not None and not isinstance(parameters, list | tuple | dict):
            raise SettingsError(
                f"parameters are {parameters!a:.60}: give a list for ? or a dictionary for $name in the query"
            )
        return self._database.ask(query, _plain(parameters), frames, self._verify)

    def table(self, name: str) -> duckdb.DuckDBPyRelation:
        """One table, whole and lazy."""
        if not isinstance(name, str):
            raise SettingsError(f"table is {name!a:.60}: give the name of one: {', '.join(self.tables)}")
        if name in self.damaged:
            raise InputError(f"table {name} cannot be read: {self.damaged[name]}")
        if name not in self.tables:
            raise SettingsError(f"table {name!r} is not in {self.folder.path}: it has {', '.join(self.tables)}")
        return self.sql(f"SELECT * FROM {quoted(name)}")

    def describe(self, table: str | None = None) -> duckdb.DuckDBPyRelation:
        """The tables, with their numbers of rows and their columns; of a damaged one, what is wrong. Of one ``table``,
        its columns with ``type``, ``unit``, ``meaning`` and ``source``, as ``tables.registry`` has them."""
        if table is not None:
            return self._columns(table)
        described: list[tuple[str, int | None, str]] = []
        for name in self.tables:
            try:
                with query_errors():
                    [(rows,)] = self._database.connection.sql(f"SELECT count(*) FROM {quoted(name)}").fetchall()
                described.append((name, rows, ", ".join(self.table(name).columns)))
            except TaskcatalogError as error:
                described.append((name, None, f"cannot be read: {error}"))
        described += [(name, None, f"cannot be read: {reason}") for name, reason in self.damaged.items()]
        values = ", ".join(["(?::VARCHAR, ?::BIGINT, ?::VARCHAR)"] * len(described))
        return self._database.connection.sql(
            f"SELECT * FROM (VALUES {values}) AS tables(name, rows, columns)",
            params=[cell for row in sorted(described, key=itemgetter(0)) for cell in row],
        )

    def _columns(self, table: str) -> duckdb.DuckDBPyRelation:
        there, declared = self.table(table), registry.find(table)
        cells: list[str] = []
        for name, kind in zip(there.columns, there.types, strict=True):
            column = declared.column(name) if declared else None
            told = (column.unit, column.meaning, column.source) if column else ("", "", "")
            cells += [name, str(kind), *told]
        values = ", ".join(["(?, ?, ?, ?, ?)"] * len(there.columns))
        return self._database.connection.sql(
            f"SELECT * FROM (VALUES {values}) AS columns(name, type, unit, meaning, source)", params=cells
        )

    @overload
    def text(self, ids: int | Sequence[int]) -> str: ...
    @overload
    def text(self, ids: Sequence[Sequence[int]]) -> list[str]: ...
    @overload
    def text(self, ids: ArrayLike) -> str | list[str]: ...
    def text(self, ids: Any) -> str | list[str]:
        """The text of some ids; of several rows of ids, a list of texts.

        >>> catalog.text([72, 73])
        'hi'
        >>> catalog.text([[72, 73], [72]])
        ['hi', 'h']

        Raises SettingsError for what is no id.
        """
        vocabulary = self._needed_vocabulary("ids have no text")
        given = read_given(ids, "text", _no_texts)
        if given.ids.size and given.ids.min() < 0:
            raise SettingsError(f"text takes ids from 0 up, not {given.ids.min()}")
        texts = [vocabulary.text(row) for row in given.rows()]
        return texts[0] if given.is_one else texts

    @overload
    def complete(self, prefix: str | Sequence[int], limit: int = 10) -> Completions: ...
    @overload
    def complete(self, prefix: Sequence[str] | Sequence[Sequence[int]] | pa.Array, limit: int = 10) -> pa.Table: ...
    @overload
    def complete(self, prefix: ArrayLike, limit: int = 10) -> Completions | pa.Table: ...
    def complete(self, prefix: Any, limit: int = 10) -> Any:
        """The most frequent completions of a text, or of ids, with the models' probabilities of them.

        >>> catalog.complete("import").table["token"].to_pylist()
        [' os', ' sys']

        Of several prefixes, a list of texts or of rows of ids, all completions come in one table: ``prefix`` (the text
        as given, else that of its ids), ``prefix_ids`` (those that were looked up) and ``sum_count`` stand before the
        columns of the single form. A prefix that nothing follows has no row.

        >>> many = catalog.complete(["import", "import os"], limit=1)
        >>> many.select(["prefix", "token", "count"]).to_pylist()[0]
        {'prefix': 'import', 'token': ' os', 'count': 100}

        A prefix longer than the tables know is cut to its last ids. Raises SettingsError for a ``limit`` below 1 and
        for a prefix that is neither text nor integer ids.
        """
        if isinstance(limit, int) and limit < 1:
            raise SettingsError(f"limit is {limit}: at least 1 completion is shown")
        limit = checked("limit", limit, Annotated[int, POSITIVE])
        given = self._given(prefix, "complete")
        rows = given.rows()
        completer = Completer(self._database, self._ngrams, self.vocabulary)
        if given.is_one:
            return completer.one(rows[0], limit)
        texts = isinstance(prefix, list | tuple) and all(isinstance(one, str) for one in prefix)
        return completer.many(rows, [*prefix] if texts else [self._shown(row) for row in rows], limit)

    def count(self, ngrams: ArrayLike | Sequence[Sequence[int]] | pa.Array) -> NDArray[np.uint64]:
        """How often each n-gram occurs, 0 for those that do not: texts or rows of ids in, counts (rows,) out.

        >>> catalog.count(["import", "import os", "never"]).tolist()
        [150, 100, 0]

        Rows may have different lengths; ids of one length are fastest as a matrix (rows, n). One text, or one row of
        ids, gives one count. Raises SettingsError where there is no table for a row's number of ids.
        """
        given = self._given(ngrams, "count")
        counts = np.zeros(len(given.lengths), np.uint64)
        for n in np.unique(given.lengths).tolist():
            if n not in self._ngrams:
                there = ", ".join(map(str, sorted(self._ngrams))) or "none"
                row = int(np.argmax(given.lengths == n))
                raise SettingsError(
                    f"count takes ids (rows, n) with n of a table that is there ({there}): row {row} has {n} ids"
                )
            self._database.check_unchanged([ngram_table(n)])
            rows, ids = given.of_length(n)
            counts[rows] = self._ngrams[n].counts(ids)
        return counts

    def _given(self, values: Any, what: str) -> Given:
        return read_given(values, what, lambda: self._needed_vocabulary("give ids instead of text"))

    def _shown(self, ids: list[int]) -> str | None:
        return None if self.vocabulary is None or min(ids, default=0) < 0 else self.vocabulary.text(ids)

    def _needed_vocabulary(self, advice: str) -> Vocabulary:
        if self.vocabulary is None:
            raise InputError(f"{self.folder.path}: was made without a tokenizer: {advice}")
        return self.vocabulary

    @cached_property
    def _ngrams(self) -> dict[int, SortedTable]:
        """The tables of n-grams by n, to look things up."""
        # A damaged table too: it says so when it is asked for, and no shorter one answers in its place.
        there = {*self.tables, *self.damaged}
        names = {n: ngram_table(n) for n in range(1, MAX_N + 1) if ngram_table(n) in there}
        stage = Ledger.read(self.folder.ngrams) if names else None
        return {n: open_sorted(stage, name, n) for n, name in names.items()} if stage else {}


def _no_texts() -> Vocabulary:
    raise SettingsError("text takes integer ids, and not what is text already")


def _plain(parameters: Any) -> Any:
    """Parameters without NumPy's numbers, which DuckDB does not know."""
    if isinstance(parameters, dict):
        return {name: _plain(value) for name, value in parameters.items()}
    if isinstance(parameters, list | tuple):
        return [_plain(value) for value in parameters]
    return parameters.item() if isinstance(parameters, np.generic) else parameters
