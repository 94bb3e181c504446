"""First half of the stage: a range of the store to one sorted run, by all workers together.

Each worker counts the heads of its share of the tokens. The counts say where each worker may put the payloads
of each head, so that all of them scatter into one array without meeting. Then they sort ranges of heads that
have about as many grams each.
"""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from taskcatalog.counting.kernels import count_heads, scatter_payloads, sort_and_count
from taskcatalog.counting.runs import COUNTS, MemoryRun
from taskcatalog.ids import GramLayout, high_and_low
from taskcatalog.stores.sequence_range import SequenceRange, cut
from taskcatalog.stores.store import Sequences, Store, check_ids

T = TypeVar("T")
R = TypeVar("R")
_HEAD_BYTES = 8
_HEAD_ARRAYS = 6
"""Of a number for each head, at a time, beside the slots of each worker."""
_SEQUENCE_BYTES = 16
_LEAST_TOKENS = 1 << 10
_MOST_TOKENS = int(np.iinfo(COUNTS).max)
"""Of a range: so few that a run can count any gram of it."""
_RANGES_PER_WORKER = 16
_TABLES_SHARE, _SLOTS_SHARE, _SCRATCH_SHARE = 4, 16, 16
"""Parts of the memory: for making tables of a run that is still there, and while it is made, for what workers have
each."""
_MOST_SCRATCH = 1 << 26


@dataclass(frozen=True)
class _Share:
    """What one worker counts: the grams that begin at the first ``n_grams`` of some tokens. The tokens behind these are
    there for what the grams go on with."""

    tokens: NDArray[Any]
    ends: NDArray[np.int64]
    n_grams: int


def tokens_that_fit(store: Store, layout: GramLayout, memory: int, workers: int) -> int:
    """How many tokens can be counted at once within ``memory`` bytes, beside their tables."""
    heads = (_sharers(layout, memory, workers) + _HEAD_ARRAYS) * layout.vocabulary_size * _HEAD_BYTES
    left = memory - memory // _TABLES_SHARE - memory // _SCRATCH_SHARE - heads
    return int(min(max(_LEAST_TOKENS, left // _token_bytes(store, layout)), _MOST_TOKENS))


def least_memory(store: Store, layout: GramLayout) -> int:
    """Bytes of memory below which nothing can be counted: what each id takes, and a few tokens."""
    heads = (1 + _HEAD_ARRAYS) * layout.vocabulary_size * _HEAD_BYTES
    least = heads + _LEAST_TOKENS * _token_bytes(store, layout)
    return math.ceil(least / (1 - 1 / _TABLES_SHARE - 1 / _SCRATCH_SHARE))


def _token_bytes(store: Store, layout: GramLayout) -> float:
    of_sequences = _SEQUENCE_BYTES * store.n_sequences / max(1, store.n_tokens)
    return store.identity.id_dtype.itemsize + layout.payload_dtype.itemsize + COUNTS.itemsize + of_sequences


def cut_store(store: Store, tokens_at_once: int) -> list[SequenceRange]:
    """The store in ranges of so many tokens. An empty one is one range: its tables are there, and empty."""
    return cut(store, tokens_at_once) or [SequenceRange(0, 0)]


def count_range(
    store: Store, range_: SequenceRange, layout: GramLayout, memory: int, workers: int
) -> tuple[MemoryRun, NDArray[np.int64]]:
    """The sorted run of a range, and how often each id occurs in it (vocabulary,)."""
    most_scratch = memory // _SCRATCH_SHARE // workers // layout.payload_dtype.itemsize
    with ThreadPoolExecutor(workers) as pool:
        shares = _read_shares(pool, store, range_, layout, _sharers(layout, memory, workers))
        starts, payload = _scattered(pool, shares, layout)
        id_counts = np.diff(starts)
        n_ranges = workers * _RANGES_PER_WORKER
        return _sorted(pool, layout, starts, payload, n_ranges, min(most_scratch, _MOST_SCRATCH)), id_counts


def _scattered(
    pool: ThreadPoolExecutor, shares: list[_Share], layout: GramLayout
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The payloads of the grams in the buckets of their heads, and where each bucket starts (heads + 1,)."""
    slots = np.zeros((len(shares), layout.vocabulary_size), np.int64)
    _all(pool, lambda i: count_heads(shares[i].tokens[: shares[i].n_grams], slots[i]), range(len(shares)))
    starts = np.zeros(layout.vocabulary_size + 1, np.int64)
    np.cumsum(slots.sum(0), out=starts[1:])
    _first_slots(slots, starts)
    payload = np.empty(starts[-1], layout.payload_dtype)
    _all(pool, lambda i: _scatter(shares[i], layout, slots[i], payload), range(len(shares)))
    return starts, payload


def _all(pool: ThreadPoolExecutor, do: Callable[[T], R], items: Iterable[T]) -> list[R]:
    return list(pool.map(do, items))


def _sharers(layout: GramLayout, memory: int, workers: int) -> int:
    """How many workers share in the scattering: each has its own slots."""
    return max(1, min(workers, memory // _SLOTS_SHARE // (layout.vocabulary_size * _HEAD_BYTES)))


def _read_shares(
    pool: ThreadPoolExecutor, store: Store, range_: SequenceRange, layout: GramLayout, sharers: int
) -> list[_Share]:
    if range_.stop - range_.start == 1:
        sequence = store.read(range_.start, range_.stop)
        n_tokens = len(sequence.tokens)
        end = n_tokens if range_.end is None else min(range_.end, n_tokens)
        cuts = np.linspace(min(range_.begin, end), end, sharers + 1).astype(np.int64).tolist()
        return _all(
            pool,
            lambda bounds: _share_of_sequence(store, range_.start, sequence, layout, *bounds),
            pairwise(cuts),
        )
    cuts = np.linspace(range_.start, range_.stop, sharers + 1).astype(np.int64).tolist()
    return _all(pool, lambda bounds: _share_of_sequences(store, SequenceRange(*bounds)), pairwise(cuts))


def _share_of_sequences(store: Store, range_: SequenceRange) -> _Share:
    sequences = range_.read(store)
    return _Share(sequences.tokens, sequences.ends, len(sequences.tokens))


def _share_of_sequence(
    store: Store, number: int, sequence: Sequences, layout: GramLayout, begin: int, end: int
) -> _Share:
    tokens = sequence.tokens[begin : end + layout.n - 1]
    if int(tokens.max(initial=0)) >= layout.vocabulary_size:
        check_ids(store, sequence, number)
    return _Share(tokens, np.array([len(tokens)]), end - begin)


def _first_slots(counts: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
    """Turns each sharer's counts of heads into the slot of its first gram of each: after the sharers before it."""
    slots = starts[:-1].copy()
    for row in counts:
        row += slots
        slots, row[:] = row.copy(), slots


def _scatter(share: _Share, layout: GramLayout, slots: NDArray[np.int64], payload: NDArray[Any]) -> None:
    numbers = high_and_low(payload)
    scatter_payloads(share.tokens, share.ends, share.n_grams, layout.n, layout.bits, layout.end_id, slots, *numbers)


def _sorted(
    pool: ThreadPoolExecutor,
    layout: GramLayout,
    starts: NDArray[np.int64],
    payload: NDArray[Any],
    n_ranges: int,
    most_scratch: int,
) -> MemoryRun:
    """Sorts the buckets, and keeps one of equal grams with its count."""
    counts = np.empty(len(payload), COUNTS)
    unique_ends = np.empty(layout.vocabulary_size, np.int64)
    numbers = high_and_low(payload)
    ranges = equal_ranges(starts, n_ranges)
    _all(
        pool,
        lambda heads: sort_and_count(starts, *heads, *numbers, layout.payload_bits, most_scratch, counts, unique_ends),
        sorted(ranges, key=lambda heads: starts[heads[0]] - starts[heads[1]]),  # the largest first
    )
    firsts = np.array([first for first, _ in ranges])
    # Each range has a gap at its end now, where equal grams were.
    begins = starts[firsts]
    lengths = unique_ends[[stop - 1 for _, stop in ranges]] - begins
    row_starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    shifts = np.repeat(begins - row_starts[:-1], [stop - first for first, stop in ranges])
    unique_starts = np.concatenate([np.zeros(1, np.int64), unique_ends - shifts])
    return MemoryRun(layout, unique_starts, payload, counts, row_starts, begins)


def equal_ranges(starts: NDArray[np.int64], n_ranges: int) -> list[tuple[int, int]]:
    """Cuts what stands from ``starts[i]`` to ``starts[i + 1]``, for each i, into up to so many ranges of i, the last
    of each excluded, that hold about as much each. All of them together cover all i; none is empty of them."""
    total = int(starts[-1])
    goals = np.arange(1, n_ranges) * total // n_ranges
    inner = np.searchsorted(starts[1:], goals, side="right")
    cuts = np.unique(np.concatenate([[0], inner, [len(starts) - 1]])).tolist()
    return list(pairwise(cuts))
