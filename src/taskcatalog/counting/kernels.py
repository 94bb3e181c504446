"""The compiled loops of counting. All run without the interpreter's lock, so that threads run side by side.

Shapes: tokens (t,), ends (sequences,), heads' starts (heads + 1,), payload and counts (grams,). Grams of one
head stand together, ascending by payload; ``starts[h]`` is where head h begins.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_SMALL_BUCKET = 48
_LARGE_BUCKET = 400


@njit(nogil=True, cache=True, inline="always")
def _head(tokens: Any, i: int, bits: int, spilled: int) -> Any:
    """The head of the n-gram at ``i``: its first id, with the ``spilled`` high bits of the second."""
    head = np.int64(tokens[i]) << spilled
    if spilled:
        head |= np.int64(tokens[i + 1]) >> (bits - spilled)
    return head


@njit(nogil=True, cache=True)
def count_heads(tokens: Any, ends: Any, n: int, bits: int, spilled: int, counts: Any) -> None:
    """Adds to ``counts`` (heads,) how many n-grams within sequences begin with each head."""
    start = 0
    for end in ends:
        for i in range(start, end - n + 1):
            counts[_head(tokens, i, bits, spilled)] += 1
        start = end


@njit(nogil=True, cache=True)
def scatter_payloads(tokens: Any, ends: Any, n: int, bits: int, spilled: int, places: Any, payload: Any) -> None:
    """Writes each n-gram's payload to the next place of its head; ``places`` (heads,) move along."""
    start = 0
    for end in ends:
        for i in range(start, end - n + 1):
            head = _head(tokens, i, bits, spilled)
            key = np.uint64(0)
            for j in range(1, n):
                key = (key << np.uint64(bits)) | np.uint64(tokens[i + j])
            payload[places[head]] = key
            places[head] += 1
        start = end


@njit(nogil=True, cache=True)
def sort_and_count(starts: Any, payload: Any, payload_bits: int, counts: Any, unique_starts: Any) -> None:
    """Sorts each head's payloads and keeps one of equals, in place.

    ``counts`` gets how many there were, ``unique_starts`` (heads + 1,) where each head begins afterwards.
    """
    largest = 0
    for head in range(len(starts) - 1):
        largest = max(largest, starts[head + 1] - starts[head])
    scratch = np.empty(largest if largest > _LARGE_BUCKET else 0, payload.dtype)
    write = 0
    for head in range(len(starts) - 1):
        unique_starts[head] = write
        begin, end = starts[head], starts[head + 1]
        if begin == end:
            continue
        _sort_bucket(payload[begin:end], payload_bits, scratch)
        current = payload[begin]
        run = 1
        for i in range(begin + 1, end):
            value = payload[i]
            if value == current:
                run += 1
            else:
                payload[write], counts[write] = current, run
                write += 1
                current = value
                run = 1
        payload[write], counts[write] = current, run
        write += 1
    unique_starts[-1] = write


@njit(nogil=True, cache=True)
def _sort_bucket(values: Any, n_bits: int, scratch: Any) -> None:
    if len(values) <= _SMALL_BUCKET:
        _insertion_sort(values)
    elif len(values) <= _LARGE_BUCKET:
        values.sort()
    else:
        _radix_sort(values, n_bits, scratch)


@njit(nogil=True, cache=True)
def _insertion_sort(values: Any) -> None:
    for i in range(1, len(values)):
        value = values[i]
        j = i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


@njit(nogil=True, cache=True)
def _radix_sort(values: Any, n_bits: int, scratch: Any) -> None:
    """Least significant byte first; a byte that all values share costs one counting pass."""
    source, target = values, scratch[: len(values)]
    in_scratch = False
    for shift in range(0, n_bits, 8):
        counts = np.zeros(257, np.int64)
        for value in source:
            counts[((value >> np.uint64(shift)) & np.uint64(255)) + 1] += 1
        if counts.max() == len(values):
            continue
        for digit in range(1, 257):
            counts[digit] += counts[digit - 1]
        for value in source:
            digit = (value >> np.uint64(shift)) & np.uint64(255)
            target[counts[digit]] = value
            counts[digit] += 1
        source, target = target, source
        in_scratch = not in_scratch
    if in_scratch:
        values[:] = source


@njit(nogil=True, cache=True)
def merge_two(
    starts_a: Any, payload_a: Any, counts_a: Any, starts_b: Any, payload_b: Any, counts_b: Any,
    starts: Any, payload: Any, counts: Any,
) -> int:  # fmt: skip
    """Merges two runs over the same heads into a third, adding counts of equals; returns its length."""
    write = 0
    for head in range(len(starts) - 1):
        starts[head] = write
        i, end_a = starts_a[head], starts_a[head + 1]
        j, end_b = starts_b[head], starts_b[head + 1]
        while i < end_a and j < end_b:
            if payload_a[i] < payload_b[j]:
                payload[write], counts[write] = payload_a[i], counts_a[i]
                i += 1
            elif payload_b[j] < payload_a[i]:
                payload[write], counts[write] = payload_b[j], counts_b[j]
                j += 1
            else:
                payload[write], counts[write] = payload_a[i], counts_a[i] + counts_b[j]
                i += 1
                j += 1
            write += 1
        while i < end_a:
            payload[write], counts[write] = payload_a[i], counts_a[i]
            i += 1
            write += 1
        while j < end_b:
            payload[write], counts[write] = payload_b[j], counts_b[j]
            j += 1
            write += 1
    starts[-1] = write
    return write


@njit(nogil=True, cache=True)
def summarize_prefixes(is_first: Any, counts: Any, sums: Any, largest: Any, best_rows: Any) -> None:
    """For each prefix: the sum of its rows' counts, the largest, and the first row that has it.

    ``is_first`` (grams,) marks the first row of each prefix; the outputs are (prefixes,).
    """
    prefix = -1
    for i in range(len(counts)):
        if is_first[i]:
            prefix += 1
            sums[prefix] = 0
            largest[prefix] = 0
        sums[prefix] += counts[i]
        if counts[i] > largest[prefix]:
            largest[prefix], best_rows[prefix] = counts[i], i


def count_each_id(tokens: NDArray[Any], vocabulary_size: int) -> NDArray[np.int64]:
    return np.bincount(tokens, minlength=vocabulary_size).astype(np.int64)
