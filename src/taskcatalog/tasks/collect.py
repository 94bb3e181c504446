"""Token store to distinct long prompts, each with its number of occurrences and its first place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from taskcatalog.runs.jobs import OnePart
from taskcatalog.runs.parts import Facts, Part, finished
from taskcatalog.stores.place import StorePlace
from taskcatalog.stores.store import Store, check_ids, stretches
from taskcatalog.tables.names import id_columns
from taskcatalog.tables.ngrams import ngrams
from taskcatalog.tables.parquet import table_writer
from taskcatalog.tables.sorting import parquet_files, write_sorted
from taskcatalog.tasks.prompts import PROMPTS_PER_PART, distinct_rows

_IDS_AT_ONCE = 1 << 22
"""Of prompts, which are sorted in memory: 32 to 60 bytes for each."""


def prompts_schema(length: int, ids: np.dtype[np.uint16] | np.dtype[np.uint32]) -> pa.Schema:
    """The prompt's ids, its ``count``, and the ``place`` of its first token where it occurs first: the number of
    the sequence in the high 32 bits, the index in the sequence in the low ones."""
    return ngrams(length).schema(ids).append(pa.field("place", pa.uint64(), nullable=False))


@dataclass(frozen=True, kw_only=True)
class Collected(Facts):
    """Of a stretch. Its amount is in tokens."""

    windows: int
    """Prompts, as often as they occur."""


@dataclass(frozen=True, kw_only=True)
class CollectJob(OnePart):
    """One stretch of sequences: the distinct prompts of ``length`` tokens in it go to ``out``."""

    name: str
    place: StorePlace
    folder: Path
    first: int
    last: int
    length: int
    begin: int = 0
    end: int | None = None
    """Where there is one sequence: the tokens of it at which prompts begin, the last excluded; all by default."""

    @property
    def out(self) -> Path:
        return self.folder / "work" / f"{self.name}.parquet"

    def make(self) -> Part:
        store = self.place.store
        tokens, starts, ends = _tokens(self, store)
        n_windows = np.maximum(ends - starts - self.length + 1, 0)
        offsets = np.arange(n_windows.sum()) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
        firsts = np.repeat(starts, n_windows) + offsets
        # A few more tokens, so that there is a window even where there are too few for one.
        padded = np.concatenate([tokens, np.zeros(self.length, tokens.dtype)])
        windows = sliding_window_view(padded, self.length)[firsts]
        places = np.repeat(np.arange(self.first, self.last, dtype=np.uint64), n_windows) << np.uint64(32)
        places |= offsets.astype(np.uint64) + np.uint64(self.begin)
        found = distinct_rows(windows, max(1, (store.identity.vocabulary_size - 1).bit_length()))
        with table_writer(self.out, prompts_schema(self.length, store.identity.id_dtype)) as writer:
            ids = dict(zip(id_columns(self.length), found.rows.T, strict=True))
            writer.write(ids | {"count": found.counts, "place": places[found.first]})
        amount = len(tokens) if self.end is None else self.end - self.begin
        return finished(self.folder, [self.out], Collected(amount=amount, windows=len(windows)))


def collect_jobs(place: StorePlace, first: int, last: int, length: int, folder: Path) -> list[CollectJob]:
    """The sequences in stretches that depend on the corpus and ``length`` alone; of very long ones, parts."""
    store = place.store
    at_once, of_one = _IDS_AT_ONCE // length, store.identity.sequence_length
    begins = [0] if of_one <= at_once else range(0, max(1, min(of_one, store.n_tokens)), at_once)
    jobs = []
    for start, stop in stretches(last - first, max(1, at_once // of_one)):
        for begin, end in zip(begins, [*begins[1:], None], strict=True):
            name = f"{first + start:010d}-{first + stop:010d}-{begin:012d}"
            jobs.append(
                CollectJob(
                    name=f"collect-{name}",
                    place=place,
                    folder=folder,
                    first=first + start,
                    last=first + stop,
                    length=length,
                    begin=begin,
                    end=end,
                )
            )
    return jobs


def _tokens(job: CollectJob, store: Store) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """The stretch's tokens, and where in them its sequences start and end."""
    sequences = store.read(job.first, job.last)
    if job.begin or job.end is not None:
        after = None if job.end is None else job.end + job.length - 1
        tokens = sequences.tokens[job.begin : after]
        if int(tokens.max(initial=0)) >= store.identity.vocabulary_size:
            check_ids(store, sequences, job.first)
        return tokens, np.array([0]), np.array([len(tokens)])
    check_ids(store, sequences, job.first)
    return sequences.tokens, np.concatenate([[0], sequences.ends[:-1]]), sequences.ends


def merge_collected(collected: list[Path], schema: pa.Schema, out: Path, memory: int) -> int:
    """All stretches' prompts, each once, sorted by ids; returns how many."""
    ids = ", ".join(name for name in schema.names if name.startswith("id"))
    query = f"""SELECT {ids}, sum(count) AS count, min(place) AS place FROM {parquet_files(collected)}
        GROUP BY {ids} ORDER BY {ids}"""
    return write_sorted(query, schema, out, memory, out.with_suffix(".sort"), PROMPTS_PER_PART).n_rows
