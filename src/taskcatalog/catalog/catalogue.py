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
from taskcatalog.catalog.schemas import MAX_N, id_columns, ngram_table
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

    @property
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
        n = next((n for n in lengths if ngram_table(n) in self.tables), None)
        if n is None:
            raise SettingsError(f"{self.folder.path}: has no table of n-grams with a prefix of {len(ids)} ids or fewer")
        used = ids[len(ids) - (n - 1) :]
        given = " AND ".join(f"id{i} = {id_}" for i, id_ in enumerate(used))
        predicted = f"SELECT * FROM predictions WHERE n = {n} AND ids[1:{n - 1}] = {used}"
        models = self._models()
        columns = "".join(f", max(p.p) FILTER (p.model = ?) AS {quoted('p_' + model)}" for model in models)
        join = f"LEFT JOIN ({predicted}) p ON p.ids[{n}] = c.id" if models else ""
        table = self._database.sql(
            f"""WITH found AS (SELECT id{n - 1} AS id, count FROM {quoted(ngram_table(n))} WHERE {given}),
                c AS (SELECT *, sum(count) OVER () AS total, row_number() OVER (ORDER BY count DESC, id) AS rank
                      FROM found)
            SELECT c.rank, c.id, t.token, c.count, c.count / c.total AS share{columns}, any_value(c.total) AS total
            FROM c LEFT JOIN tokens t USING (id) {join}
            WHERE c.rank <= ? GROUP BY ALL ORDER BY c.rank""",
            params=[*models, limit],
        ).to_arrow_table()
        total = int(table["total"][0].as_py()) if table.num_rows else 0
        return Completions(used, ids[: len(ids) - len(used)], total, table.drop_columns("total"))

    def count(self, ngrams: ArrayLike) -> NDArray[np.uint64]:
        """How often each n-gram occurs: ids (rows, n) in, counts (rows,) out, 0 for those that do not.

        Raises SettingsError where there is no table for that n.
        """
        ids = np.atleast_2d(np.asarray(ngrams))
        n = ids.shape[1]
        if ids.dtype.kind not in "iu" or n > MAX_N or n < 2 or ngram_table(n) not in self.tables:
            raise SettingsError(f"count takes integer ids (rows, n) of a table that is there, not {ids.dtype} (…, {n})")
        asked = pa.table({name: ids[:, i].astype(np.int64) for i, name in enumerate(id_columns(n))})
        asked = asked.append_column("row", pa.array(np.arange(len(ids))))
        counts = np.zeros(len(ids), np.uint64)
        self._database.register("asked_ngrams", asked)
        try:
            found = self._database.sql(
                f"SELECT row, count FROM asked_ngrams JOIN {quoted(ngram_table(n))} USING ({', '.join(id_columns(n))})"
            ).to_arrow_table()
        finally:
            self._database.unregister("asked_ngrams")
        counts[found["row"].to_numpy()] = found["count"].to_numpy()
        return counts

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
