"""The most frequent completions of prefixes, with the models' probabilities of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taskcatalog.catalog.database import Database, query_errors
from taskcatalog.catalog.frames import lend
from taskcatalog.catalog.lookup import SortedTable
from taskcatalog.errors import InputError, SettingsError
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


@dataclass(frozen=True)
class _Found:
    used: list[int]
    dropped: list[int]
    sum_count: int
    ids: NDArray[np.int64]
    counts: NDArray[np.uint64]


class Completer:
    """Looks up prefixes in the tables of one catalog."""

    def __init__(self, database: Database, ngrams: Mapping[int, SortedTable], vocabulary: Vocabulary | None) -> None:
        self._database, self._ngrams, self._vocabulary = database, ngrams, vocabulary

    def one(self, prefix: list[int], limit: int) -> Completions:
        found = self._look_up(prefix, limit)
        return Completions(found.used, found.dropped, found.sum_count, pa.table(self._columns([found])))

    def many(self, prefixes: Sequence[list[int]], shown: Sequence[str | None], limit: int) -> pa.Table:
        """The completions of all prefixes in one table, each row with its prefix, as ``shown``."""
        known: dict[tuple[int, ...], _Found] = {}
        found = [known.get(key) or known.setdefault(key, self._look_up([*key], limit)) for key in map(tuple, prefixes)]
        times = [len(one.ids) for one in found]
        of_row = np.repeat(np.arange(len(found)), times).tolist()
        first = {
            "prefix": pa.array([shown[i] for i in of_row], pa.string()),
            "prefix_ids": pa.array([found[i].used for i in of_row], pa.list_(pa.int64())),
            "sum_count": pa.array([found[i].sum_count for i in of_row], pa.uint64()),
        }
        return pa.table(first | self._columns(found))

    def _look_up(self, prefix: list[int], limit: int) -> _Found:
        if not prefix:
            raise SettingsError("the prefix is empty: give at least one token")
        lengths = range(min(len(prefix) + 1, MAX_N), 1, -1)
        n = next((n for n in lengths if n in self._ngrams), None)
        if n is None:
            raise SettingsError(f"there is no table of n-grams with a prefix of {len(prefix)} ids or fewer")
        used = prefix[len(prefix) - (n - 1) :]
        self._database.check_unchanged([ngram_table(n)])
        ids, counts = self._ngrams[n].completions(used)
        best = np.lexsort((ids, -counts.astype(np.int64)))[:limit]
        return _Found(used, prefix[: len(prefix) - len(used)], int(counts.sum()), ids[best], counts[best])

    def _columns(self, found: Sequence[_Found]) -> dict[str, pa.Array]:
        ids = np.concatenate([np.zeros(0, np.int64), *(one.ids for one in found)])
        counts = np.concatenate([np.zeros(0, np.uint64), *(one.counts for one in found)])
        ranks = [rank for one in found for rank in range(1, len(one.ids) + 1)]
        totals = np.repeat([max(one.sum_count, 1) for one in found], [len(one.ids) for one in found])
        columns = {
            "rank": pa.array(ranks, pa.int64()),
            "id": arrow_column(ids, pa.int64()),
            "token": pa.array([self._token(id_) for id_ in ids.tolist()], pa.string()),
            "count": arrow_column(counts, pa.uint64()),
            "share": arrow_column(counts / np.maximum(totals, 1), pa.float64()),
        }
        return columns | self._predictions([[*one.used, id_] for one in found for id_ in one.ids.tolist()])

    def _token(self, id_: int) -> str | None:
        return None if self._vocabulary is None else self._vocabulary.text([id_])

    def _predictions(self, ngrams: list[list[int]]) -> dict[str, pa.Array]:
        """``p_<label>`` of each model that was asked: (n-grams,), null where it was not asked for this one."""
        if "predictions" in self._database.damaged:
            raise InputError(f"table predictions cannot be read: {self._database.damaged['predictions']}")
        if "predictions" not in self._database.tables:
            return {}
        self._database.check_unchanged(["predictions"])
        self._database.compare(["predictions"])
        with query_errors():
            session = self._database.connection.cursor()
            models = session.sql("SELECT DISTINCT model FROM predictions ORDER BY 1").fetchall()
            lend(session, {"asked": pa.table({"ids": pa.array(ngrams, pa.list_(pa.int64()))})})
            rows = session.sql(
                "SELECT model, ids, max(p) FROM predictions WHERE n IN (SELECT len(ids) FROM asked)"
                " AND ids::BIGINT[] IN (SELECT ids FROM asked) GROUP BY ALL"
            ).fetchall()
        known = {(model, tuple(ids)): p for model, ids, p in rows}
        return {
            f"p_{model}": pa.array([known.get((model, tuple(ids))) for ids in ngrams], pa.float32())
            for (model,) in models
        }
