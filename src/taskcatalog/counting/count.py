"""First half of the stage: a stretch of the store to one sorted run, by all workers together.

Each worker counts the heads of its share of the tokens. The counts say where each worker may put the payloads
of each head, so that all of them scatter into one array without meeting. Then they sort ranges of heads that
have about as many grams each.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from taskcatalog.counting.kernels import count_heads, scatter_payloads, sort_and_count
from taskcatalog.counting.keys import KeyLayout, high_and_low
from taskcatalog.counting.runs import COUNTS, MemoryRun
from taskcatalog.stores.store import Sequences, Store, check_ids, stretches

T = TypeVar("T")
R = TypeVar("R")
_HEAD_BYTES = 8
_HEAD_ARRAYS = 6
"""Of a number for each head, at a time, beside the places of each worker."""
_SEQUENCE_BYTES = 16
_LEAST_TOKENS = 1 << 10
_MOST_TOKENS = int(np.iinfo(COUNTS).max)
"""Of a stretch: so few that a run can count any gram of it."""
_RANGES_PER_WORKER = 16
_TABLES_SHARE, _PLACES_SHARE, _SCRATCH_SHARE = 4, 16, 16
"""Parts of the memory: for making tables of a run that is still there, and while it is made, for what workers have
each."""
_MOST_SCRATCH = 1 << 26


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Sequences ``first`` to ``last`` of a store, the last excluded, and where their run goes if it goes to disk."""

    first: int
    last: int
    layout: KeyLayout
    folder: Path
    begin: int = 0
    end: int | None = None
    """Where there is one sequence: the tokens of it at which grams begin, the last excluded; all by default."""


@dataclass(frozen=True)
class _Share:
    """What one worker counts: the grams that begin at the first ``n_grams`` of some tokens. The tokens behind these are
    there for what the grams go on with."""

    tokens: NDArray[Any]
    ends: NDArray[np.int64]
    n_grams: int


def tokens_that_fit(store: Store, layout: KeyLayout, memory: int, workers: int) -> int:
    """How many tokens can be counted at once within ``memory`` bytes, beside their tables."""
    heads = (_sharers(layout, memory, workers) + _HEAD_ARRAYS) * layout.vocabulary_size * _HEAD_BYTES
    left = memory - memory // _TABLES_SHARE - memory // _SCRATCH_SHARE - heads
    return int(min(max(_LEAST_TOKENS, left // _token_bytes(store, layout)), _MOST_TOKENS))


def least_memory(store: Store, layout: KeyLayout) -> int:
    """Bytes of memory below which nothing can be counted: what each id takes, and a few tokens."""
    heads = (1 + _HEAD_ARRAYS) * layout.vocabulary_size * _HEAD_BYTES
    least = heads + _LEAST_TOKENS * _token_bytes(store, layout)
    return math.ceil(least / (1 - 1 / _TABLES_SHARE - 1 / _SCRATCH_SHARE))


def _token_bytes(store: Store, layout: KeyLayout) -> float:
    of_sequences = _SEQUENCE_BYTES * store.n_sequences / max(1, store.n_tokens)
    return store.identity.id_dtype.itemsize + layout.payload_dtype.itemsize + COUNTS.itemsize + of_sequences


def cut_store(
    store: Store, layout: KeyLayout, at_once: int, folder: Path, chosen: tuple[int, int] | None = None
) -> Iterator[Stretch]:
    """The store, or its sequences from ``chosen[0]`` up to ``chosen[1]``, in stretches of ``at_once`` tokens: of whole
    sequences, or where these are longer, of parts of one."""
    length = store.identity.sequence_length
    # An empty store is one empty stretch: its tables are there, and empty.
    start, stop = chosen or (0, store.n_sequences)
    for first, last in list(stretches(stop - start, max(1, at_once // length))) or [(0, 0)]:
        begins = [0] if length <= at_once else range(0, max(1, min(length, store.n_tokens)), at_once)
        for begin, end in pairwise([*begins, None]):
            assert begin is not None
            own = folder / f"run-{start + first:010d}-{begin:012d}"
            yield Stretch(first=start + first, last=start + last, layout=layout, folder=own, begin=begin, end=end)


def count_stretch(store: Store, stretch: Stretch, memory: int, workers: int) -> tuple[MemoryRun, NDArray[np.int64]]:
    """The sorted run of a stretch, and how often each id occurs in it (vocabulary,)."""
    layout = stretch.layout
    most_scratch = memory // _SCRATCH_SHARE // workers // layout.payload_dtype.itemsize
    with ThreadPoolExecutor(workers) as pool:
        starts, payload = _scattered(pool, store, stretch, _sharers(layout, memory, workers))
        id_counts = np.diff(starts)
        n_ranges = workers * _RANGES_PER_WORKER
        return _sorted(pool, layout, starts, payload, n_ranges, min(most_scratch, _MOST_SCRATCH)), id_counts


def _scattered(
    pool: ThreadPoolExecutor, store: Store, stretch: Stretch, sharers: int
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The payloads of a stretch's grams in the buckets of their heads, and where each bucket starts (heads + 1,)."""
    layout = stretch.layout
    shares = _read_shares(pool, store, stretch, sharers)
    places = np.zeros((len(shares), layout.vocabulary_size), np.int64)
    _all(pool, lambda i: count_heads(shares[i].tokens[: shares[i].n_grams], places[i]), range(len(shares)))
    starts = np.zeros(layout.vocabulary_size + 1, np.int64)
    np.cumsum(places.sum(0), out=starts[1:])
    _first_places(places, starts)
    payload = np.empty(starts[-1], layout.payload_dtype)
    _all(pool, lambda i: _scatter(shares[i], layout, places[i], payload), range(len(shares)))
    return starts, payload


def _all(pool: ThreadPoolExecutor, do: Callable[[T], R], items: Iterable[T]) -> list[R]:
    return list(pool.map(do, items))


def _sharers(layout: KeyLayout, memory: int, workers: int) -> int:
    """How many workers share in the scattering: each has its own places."""
    return max(1, min(workers, memory // _PLACES_SHARE // (layout.vocabulary_size * _HEAD_BYTES)))


def _read_shares(pool: ThreadPoolExecutor, store: Store, stretch: Stretch, sharers: int) -> list[_Share]:
    if stretch.last - stretch.first == 1:
        sequence = store.read(stretch.first, stretch.last)
        n_tokens = len(sequence.tokens)
        end = n_tokens if stretch.end is None else min(stretch.end, n_tokens)
        cuts = np.linspace(min(stretch.begin, end), end, sharers + 1).astype(np.int64)
        return _all(pool, lambda cut: _share_of_sequence(store, stretch, sequence, *cut), pairwise(cuts.tolist()))
    cuts = np.linspace(stretch.first, stretch.last, sharers + 1).astype(np.int64)
    return _all(pool, lambda cut: _share_of_sequences(store, *cut), pairwise(cuts.tolist()))


def _share_of_sequences(store: Store, first: int, last: int) -> _Share:
    sequences = store.read(first, last)
    check_ids(store, sequences, first)
    return _Share(sequences.tokens, sequences.ends, len(sequences.tokens))


def _share_of_sequence(store: Store, stretch: Stretch, sequence: Sequences, begin: int, end: int) -> _Share:
    tokens = sequence.tokens[begin : end + stretch.layout.n - 1]
    if int(tokens.max(initial=0)) >= stretch.layout.vocabulary_size:
        check_ids(store, sequence, stretch.first)
    return _Share(tokens, np.array([len(tokens)]), end - begin)


def _first_places(counts: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
    """Turns each sharer's counts of heads into the place of its first gram of each: after the sharers before it."""
    place = starts[:-1].copy()
    for row in counts:
        row += place
        place, row[:] = row.copy(), place


def _scatter(share: _Share, layout: KeyLayout, places: NDArray[np.int64], payload: NDArray[Any]) -> None:
    numbers = high_and_low(payload)
    scatter_payloads(share.tokens, share.ends, share.n_grams, layout.n, layout.bits, layout.end_id, places, *numbers)


def _sorted(
    pool: ThreadPoolExecutor,
    layout: KeyLayout,
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
    lengths = unique_ends[[last - 1 for _, last in ranges]] - begins
    row_starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    shifts = np.repeat(begins - row_starts[:-1], [last - first for first, last in ranges])
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
