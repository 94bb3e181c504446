"""A catalog, opened: SQL over its tables, completions of a prefix, counts of n-grams."""

from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from os import PathLike
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from taskcatalog.catalog.database import connect, query_errors, quoted
from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.catalog.lookup import SortedTable, open_sorted
from taskcatalog.errors import InputError, SettingsError, TaskcatalogError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.storage import locate_here
from taskcatalog.tables import registry
from taskcatalog.tables.names import MAX_N, ngram_table
from taskcatalog.tables.parquet import arrow_column
from taskcatalog.vocabulary import Vocabulary


@dataclass(frozen=True)
class Completions:
    """What follows a prefix in the corpus."""

    prefix_ids: list[int]
    """The ids that were looked up: the last ones, where the prefix is longer than the tables know."""
    dropped_ids: list[int]
    """Ids of the prefix before those."""
    sum_count: int
    """How often the prefix occurs with a token after it in the same sequence."""
    table: pa.Table
    """By count descending: ``rank``, ``id``, ``token``, ``count``, ``share`` and ``p_<label>`` of each model that
    was asked for that completion."""


class Catalog:
    """The tables in a catalog's folder. ``taskcatalog.open`` makes one.

    A context manager: at its end the folder goes that large queries sort in. Without, it goes with the process.
    """

    def __init__(self, folder: str | PathLike[str], *, memory: str | None = None, verify: bool = False) -> None:
        """Queries work within ``memory`` (as ``8GB``; by default 8 GB, or half of the machine's), and spill to disk.

        Each file is compared with its ledger before the first query that reads it; a query of more than 1 GB of files
        does so only with ``verify``, and else sees no change that leaves the size of a file as it is. Raises
        InputError where ``folder`` is no catalog; a table that is damaged raises it when it is asked for.
        """
        self.folder = CatalogFolder(locate_here(folder))
        self.identity = self.folder.identity()
        self._database = connect(self.folder, memory)
        self._database.lock()
        self._verify = verify

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Answers one SELECT over the tables by name, lazily: ``.fetchall()``, ``.to_arrow_table()`` … get it.

        The query reads the tables and nothing else, and the relation writes no file: to write one, take its Arrow
        table. Sorting and grouping keep within the catalog's ``memory``; one value that is larger, such as
        ``repeat('x', 2000000000)``, does not. A program that lets others ask limits its process
        (``sizes.memory_limited``), as the command ``sql`` does.

        Raises SettingsError for a query that is wrong or that does anything but read, InputError for a table that is
        damaged. What only the rows tell, such as text that is no number, is DuckDB's error while they are read.
        """
        return self._database.ask(query, self._verify)

    def table(self, name: str) -> duckdb.DuckDBPyRelation:
        """One table, whole and lazy."""
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

    def text(self, ids: ArrayLike) -> str:
        """The text of some ids. Raises SettingsError for what is no id."""
        if self.vocabulary is None:
            raise InputError(f"{self.folder.path}: was made without a tokenizer, so ids have no text")
        given = _as_ids(ids, "text").ravel()
        if given.size and given.min() < 0:
            raise SettingsError(f"text takes ids from 0 up, not {given.min()}")
        return self.vocabulary.text(given.tolist())

    def complete(self, prefix: str | ArrayLike, limit: int = 10) -> Completions:
        """The most frequent completions of a text, or of ids, with the models' probabilities of them.

        A prefix longer than the tables know is cut to its last ids. Raises SettingsError for a ``limit`` below 1 and
        for a prefix that is neither text nor integer ids in one dimension.
        """
        if limit < 1:
            raise SettingsError(f"limit is {limit}: at least 1 completion is shown")
        ids = self._prefix_ids(prefix)
        lengths = range(min(len(ids) + 1, MAX_N), 1, -1)
        n = next((n for n in lengths if n in self._ngrams), None)
        if n is None:
            raise SettingsError(f"{self.folder.path}: has no table of n-grams with a prefix of {len(ids)} ids or fewer")
        used = ids[len(ids) - (n - 1) :]
        self._database.check_unchanged([ngram_table(n)])
        completions, counts = self._ngrams[n].completions(used)
        best = np.lexsort((completions, -counts.astype(np.int64)))[:limit]
        total = int(counts.sum())
        columns = {
            "rank": pa.array(range(1, len(best) + 1), pa.int64()),
            "id": arrow_column(completions[best], pa.int64()),
            "token": pa.array([self._token(id_) for id_ in completions[best].tolist()], pa.string()),
            "count": arrow_column(counts[best], pa.uint64()),
            "share": arrow_column(counts[best] / max(total, 1), pa.float64()),
        }
        table = pa.table(columns | self._predictions(used, completions[best]))
        return Completions(used, ids[: len(ids) - len(used)], total, table)

    def count(self, ngrams: ArrayLike) -> NDArray[np.uint64]:
        """How often each n-gram occurs: ids (rows, n) in, counts (rows,) out, 0 for those that do not.

        Raises SettingsError where there is no table for that n.
        """
        ids = np.atleast_2d(_as_ids(ngrams, "count"))
        if ids.ndim != 2 or (n := ids.shape[1]) not in self._ngrams:
            there = ", ".join(map(str, sorted(self._ngrams))) or "none"
            raise SettingsError(f"count takes ids (rows, n) with n of a table that is there ({there}), not {ids.shape}")
        self._database.check_unchanged([ngram_table(n)])
        return self._ngrams[n].counts(ids.astype(np.int64))

    @cached_property
    def _ngrams(self) -> dict[int, SortedTable]:
        """The tables of n-grams by n, to look things up."""
        # A damaged table too: it says so when it is asked for, and no shorter one answers in its place.
        there = {*self.tables, *self.damaged}
        names = {n: ngram_table(n) for n in range(1, MAX_N + 1) if ngram_table(n) in there}
        stage = Ledger.read(self.folder.ngrams) if names else None
        return {n: open_sorted(stage, name, n) for n, name in names.items()} if stage else {}

    def _token(self, id_: int) -> str | None:
        return None if self.vocabulary is None else self.vocabulary.text([id_])

    def _predictions(self, prefix: list[int], completions: NDArray[np.int64]) -> dict[str, pa.Array]:
        """``p_<label>`` of each model that was asked: (completions,), null where it was not asked for this one."""
        n = len(prefix) + 1
        columns = {}
        for model in self._models():
            with query_errors():
                known = self._database.connection.execute(
                    f"SELECT ids[{n}], max(p) FROM predictions"
                    f" WHERE model = ? AND n = ? AND ids[1:{n - 1}] = ? GROUP BY 1",
                    [model, n, prefix],
                ).fetchall()
            p = dict(known)
            columns[f"p_{model}"] = pa.array([p.get(id_) for id_ in completions.tolist()], pa.float32())
        return columns

    def _models(self) -> list[str]:
        """The labels of the models that were asked for completions."""
        if "predictions" in self.damaged:
            raise InputError(f"table predictions cannot be read: {self.damaged['predictions']}")
        if "predictions" not in self.tables:
            return []
        return [label for (label,) in self.sql("SELECT DISTINCT model FROM predictions ORDER BY 1").fetchall()]

    def _prefix_ids(self, prefix: str | ArrayLike) -> list[int]:
        if isinstance(prefix, str):
            if self.vocabulary is None:
                raise InputError(f"{self.folder.path}: was made without a tokenizer: give ids instead of text")
            ids = self.vocabulary.encode(prefix)
        else:
            given = _as_ids(prefix, "complete")
            if given.ndim > 1:
                raise SettingsError(f"complete takes the ids of one prefix, not {given.shape}")
            ids = np.atleast_1d(given).tolist()
        if not ids:
            raise SettingsError("the prefix is empty: give at least one token")
        return ids


def _as_ids(values: ArrayLike, what: str) -> NDArray[np.integer]:
    """Integers that fit 64 bits. Raises SettingsError for all else."""
    try:
        ids = np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:  # rows of different lengths
        raise SettingsError(f"{what} takes integer ids, in rows of one length: {error}") from error
    if ids.size == 0 and ids.dtype == np.float64:  # what NumPy makes of an empty list
        return ids.astype(np.int64)
    if ids.dtype.kind not in "iu" or (ids.dtype == np.uint64 and ids.size and ids.max() > np.iinfo(np.int64).max):
        raise SettingsError(f"{what} takes integer ids, not {ids.dtype}")
    return ids
