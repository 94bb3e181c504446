"""How often given prompts occur in a store, in how many documents, and where first, without an index of the store.

The prompts of one length go into a table of hashes. The store is read once, in ranges; each worker takes consecutive
ranges and tallies for itself, and the tallies are put together in the store's order. So the result is the same for any
number of workers and size of ranges, and exact: what has a prompt's hash is compared with it.

A prompt lies within one sequence, and may cross a document's end. It counts for the document that it begins in.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskcatalog.counting.windows import (
    COUNT,
    DOCUMENTS,
    FIRST_DOCUMENT,
    LAST_DOCUMENT,
    TALLIES,
    insert_prompts,
    tally_windows,
)
from taskcatalog.runs.progress import progress_bar
from taskcatalog.stores.sequence_range import SequenceRange, cut
from taskcatalog.stores.store import Sequences, Store

_TOKENS_AT_ONCE = 1 << 22
_FILTER_BITS_PER_PROMPT = 16
_LEAST_FILTER_BITS, _MOST_FILTER_BITS = 10, 26
"""Powers of two: from what costs nothing, to what the slowest cache still holds."""


@dataclass(frozen=True)
class Occurrences:
    """What a store says of some prompts, in their order."""

    counts: NDArray[np.uint64]
    documents: NDArray[np.uint64] | None
    """In how many each begins; None where the store does not know its documents."""
    positions: NDArray[np.int64]
    """(prompts, most): the first tokens of the first occurrences, counted from the store's first token, ascending;
    -1 where there are fewer."""


def count_occurrences(
    store: Store,
    ids: NDArray[Any],
    lengths: NDArray[np.int64],
    *,
    positions: int,
    workers: int,
    memory: int,
    tokens_at_once: int = _TOKENS_AT_ONCE,
) -> Occurrences:
    """Looks for prompts in all of a store, up to ``workers`` at a time: ``ids`` has the prompts one after the other,
    of the store's type, and ``lengths`` (prompts,) how many each has, 1 at least.

    The first ``positions`` occurrences of each are told. Every worker has 32 bytes a prompt, and 8 more for each of its
    positions: there are only as many as fit ``memory``. Raises InputError where the store is damaged.
    """
    tables = _tables(ids, lengths)
    ranges = cut(store, tokens_at_once)
    of_worker = sum(len(table.prompts) for table in tables) * 8 * (TALLIES + positions)
    workers = max(1, min(workers, len(ranges), memory // max(1, of_worker) - 1))
    cuts = [len(ranges) * i // workers for i in range(workers + 1)]
    stopped = Event()
    with progress_bar("find", store.n_tokens, "tokens") as bar, ThreadPoolExecutor(workers) as pool:

        def tallied(i: int) -> _Tally:
            tally = _Tally(tables, positions)
            for range_ in ranges[cuts[i] : cuts[i + 1]]:
                if stopped.is_set():
                    break
                bar.update(tally.add(store, range_))
            return tally

        try:
            total, *others = pool.map(tallied, range(workers))
        finally:
            stopped.set()
    for other in others:
        total.append(other)
    return _in_order(total, tables, len(lengths), positions)


@dataclass(frozen=True)
class _Table:
    """Prompts of one length, to be found by their hashes."""

    where: NDArray[np.int64]
    """Which of all prompts these are."""
    prompts: NDArray[Any]
    filter: NDArray[np.uint8]
    slots: NDArray[np.uint64]
    rows: NDArray[np.int64]
    """Of each prompt the first with the same ids: only that one is tallied."""

    @property
    def index(self) -> tuple[Any, ...]:
        """As the kernels take it."""
        filter_bits, slot_bits = 8 * len(self.filter), len(self.slots)
        return self.prompts, self.filter, _shift(filter_bits), self.slots, _shift(slot_bits)


def _shift(size: int) -> np.uint64:
    """How far a hash of 64 bits is shifted to be a number below ``size``, a power of two."""
    return np.uint64(64 - (size - 1).bit_length())


def _tables(ids: NDArray[Any], lengths: NDArray[np.int64]) -> list[_Table]:
    starts = np.cumsum(lengths) - lengths
    tables = []
    for n in np.unique(lengths).tolist():
        where = np.flatnonzero(lengths == n)
        all_of_them = len(where) == len(lengths)
        rows = ids.reshape(-1, n) if all_of_them else ids[starts[where, None] + np.arange(n)]
        tables.append(_table(where, np.ascontiguousarray(rows)))
    return tables


def _table(where: NDArray[np.int64], prompts: NDArray[Any]) -> _Table:
    size = (2 * len(prompts) - 1).bit_length()
    wanted = (_FILTER_BITS_PER_PROMPT * len(prompts) - 1).bit_length()
    filter_bits = min(max(wanted, _LEAST_FILTER_BITS), _MOST_FILTER_BITS)
    empty = np.zeros(1 << filter_bits >> 3, np.uint8), np.zeros(1 << size, np.uint64)
    table = _Table(where, prompts, *empty, np.empty(len(prompts), np.int64))
    insert_prompts(*table.index, table.rows)
    return table


class _Tally:
    """What one worker has found. Tokens and documents are counted from where it began."""

    def __init__(self, tables: Sequence[_Table], positions: int) -> None:
        self._tables = tables
        self.tallies = [_no_tallies(len(table.prompts)) for table in tables]
        self.positions = [np.full((len(table.prompts), positions), -1, np.int64) for table in tables]
        self.n_tokens = 0
        self.n_documents = 0
        """That have begun. What goes on from before has the number 0."""
        self.knows_documents = True

    def add(self, store: Store, range_: SequenceRange) -> int:
        """Tallies the next range; returns its number of tokens."""
        sequences = range_.read(store)
        n_tokens = len(sequences.tokens)
        begin, end = min(range_.begin, n_tokens), n_tokens if range_.end is None else min(range_.end, n_tokens)
        starts = self._document_starts(sequences, begin, None if range_.end is None else end)
        tokens = sequences.tokens.view()
        tokens.flags.writeable = False  # whatever it comes from, one type to compile for
        text = tokens, sequences.ends, begin, end, starts, self.n_documents, self.n_tokens - begin
        for table, tallies, positions in zip(self._tables, self.tallies, self.positions, strict=True):
            tally_windows(*text, *table.index, tallies, positions)
        self.n_tokens += end - begin
        self.n_documents += len(starts)
        return end - begin

    def _document_starts(self, sequences: Sequences, begin: int, end: int | None) -> NDArray[np.int64]:
        """Those in the range, with one that is behind its last token: the next range does not know of it."""
        if sequences.document_starts is None:
            self.knows_documents = False
            return np.zeros(0, np.int64)
        starts = sequences.document_starts
        first, stop = np.searchsorted(starts, begin), len(starts) if end is None else np.searchsorted(starts, end)
        return np.ascontiguousarray(starts[first:stop], np.int64)

    def append(self, after: "_Tally") -> None:
        """Adds what the worker found that goes on where this one ended."""
        for tallies, positions, more, more_positions in zip(
            self.tallies, self.positions, after.tallies, after.positions, strict=True
        ):
            _append_positions(
                positions, tallies[:, COUNT], np.where(more_positions < 0, -1, more_positions + self.n_tokens)
            )
            there = more[:, COUNT] > 0
            more[:, [FIRST_DOCUMENT, LAST_DOCUMENT]] += self.n_documents
            tallies[:, DOCUMENTS] += more[:, DOCUMENTS]
            tallies[:, DOCUMENTS] -= there & (tallies[:, LAST_DOCUMENT] == more[:, FIRST_DOCUMENT])
            tallies[there, LAST_DOCUMENT] = more[there, LAST_DOCUMENT]
            tallies[:, COUNT] += more[:, COUNT]
        self.n_tokens += after.n_tokens
        self.n_documents += after.n_documents
        self.knows_documents &= after.knows_documents


def _no_tallies(n_prompts: int) -> NDArray[np.int64]:
    tallies = np.zeros((n_prompts, TALLIES), np.int64)
    tallies[:, LAST_DOCUMENT] = -1
    return tallies


def _append_positions(positions: NDArray[np.int64], counts: NDArray[np.int64], more: NDArray[np.int64]) -> None:
    """Puts ``more`` (prompts, most) behind the ``counts`` (prompts,) positions that are there, as far as there is
    room."""
    most = positions.shape[1]
    for i in range(most):
        rows = np.flatnonzero((counts + i < most) & (more[:, i] >= 0))
        positions[rows, counts[rows] + i] = more[rows, i]


def _in_order(total: _Tally, tables: Sequence[_Table], n_prompts: int, most: int) -> Occurrences:
    """The prompts of all lengths in the order in which they were given."""
    counts, documents = np.zeros(n_prompts, np.uint64), np.zeros(n_prompts, np.uint64)
    first = np.full((n_prompts, most), -1, np.int64)
    for table, tallies, positions in zip(tables, total.tallies, total.positions, strict=True):
        counts[table.where] = tallies[table.rows, COUNT]
        documents[table.where] = tallies[table.rows, DOCUMENTS]
        first[table.where] = positions[table.rows]
    return Occurrences(counts, documents if total.knows_documents else None, first)
