"""The compiled loops of counting. All run without the interpreter's lock, so that threads run side by side.

Shapes: tokens (t,), ends (sequences,), heads' starts (heads + 1,), payloads and counts (grams,). Grams of one
head stand together, ascending by payload; ``starts[h]`` is where head h begins. Payloads come as ``high`` and ``low``
(see ``ids``): where ``high`` is None, numba compiles only what ``low`` needs.
"""

from typing import Any

import numpy as np

from taskcatalog.compiled import compiled

_SMALL_BUCKET, _MIDDLE_BUCKET, _LARGE_BUCKET = 48, 128, 4_096
"""Grams up to which a bucket is sorted by insertion, by comparison, and by digits of 8 bits."""
_DIGIT_BITS = 11
_MOST_DIGIT_COUNTS = -(-64 // _DIGIT_BITS) << _DIGIT_BITS


@compiled
def count_heads(tokens: Any, counts: Any) -> None:
    """Adds to ``counts`` (heads,) how many n-grams begin with each head: one at every token."""
    for token in tokens:
        counts[token] += 1


@compiled
def scatter_payloads(
    tokens: Any, ends: Any, n_grams: int, n: int, bits: int, end_id: int, slots: Any, high: Any, low: Any
) -> None:
    """Writes the payloads of the n-grams that begin at the first ``n_grams`` tokens to the next slots of their heads;
    ``slots`` (heads,) move along."""
    start = 0
    for end in ends:
        for i in range(start, min(end, n_grams)):
            key = key_high = np.uint64(0)
            for j in range(1, n):
                id_ = np.uint64(tokens[i + j]) if i + j < end else np.uint64(end_id)
                if high is not None:
                    key_high = (key_high << np.uint64(bits)) | (key >> np.uint64(64 - bits))
                key = (key << np.uint64(bits)) | id_
            slot = slots[tokens[i]]
            low[slot] = key
            if high is not None:
                high[slot] = key_high
            slots[tokens[i]] += 1
        start = end


@compiled
def sort_and_count(
    starts: Any, first: int, stop: int, high: Any, low: Any, payload_bits: int, most_scratch: int, counts: Any,
    unique_ends: Any,
) -> None:  # fmt: skip
    """Sorts the payloads of each of the heads ``first`` to ``stop`` and keeps one of equals, in place.

    Those that are kept stand from ``starts[first]`` on, ``counts`` says how many there were of each, and
    ``unique_ends`` (heads,) gets where each head ends now. A head of more than ``most_scratch`` grams is sorted in
    place, slower, rather than in more memory.
    """
    largest = 0
    for head in range(first, stop):
        size = starts[head + 1] - starts[head]
        if size <= most_scratch:
            largest = max(largest, size)
    n_scratch = largest if largest > _MIDDLE_BUCKET else 0
    scratch = np.empty(n_scratch, low.dtype)
    scratch_high = None if high is None else np.empty(n_scratch, high.dtype)
    digit_counts = np.empty(_MOST_DIGIT_COUNTS, np.int64)
    write = starts[first]
    for head in range(first, stop):
        begin, end = starts[head], starts[head + 1]
        if begin < end:
            if high is None:
                _sort_bucket(low[begin:end], payload_bits, scratch, digit_counts)
            else:
                _sort_pairs(high[begin:end], low[begin:end], payload_bits - 64, scratch_high, scratch, digit_counts)
            run_start = begin
            for i in range(begin + 1, end + 1):
                if i == end or not _is_same(high, low, i, run_start):
                    # What stands before the run has been read.
                    low[write], counts[write] = low[run_start], i - run_start
                    if high is not None:
                        high[write] = high[run_start]
                    write += 1
                    run_start = i
        unique_ends[head] = write


@compiled
def _is_same(high: Any, low: Any, i: int, j: int) -> Any:
    if high is not None and high[i] != high[j]:
        return False
    return low[i] == low[j]


@compiled
def _is_less(high_a: Any, low_a: Any, i: int, high_b: Any, low_b: Any, j: int) -> Any:
    if high_a is not None and high_a[i] != high_b[j]:
        return high_a[i] < high_b[j]
    return low_a[i] < low_b[j]


@compiled
def _sort_bucket(values: Any, n_bits: int, scratch: Any, digit_counts: Any) -> None:
    if len(values) <= _SMALL_BUCKET:
        _insertion_sort(values)
    elif len(values) <= _MIDDLE_BUCKET or len(values) > len(scratch):
        values.sort()
    else:
        _radix_sort(values, n_bits, scratch, digit_counts, 8 if len(values) <= _LARGE_BUCKET else _DIGIT_BITS)


@compiled
def _insertion_sort(values: Any) -> None:
    for i in range(1, len(values)):
        value = values[i]
        j = i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


@compiled
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


@compiled
def _sort_pairs(high: Any, low: Any, high_bits: int, scratch_high: Any, scratch: Any, digit_counts: Any) -> None:
    if len(low) <= _SMALL_BUCKET:
        _insertion_sort_pairs(high, low)
    elif len(low) <= _MIDDLE_BUCKET or len(low) > len(scratch):
        _heap_sort_pairs(high, low)
    else:
        digit_bits = 8 if len(low) <= _LARGE_BUCKET else _DIGIT_BITS
        _radix_sort_pairs(low, high, 64, scratch, scratch_high, digit_counts, digit_bits)
        _radix_sort_pairs(high, low, high_bits, scratch_high, scratch, digit_counts, digit_bits)


@compiled
def _insertion_sort_pairs(high: Any, low: Any) -> None:
    for i in range(1, len(low)):
        value_high, value = high[i], low[i]
        j = i
        while j > 0 and (high[j - 1] > value_high or (high[j - 1] == value_high and low[j - 1] > value)):
            high[j], low[j] = high[j - 1], low[j - 1]
            j -= 1
        high[j], low[j] = value_high, value


@compiled
def _heap_sort_pairs(high: Any, low: Any) -> None:
    size = len(low)
    for start in range(size // 2 - 1, -1, -1):
        _sift_down(high, low, start, size)
    for end in range(size - 1, 0, -1):
        high[0], high[end] = high[end], high[0]
        low[0], low[end] = low[end], low[0]
        _sift_down(high, low, 0, end)


@compiled
def _sift_down(high: Any, low: Any, parent: int, size: int) -> None:
    while 2 * parent + 1 < size:
        child = 2 * parent + 1
        if child + 1 < size and _is_less(high, low, child, high, low, child + 1):
            child += 1
        if not _is_less(high, low, parent, high, low, child):
            return
        high[parent], high[child] = high[child], high[parent]
        low[parent], low[child] = low[child], low[parent]
        parent = child


@compiled
def _radix_sort_pairs(
    keys: Any, others: Any, n_bits: int, scratch_keys: Any, scratch_others: Any, counts: Any, digit_bits: int
) -> None:
    """Pairs in the order of ``keys``, and of equal ones in that which they had."""
    size = 1 << digit_bits
    mask = np.uint64(size - 1)
    n = len(keys)
    in_scratch = False
    for digit in range((n_bits + digit_bits - 1) // digit_bits):
        shift = np.uint64(digit * digit_bits)
        source, source_others = (scratch_keys[:n], scratch_others[:n]) if in_scratch else (keys, others)
        target, target_others = (keys, others) if in_scratch else (scratch_keys[:n], scratch_others[:n])
        counts[:size] = 0
        for key in source:
            counts[np.int64((np.uint64(key) >> shift) & mask)] += 1
        if counts[np.int64((np.uint64(source[0]) >> shift) & mask)] == n:
            continue
        slot = 0
        for i in range(size):
            counts[i], slot = slot, slot + counts[i]
        for i in range(n):
            bucket = np.int64((np.uint64(source[i]) >> shift) & mask)
            target[counts[bucket]], target_others[counts[bucket]] = source[i], source_others[i]
            counts[bucket] += 1
        in_scratch = not in_scratch
    if in_scratch:
        keys[:], others[:] = scratch_keys[:n], scratch_others[:n]


@compiled
def merge_two(
    starts_a: Any, high_a: Any, low_a: Any, counts_a: Any, starts_b: Any, high_b: Any, low_b: Any, counts_b: Any,
    starts: Any, high: Any, low: Any, counts: Any,
) -> int:  # fmt: skip
    """Merges two runs over the same heads into a third, adding counts of equals; returns its length."""
    write = 0
    for head in range(len(starts) - 1):
        starts[head] = write
        i, end_a = starts_a[head], starts_a[head + 1]
        j, end_b = starts_b[head], starts_b[head + 1]
        while i < end_a and j < end_b:
            if _is_less(high_a, low_a, i, high_b, low_b, j):
                low[write], counts[write] = low_a[i], counts_a[i]
                if high is not None:
                    high[write] = high_a[i]
                i += 1
            elif _is_less(high_b, low_b, j, high_a, low_a, i):
                low[write], counts[write] = low_b[j], counts_b[j]
                if high is not None:
                    high[write] = high_b[j]
                j += 1
            else:
                low[write] = low_a[i]
                counts[write] = np.uint64(counts_a[i]) + np.uint64(counts_b[j])
                if high is not None:
                    high[write] = high_a[i]
                i += 1
                j += 1
            write += 1
        while i < end_a:
            low[write], counts[write] = low_a[i], counts_a[i]
            if high is not None:
                high[write] = high_a[i]
            i += 1
            write += 1
        while j < end_b:
            low[write], counts[write] = low_b[j], counts_b[j]
            if high is not None:
                high[write] = high_b[j]
            j += 1
            write += 1
    starts[-1] = write
    return write


_LN_2 = 0.6931471805599453
_ROOT_HALF = 0.7071067811865476


@compiled
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


@compiled
def decode(first_head: int, starts: Any, high: Any, low: Any, bits: int, ids: Any) -> None:
    """The ids (n, grams) of grams in order, those of head ``first_head + i`` from ``starts[i]`` on."""
    n = len(ids)
    mask = np.uint64((1 << bits) - 1)
    for i in range(len(starts) - 1):
        for row in range(starts[i], starts[i + 1]):
            key = np.uint64(low[row])
            key_high = np.uint64(0) if high is None else np.uint64(high[row])
            for j in range(n - 1, 0, -1):
                ids[j, row] = key & mask
                key >>= np.uint64(bits)
                if high is not None:
                    key |= key_high << np.uint64(64 - bits)
                    key_high >>= np.uint64(bits)
            ids[0, row] = first_head + i


@compiled
def _entropy(total: Any, logs: float) -> Any:
    """Of counts with this sum, and this sum of c ln c, in nats."""
    return (_times_log(np.float64(total)) - logs) / np.float64(total)


@compiled
def _begins_with(ids: Any, row: int, prefix: Any) -> Any:
    same = True
    for j in range(len(ids) - 1):
        same &= np.int64(ids[j, row]) == prefix[j]
    return same


@compiled
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
        if row == len(counts) or not _begins_with(ids, row, prefix):
            if prefix[0] >= 0:
                for j in range(k - 1):
                    shorter_ids[j, n_shorter] = prefix[j]
                shorter_counts[n_shorter] = total
                n_shorter += 1
                if completions:
                    prefix[k - 1] = best
                    for j in range(k):
                        prefix_ids[j, n_prefixes] = prefix[j]
                    prefix_numbers[0, n_prefixes] = complete
                    prefix_numbers[1, n_prefixes] = largest
                    prefix_numbers[2, n_prefixes] = completions
                    prefix_entropies[n_prefixes] = _entropy(complete, logs) if completions > 1 else 0.0
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
        completion = np.int64(ids[k - 1, row])
        if completion == end_id:
            continue
        complete += count
        completions += np.uint64(1)
        logs += _TIMES_LOG[count] if count < len(_TIMES_LOG) else _times_log(np.float64(count))
        if count > largest:
            largest, best = count, completion
        if n_grams < row:
            for j in range(k):
                ids[j, n_grams] = ids[j, row]
            counts[n_grams] = count
        n_grams += 1
    sums[0], sums[1], sums[2], sums[3] = total, complete, largest, completions
    prefix[k - 1], entropy[0] = best, logs
    return n_grams, n_shorter, n_prefixes
