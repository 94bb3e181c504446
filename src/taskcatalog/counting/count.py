"""First half of the stage: a stretch of the store to one sorted run, by all workers together.

Each worker counts the heads of its share of the sequences. The counts say where each worker may put the payloads
of each head, so that all of them scatter into one array without meeting. Then they sort ranges of heads that
have about as many grams each.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from taskcatalog.corpus.stores.store import Sequences, Store, check_ids
from taskcatalog.counting.kernels import count_heads, scatter_payloads, sort_and_count
from taskcatalog.counting.keys import KeyLayout
from taskcatalog.counting.runs import MemoryRun

T = TypeVar("T")
R = TypeVar("R")
_COUNT_BYTES = 4
_HEAD_BYTES = 8
_LEAST_TOKENS = 1 << 16
_MOST_TOKENS = (1 << 32) - 1
"""Of a stretch: so few that 32 bits count any gram of it."""
_RANGES_PER_WORKER = 16
_MOST_SHARED_HEADS = 1 << 24
"""Heads times workers beyond which fewer workers share in the scattering, since each has its own places."""


@dataclass(frozen=True)
class Stretch:
    """Sequences ``first`` to ``last``, the last excluded, and where their run goes if it goes to disk."""

    store: Store
    first: int
    last: int
    layout: KeyLayout
    folder: Path


def sequences_that_fit(store: Store, layout: KeyLayout, memory: int, workers: int) -> int:
    """How many sequences can be counted at once within ``memory`` bytes."""
    sharers = _sharers(layout, workers)
    left = memory - (sharers + 2) * layout.n_heads * _HEAD_BYTES
    per_token = store.corpus.id_dtype.itemsize + layout.payload_dtype.itemsize + _COUNT_BYTES
    tokens = min(max(_LEAST_TOKENS, left // per_token), _MOST_TOKENS)
    return max(1, tokens // store.corpus.sequence_length)


def count_stretch(stretch: Stretch, workers: int) -> tuple[MemoryRun, NDArray[np.int64]]:
    """The sorted run of a stretch, and how often each id occurs in it (vocabulary,)."""
    layout = stretch.layout
    with ThreadPoolExecutor(workers) as pool:
        starts, payload = _scattered(pool, stretch, _sharers(layout, workers))
        id_counts = np.diff(starts[:: 1 << layout.spilled_bits])
        return _sorted(pool, layout, starts, payload, workers * _RANGES_PER_WORKER), id_counts


def _scattered(pool: ThreadPoolExecutor, stretch: Stretch, sharers: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The payloads of a stretch's grams in the buckets of their heads, and where each bucket starts (heads + 1,)."""
    layout = stretch.layout
    cuts = np.linspace(stretch.first, stretch.last, sharers + 1).astype(np.int64)
    shares = _all(pool, lambda cut: _read_share(stretch, *cut), pairwise(cuts.tolist()))
    places = np.zeros((sharers, layout.n_heads), np.int64)
    _all(pool, lambda i: _count_heads(shares[i], layout, places[i]), range(sharers))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(places.sum(0))])
    _first_places(places, starts)
    payload = np.empty(starts[-1], layout.payload_dtype)
    _all(pool, lambda i: _scatter(shares[i], layout, places[i], payload), range(sharers))
    return starts, payload


def _all(pool: ThreadPoolExecutor, do: Callable[[T], R], items: Iterable[T]) -> list[R]:
    return list(pool.map(do, items))


def _sharers(layout: KeyLayout, workers: int) -> int:
    return max(1, min(workers, _MOST_SHARED_HEADS // layout.n_heads))


def _read_share(stretch: Stretch, first: int, last: int) -> Sequences:
    sequences = stretch.store.read(first, last)
    check_ids(stretch.store, sequences, first)
    return sequences


def _count_heads(share: Sequences, layout: KeyLayout, counts: NDArray[np.int64]) -> None:
    count_heads(share.tokens, share.ends, layout.bits, layout.spilled_bits, layout.end_id, counts)


def _first_places(counts: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
    """Turns each sharer's counts of heads into the place of its first gram of each: after the sharers before it."""
    place = starts[:-1].copy()
    for row in counts:
        row += place
        place, row[:] = row.copy(), place


def _scatter(share: Sequences, layout: KeyLayout, places: NDArray[np.int64], payload: NDArray[Any]) -> None:
    scatter_payloads(
        share.tokens, share.ends, layout.n, layout.bits, layout.spilled_bits, layout.end_id, places, payload
    )


def _sorted(
    pool: ThreadPoolExecutor, layout: KeyLayout, starts: NDArray[np.int64], payload: NDArray[Any], n_ranges: int
) -> MemoryRun:
    """Sorts the buckets, and keeps one of equal grams with its count."""
    counts = np.empty(len(payload), np.uint32)
    unique_ends = np.empty(layout.n_heads, np.int64)
    ranges = equal_ranges(starts, n_ranges)
    _all(
        pool,
        lambda heads: sort_and_count(starts, *heads, payload, layout.payload_bits, counts, unique_ends),
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
