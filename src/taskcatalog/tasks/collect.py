"""Token store to distinct long prompts, each with its number of occurrences and its first position."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from taskcatalog.ids import bits_of
from taskcatalog.runs.jobs import OnePart
from taskcatalog.runs.parts import Facts, Part, finished
from taskcatalog.stores.reference import StoreReference
from taskcatalog.stores.sequence_range import SequenceRange, cut
from taskcatalog.stores.store import Store, check_ids
from taskcatalog.tables.names import id_columns
from taskcatalog.tables.ngrams import ngrams
from taskcatalog.tables.parquet import table_writer
from taskcatalog.tables.sorting import parquet_files, write_sorted
from taskcatalog.tasks.prompts import PROMPTS_PER_PART, distinct_rows

_IDS_AT_ONCE = 1 << 22
"""Of prompts, which are sorted in memory: 32 to 60 bytes for each."""


def prompts_schema(length: int, ids: np.dtype[np.uint16] | np.dtype[np.uint32]) -> pa.Schema:
    """The prompt's ids, its ``count``, and the ``position`` of its first token where it occurs first: the number of
    the sequence in the high 32 bits, the index in the sequence in the low ones."""
    return ngrams(length).schema(ids).append(pa.field("position", pa.uint64(), nullable=False))


@dataclass(frozen=True, kw_only=True)
class Collected(Facts):
    """Of a range. Its amount is in tokens."""

    windows: int
    """Prompts, as often as they occur."""


@dataclass(frozen=True, kw_only=True)
class CollectJob(OnePart):
    """One range of sequences: the distinct prompts of ``length`` tokens in it go to ``out``."""

    reference: StoreReference
    range: SequenceRange
    length: int
    folder: Path

    @property
    def name(self) -> str:
        return f"collect-{self.range}"

    @property
    def out(self) -> Path:
        return self.folder / "work" / f"{self.name}.parquet"

    def make(self) -> Part:
        store = self.reference.store
        range_ = self.range
        tokens, starts, ends = _tokens(store, range_, self.length)
        n_windows = np.maximum(ends - starts - self.length + 1, 0)
        offsets = np.arange(n_windows.sum()) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
        firsts = np.repeat(starts, n_windows) + offsets
        # A few more tokens, so that there is a window even where there are too few for one.
        padded = np.concatenate([tokens, np.zeros(self.length, tokens.dtype)])
        windows = sliding_window_view(padded, self.length)[firsts]
        positions = np.repeat(np.arange(range_.start, range_.stop, dtype=np.uint64), n_windows) << np.uint64(32)
        positions |= offsets.astype(np.uint64) + np.uint64(range_.begin)
        found = distinct_rows(windows, bits_of(store.identity.vocabulary_size))
        with table_writer(self.out, prompts_schema(self.length, store.identity.id_dtype)) as writer:
            ids = dict(zip(id_columns(self.length), found.rows.T, strict=True))
            writer.write(ids | {"count": found.counts, "position": positions[found.first]})
        amount = len(tokens) if range_.end is None else range_.end - range_.begin
        return finished(self.folder, [self.out], Collected(amount=amount, windows=len(windows)))


def collect_jobs(reference: StoreReference, sequences: SequenceRange, length: int, folder: Path) -> list[CollectJob]:
    """Those for some sequences, cut into ranges that depend on the corpus and ``length`` alone."""
    cut_ = cut(reference.store, _IDS_AT_ONCE // length, sequences.start, sequences.stop)
    return [CollectJob(reference=reference, range=range_, length=length, folder=folder) for range_ in cut_]


def _tokens(
    store: Store, range_: SequenceRange, length: int
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """The range's tokens, and where in them its sequences start and end."""
    if not range_.is_part:
        whole = range_.read(store)
        return whole.tokens, np.concatenate([[0], whole.ends[:-1]]), whole.ends
    sequences = store.read(range_.start, range_.stop)
    tokens = sequences.tokens[range_.begin : None if range_.end is None else range_.end + length - 1]
    if int(tokens.max(initial=0)) >= store.identity.vocabulary_size:
        check_ids(store, sequences, range_.start)
    return tokens, np.array([0]), np.array([len(tokens)])


def merge_collected(collected: list[Path], schema: pa.Schema, out: Path, memory: int) -> int:
    """All ranges' prompts, each once, sorted by ids; returns how many."""
    ids = ", ".join(name for name in schema.names if name.startswith("id"))
    query = f"""SELECT {ids}, sum(count) AS count, min(position) AS position FROM {parquet_files(collected)}
        GROUP BY {ids} ORDER BY {ids}"""
    return write_sorted(query, schema, out, memory, out.with_suffix(".sort"), PROMPTS_PER_PART).n_rows
