"""A catalogue, opened: SQL over its tables, completions of a prefix, counts of n-grams."""

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from taskcatalog.catalog.database import connect, quoted, run_query, table_names
from taskcatalog.catalog.folder import CatalogueFolder, Corpus
from taskcatalog.catalog.ledger import Ledger
from taskcatalog.catalog.lookup import SortedTable, open_sorted
from taskcatalog.catalog.schemas import MAX_N, ngram_table
from taskcatalog.catalog.vocabulary import Vocabulary
from taskcatalog.errors import InputError, SettingsError


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


class Catalogue:
    """The tables in a catalogue's folder. ``taskcatalog.open`` makes one."""

    def __init__(self, folder: str | PathLike[str]) -> None:
        """Raises InputError where ``folder`` is no catalogue."""
        self.folder = CatalogueFolder(Path(folder))
        self.corpus: Corpus = self.folder.corpus()
        self._database = connect(self.folder)

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        return self.folder.vocabulary()

    @cached_property
    def tables(self) -> list[str]:
        """The names of the tables that are complete."""
        return table_names(self._database)

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Answers one SELECT over the tables by name, lazily: ``.fetchall()``, ``.arrow()``, ``.df()`` … get it.

        Raises SettingsError for a query that is wrong or that writes.
        """
        return run_query(self._database, query)

    def table(self, name: str) -> duckdb.DuckDBPyRelation:
        """One table, whole and lazy."""
        if name not in self.tables:
            raise SettingsError(f"table {name!r} is not in {self.folder.path}: it has {', '.join(self.tables)}")
        return self._database.view(quoted(name))

    def describe(self) -> duckdb.DuckDBPyRelation:
        """The tables, with their numbers of rows and their columns."""
        rows = " UNION ALL ".join(
            f"SELECT '{name}' AS name, (SELECT count(*) FROM {quoted(name)}) AS rows,"
            f" {', '.join(self.table(name).columns)!r} AS columns"
            for name in self.tables
        )
        return self._database.sql(rows)

    def text(self, ids: ArrayLike) -> str:
        """The text of some ids."""
        if self.vocabulary is None:
            raise InputError(f"{self.folder.path}: was made without a tokenizer, so ids have no text")
        return self.vocabulary.text(np.asarray(ids).tolist())

    def complete(self, prefix: str | ArrayLike, limit: int = 10) -> Completions:
        """The most frequent completions of a text, or of ids, with the models' probabilities of them.

        A prefix longer than the tables know is cut to its last ids.
        """
        ids = self._prefix_ids(prefix)
        lengths = range(min(len(ids) + 1, MAX_N), 1, -1)
        n = next((n for n in lengths if n in self._ngrams), None)
        if n is None:
            raise SettingsError(f"{self.folder.path}: has no table of n-grams with a prefix of {len(ids)} ids or fewer")
        used = ids[len(ids) - (n - 1) :]
        completions, counts = self._ngrams[n].completions(used)
        best = np.lexsort((completions, -counts.astype(np.int64)))[:limit]
        total = int(counts.sum())
        columns = {
            "rank": pa.array(range(1, len(best) + 1), pa.int64()),
            "id": pa.array(completions[best]),
            "token": pa.array([self._token(id_) for id_ in completions[best].tolist()], pa.string()),
            "count": pa.array(counts[best]),
            "share": pa.array(counts[best] / max(total, 1)),
        }
        table = pa.table(columns | self._predictions(used, completions[best]))
        return Completions(used, ids[: len(ids) - len(used)], total, table)

    def count(self, ngrams: ArrayLike) -> NDArray[np.uint64]:
        """How often each n-gram occurs: ids (rows, n) in, counts (rows,) out, 0 for those that do not.

        Raises SettingsError where there is no table for that n.
        """
        ids = np.atleast_2d(np.asarray(ngrams))
        if ids.dtype.kind not in "iu" or (n := ids.shape[1]) not in self._ngrams:
            shape = f"{ids.dtype} (…, {ids.shape[1]})"
            raise SettingsError(f"count takes integer ids (rows, n) of a table that is there, not {shape}")
        return self._ngrams[n].counts(ids.astype(np.int64))

    @cached_property
    def _ngrams(self) -> dict[int, SortedTable]:
        """The tables of n-grams by n, to look things up."""
        names = {n: ngram_table(n) for n in range(1, MAX_N + 1) if ngram_table(n) in self.tables}
        stage = Ledger.read(self.folder.ngrams) if names else None
        return {n: open_sorted(stage, name, n) for n, name in names.items()} if stage else {}

    def _token(self, id_: int) -> str | None:
        return None if self.vocabulary is None else self.vocabulary.text([id_])

    def _predictions(self, prefix: list[int], completions: NDArray[np.int64]) -> dict[str, pa.Array]:
        """``p_<label>`` of each model that was asked: (completions,), null where it was not asked for this one."""
        n = len(prefix) + 1
        columns = {}
        for model in self._models():
            known = self._database.execute(
                f"SELECT ids[{n}], max(p) FROM predictions WHERE model = ? AND n = ? AND ids[1:{n - 1}] = ? GROUP BY 1",
                [model, n, prefix],
            ).fetchall()
            p = dict(known)
            columns[f"p_{model}"] = pa.array([p.get(id_) for id_ in completions.tolist()], pa.float32())
        return columns

    def _models(self) -> list[str]:
        """The labels of the models that were asked for completions."""
        if "predictions" not in self.tables:
            return []
        return [label for (label,) in self.sql("SELECT DISTINCT model FROM predictions ORDER BY 1").fetchall()]

    def _prefix_ids(self, prefix: str | ArrayLike) -> list[int]:
        if isinstance(prefix, str):
            if self.vocabulary is None:
                raise InputError(f"{self.folder.path}: was made without a tokenizer: give ids instead of text")
            ids = self.vocabulary.encode(prefix)
        else:
            ids = [int(id_) for id_ in np.asarray(prefix).ravel()]
        if not ids:
            raise SettingsError("the prefix is empty: give at least one token")
        return ids
