"""A run: sorted, distinct n-grams with their counts. What counting makes, keeps on disk and merges."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taskcatalog.catalog.files import written_atomically
from taskcatalog.corpus.stores.store import Sequences
from taskcatalog.counting.kernels import count_heads, merge_two, scatter_payloads, sort_and_count
from taskcatalog.counting.keys import KeyLayout


@dataclass(frozen=True)
class Run:
    """Grams with heads from ``first_head`` on: those of head ``first_head + i`` are rows
    ``starts[i]`` to ``starts[i + 1]`` of payload and counts, ascending by payload."""

    layout: KeyLayout
    first_head: int
    starts: NDArray[np.int64]
    payload: NDArray[Any]
    counts: NDArray[Any]

    def __len__(self) -> int:
        return int(self.starts[-1] - self.starts[0])

    def heads(self, first: int, last: int) -> Self:
        """The grams with heads ``first`` to ``last``, the last excluded."""
        starts = self.starts[first - self.first_head : last - self.first_head + 1]
        rows = slice(starts[0], starts[-1])
        return type(self)(self.layout, first, starts - starts[0], self.payload[rows], self.counts[rows])

    def payloads(self, low: int, high: int) -> Self:
        """Of a run of one head, the grams with payloads from ``low`` up to ``high``, which is excluded."""
        dtype = self.payload.dtype
        first = int(np.searchsorted(self.payload, dtype.type(low)))
        last = (
            len(self.payload)
            if high >= 2 ** (8 * dtype.itemsize)
            else int(np.searchsorted(self.payload, dtype.type(high)))
        )
        starts = np.array([0, last - first], np.int64)
        return type(self)(self.layout, self.first_head, starts, self.payload[first:last], self.counts[first:last])

    def gram_heads(self) -> NDArray[np.int64]:
        """The head of each gram."""
        return np.repeat(np.arange(self.first_head, self.first_head + len(self.starts) - 1), np.diff(self.starts))

    def ids(self) -> list[NDArray[Any]]:
        """The n columns of ids."""
        return self.layout.ids(self.gram_heads(), self.payload)


def count_grams(sequences: Sequences, layout: KeyLayout) -> Run:
    """Counts the n-grams within the sequences. Works in about 12 bytes a token (16 for 64-bit payloads)."""
    arguments = (sequences.tokens, sequences.ends, layout.n, layout.bits, layout.spilled_bits)
    sizes = np.zeros(layout.n_heads, np.int64)
    count_heads(*arguments, sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    payload = np.empty(starts[-1], layout.payload_dtype)
    scatter_payloads(*arguments, starts[:-1].copy(), payload)
    counts = np.empty(len(payload), np.uint32)
    unique_starts = np.empty_like(starts)
    sort_and_count(starts, payload, layout.payload_bits, counts, unique_starts)
    n = unique_starts[-1]
    return Run(layout, 0, unique_starts, payload[:n], counts[:n])


def shorten(run: Run, sequences: Sequences) -> Run:
    """The (n-1)-grams of the sequences, from their n-grams: without the last ids, and with what ends a sequence."""
    layout = KeyLayout(run.layout.n - 1, run.layout.vocabulary_size)
    bits, spilled = layout.bits, run.layout.spilled_bits - layout.spilled_bits
    payload = run.payload >> run.payload.dtype.type(bits)
    heads = run.gram_heads()
    if spilled:
        kept = heads & ((1 << spilled) - 1)
        payload |= kept.astype(np.uint64) << np.uint64(64 - bits)
        heads >>= spilled
    payload = payload.astype(layout.payload_dtype, copy=False)
    first = first_rows(heads, payload)
    rows = np.flatnonzero(first)
    counts = np.add.reduceat(run.counts, rows, dtype=np.uint32) if len(rows) else run.counts[:0]
    starts = np.concatenate([[0], np.cumsum(np.bincount(heads[rows], minlength=layout.n_heads))]).astype(np.int64)
    return merge_runs([Run(layout, 0, starts, payload[rows], counts), count_grams(_tails(sequences, layout.n), layout)])


def first_rows(heads: NDArray[Any], payload: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows differ from the row before them; the first does."""
    first = np.ones(len(payload), np.bool_)
    first[1:] = (payload[1:] != payload[:-1]) | (heads[1:] != heads[:-1])
    return first


def merge_runs(runs: Iterable[Run]) -> Run:
    """One run with the grams of all, which must span the same heads; neighbours are merged in pairs."""
    waiting: list[tuple[int, Run]] = []
    for run in runs:
        level = 0
        while waiting and waiting[-1][0] == level:
            run = _merge_pair(waiting.pop()[1], run)
            level += 1
        waiting.append((level, run))
    _, merged = waiting.pop()
    while waiting:
        merged = _merge_pair(waiting.pop()[1], merged)
    return merged


def _merge_pair(a: Run, b: Run) -> Run:
    starts = np.empty_like(a.starts)
    payload = np.empty(len(a) + len(b), a.payload.dtype)
    counts = np.empty(len(payload), np.uint64)
    n = merge_two(a.starts, a.payload, a.counts, b.starts, b.payload, b.counts, starts, payload, counts)
    return Run(a.layout, a.first_head, starts, payload[:n], counts[:n])


def _tails(sequences: Sequences, n: int) -> Sequences:
    """The last n tokens of each sequence that has as many."""
    lengths = np.diff(sequences.ends, prepend=0)
    ends = sequences.ends[lengths >= n]
    tokens = sequences.tokens[(ends[:, None] + np.arange(-n, 0)).ravel()]
    return Sequences(tokens, np.arange(n, len(tokens) + 1, n, dtype=np.int64), None)


_ARRAYS = ("starts", "payload", "counts")


def run_files(stem: Path) -> list[Path]:
    return [stem.with_name(f"{stem.name}-{array}.npy") for array in _ARRAYS]


def write_run(run: Run, stem: Path) -> None:
    for path, array in zip(run_files(stem), _ARRAYS, strict=True):
        with written_atomically(path) as temporary, temporary.open("wb") as file:
            np.save(file, getattr(run, array))


def read_run(stem: Path, layout: KeyLayout) -> Run:
    """The run that ``write_run`` put there, memory-mapped."""
    return Run(layout, 0, *(np.load(path, mmap_mode="r") for path in run_files(stem)))
