"""The compiled loops of counting. All run without the interpreter's lock, so that threads run side by side.

Shapes: tokens (t,), ends (sequences,), heads' starts (heads + 1,), payload and counts (grams,). Grams of one
head stand together, ascending by payload; ``starts[h]`` is where head h begins.
"""

from typing import Any

import numpy as np
from numba import njit

_SMALL_BUCKET, _MIDDLE_BUCKET, _LARGE_BUCKET = 48, 128, 4_096
"""Grams up to which a bucket is sorted by insertion, by comparison, and by digits of 8 bits."""
_DIGIT_BITS = 11
_MOST_DIGIT_COUNTS = -(-64 // _DIGIT_BITS) << _DIGIT_BITS
_LARGEST_SCRATCH = 1 << 26
"""Grams of a bucket beyond which it is sorted in place, slower, rather than in more memory."""


@njit(nogil=True, cache=True, inline="always")
def _head(tokens: Any, i: int, end: int, bits: int, spilled: int, end_id: int) -> Any:
    """The head of the n-gram at ``i``: its first id, with the ``spilled`` high bits of the second."""
    head = np.int64(tokens[i]) << spilled
    if spilled:
        second = np.int64(tokens[i + 1]) if i + 1 < end else end_id
        head |= second >> (bits - spilled)
    return head


@njit(nogil=True, cache=True)
def count_heads(tokens: Any, ends: Any, bits: int, spilled: int, end_id: int, counts: Any) -> None:
    """Adds to ``counts`` (heads,) how many n-grams begin with each head: one at every token."""
    start = 0
    for end in ends:
        for i in range(start, end):
            counts[_head(tokens, i, end, bits, spilled, end_id)] += 1
        start = end


@njit(nogil=True, cache=True)
def scatter_payloads(
    tokens: Any, ends: Any, n: int, bits: int, spilled: int, end_id: int, places: Any, payload: Any
) -> None:
    """Writes each n-gram's payload to the next place of its head; ``places`` (heads,) move along."""
    start = 0
    for end in ends:
        for i in range(start, end):
            head = _head(tokens, i, end, bits, spilled, end_id)
            key = np.uint64(0)
            for j in range(1, n):
                id_ = np.uint64(tokens[i + j]) if i + j < end else np.uint64(end_id)
                key = (key << np.uint64(bits)) | id_
            payload[places[head]] = key
            places[head] += 1
        start = end


@njit(nogil=True, cache=True)
def sort_and_count(
    starts: Any, first: int, last: int, payload: Any, payload_bits: int, counts: Any, unique_ends: Any
) -> None:
    """Sorts the payloads of each of the heads ``first`` to ``last`` and keeps one of equals, in place.

    Those that are kept stand from ``starts[first]`` on, ``counts`` says how many there were of each, and
    ``unique_ends`` (heads,) gets where each head ends now.
    """
    largest = 0
    for head in range(first, last):
        size = starts[head + 1] - starts[head]
        if size <= _LARGEST_SCRATCH:
            largest = max(largest, size)
    scratch = np.empty(largest if largest > _MIDDLE_BUCKET else 0, payload.dtype)
    digit_counts = np.empty(_MOST_DIGIT_COUNTS, np.int64)
    write = starts[first]
    for head in range(first, last):
        begin, end = starts[head], starts[head + 1]
        if begin < end:
            _sort_bucket(payload[begin:end], payload_bits, scratch, digit_counts)
            current = payload[begin]
            run_start = begin
            for i in range(begin + 1, end):
                value = payload[i]
                if value != current:
                    payload[write], counts[write] = current, i - run_start
                    write += 1
                    current = value
                    run_start = i
            payload[write], counts[write] = current, end - run_start
            write += 1
        unique_ends[head] = write


@njit(nogil=True, cache=True)
def _sort_bucket(values: Any, n_bits: int, scratch: Any, digit_counts: Any) -> None:
    if len(values) <= _SMALL_BUCKET:
        _insertion_sort(values)
    elif len(values) <= _MIDDLE_BUCKET or len(values) > len(scratch):
        values.sort()
    else:
        _radix_sort(values, n_bits, scratch, digit_counts, 8 if len(values) <= _LARGE_BUCKET else _DIGIT_BITS)


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
def _radix_sort(values: Any, n_bits: int, scratch: Any, counts: Any, digit_bits: int) -> None:
    """Least significant digit first; a digit that all values share costs nothing but its counting.

    The digits are counted all at once, in ``counts``, which holds those of all of ``n_bits`` bits.
    """
    size, n_digits = 1 << digit_bits, (n_bits + digit_bits - 1) // digit_bits
    mask = np.uint64(size - 1)
    for i in range(n_digits * size):
        counts[i] = 0
    for value in values:
        rest = np.uint64(value)
        for digit in range(n_digits):
            counts[digit * size + np.int64(rest & mask)] += 1
            rest >>= np.uint64(digit_bits)
    source, target = values, scratch[: len(values)]
    in_scratch = False
    for digit in range(n_digits):
        shift, base = np.uint64(digit * digit_bits), digit * size
        if counts[base + np.int64((np.uint64(values[0]) >> shift) & mask)] == len(values):
            continue
        for i in range(base + 1, base + size):
            counts[i] += counts[i - 1]
        for i in range(base + size - 1, base, -1):
            counts[i] = counts[i - 1]
        counts[base] = 0
        for value in source:
            bucket = base + np.int64((np.uint64(value) >> shift) & mask)
            target[counts[bucket]] = value
            counts[bucket] += 1
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
                payload[write] = payload_a[i]
                counts[write] = np.uint64(counts_a[i]) + np.uint64(counts_b[j])
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


_LN_2 = 0.6931471805599453
_ROOT_HALF = 0.7071067811865476


@njit(nogil=True, cache=True)
def _times_log(count: float) -> float:
    """c ln c, from sums and products alone, so that every machine gets the same bits; log functions differ.

    c = m 2^e with m in [1/√2, √2), and ln m = 2 artanh((m - 1) / (m + 1)), a series that ends at s^19 here.
    """
    m, e = count, 0
    while m >= 65_536.0:
        m *= 1.0 / 65_536.0
        e += 16
    while m >= 1.0:
        m *= 0.5
        e += 1
    if m < _ROOT_HALF:
        m *= 2.0
        e -= 1
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    series = 0.0
    for k in range(19, 0, -2):
        series = series * square + 1.0 / k
    return count * (e * _LN_2 + 2.0 * s * series)


_TIMES_LOG = np.array([0.0, 0.0, *(_times_log.py_func(float(count)) for count in range(2, 1_024))])


@njit(nogil=True, cache=True)
def decode(first_head: int, starts: Any, payload: Any, bits: int, spilled: int, ids: Any) -> None:
    """The ids (n, grams) of grams in order, those of head ``first_head + i`` from ``starts[i]`` on."""
    n = len(ids)
    mask = np.uint64((1 << bits) - 1)
    for head in range(len(starts) - 1):
        first = (first_head + head) >> spilled
        second = ((first_head + head) & ((1 << spilled) - 1)) << (bits - spilled)
        for row in range(starts[head], starts[head + 1]):
            key = np.uint64(payload[row])
            for j in range(n - 1, 0, -1):
                ids[j, row] = key & mask
                key >>= np.uint64(bits)
            ids[0, row] = first
            if spilled:
                ids[1, row] |= second


@njit(nogil=True, cache=True)
def group(
    ids: Any, counts: Any, end_id: int, is_last: bool, prefix: Any, sums: Any, entropy: Any,
    shorter_ids: Any, shorter_counts: Any, prefix_ids: Any, prefix_numbers: Any, prefix_entropies: Any,
) -> Any:  # fmt: skip
    """From distinct k-grams in order, the rows of their table, of their prefixes' table, and the (k-1)-grams.

    ``ids`` (k, grams) and ``counts`` (grams,) are those that may end with the end id; the others are moved to the
    front. A prefix that may go on with the next call's grams stays open: its ids, -1 where there is none, and the id
    of its best completion are in ``prefix`` (k,) int64; in ``sums`` (4,) uint64 its count as a (k-1)-gram, and of its
    completions the sum of counts, the largest and how many they are; in ``entropy`` (1,) the sum of c ln c.

    Returns the numbers of rows of the table, of (k-1)-grams ``shorter_…``, and of prefixes ``prefix_…``.
    """
    k = len(ids)
    n_grams = n_shorter = n_prefixes = 0
    total, complete, largest, completions = sums[0], sums[1], sums[2], sums[3]
    best, logs = prefix[k - 1], entropy[0]
    for row in range(len(counts) + is_last):
        same = row < len(counts)
        if same:
            for j in range(k - 1):
                same &= np.int64(ids[j, row]) == prefix[j]
        if not same:
            if prefix[0] >= 0:
                for j in range(k - 1):
                    shorter_ids[j, n_shorter] = prefix[j]
                shorter_counts[n_shorter] = total
                n_shorter += 1
                if completions:
                    for j in range(k - 1):
                        prefix_ids[j, n_prefixes] = prefix[j]
                    prefix_ids[k - 1, n_prefixes] = best
                    prefix_numbers[0, n_prefixes] = complete
                    prefix_numbers[1, n_prefixes] = largest
                    prefix_numbers[2, n_prefixes] = completions
                    prefix_entropies[n_prefixes] = (
                        (_times_log(np.float64(complete)) - logs) / np.float64(complete) if completions > 1 else 0.0
                    )
                    n_prefixes += 1
            total = complete = largest = completions = np.uint64(0)
            logs = 0.0
            prefix[0] = -1
            if row == len(counts):
                break
            for j in range(k - 1):
                prefix[j] = ids[j, row]
        count = counts[row]
        total += count
        last = np.int64(ids[k - 1, row])
        if last == end_id:
            continue
        complete += count
        completions += np.uint64(1)
        logs += _TIMES_LOG[count] if count < len(_TIMES_LOG) else _times_log(np.float64(count))
        if count > largest:
            largest, best = count, last
        if n_grams < row:
            for j in range(k):
                ids[j, n_grams] = ids[j, row]
            counts[n_grams] = count
        n_grams += 1
    sums[0], sums[1], sums[2], sums[3] = total, complete, largest, completions
    prefix[k - 1], entropy[0] = best, logs
    return n_grams, n_shorter, n_prefixes
