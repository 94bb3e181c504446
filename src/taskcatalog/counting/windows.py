"""The compiled loops that look for given prompts among all windows of a text, without an index of the text.

A window of n tokens has a hash that the next one's follows from, by one token that comes and one that goes. A bitmap
tells which hashes no prompt has; of the others, a table of hashes gives the prompt, whose ids are then compared.

Shapes: tokens (t,), ends of sequences (sequences,), prompts (prompts, n), filter (bytes,), slots (slots,). A slot holds
32 bits of a prompt's hash and, below them, one more than its row; 0 where it is empty. ``tallies`` (prompts, 4) has
the columns below; ``positions`` (prompts, most) the first of each prompt's positions, as far as there are any.
"""

from typing import Any

import numpy as np

from taskcatalog.compiled import compiled

TALLIES = 4
COUNT, DOCUMENTS, FIRST_DOCUMENT, LAST_DOCUMENT = range(TALLIES)
"""Columns of tallies: occurrences, documents they begin in, and the numbers of the first and last of these."""

_BASE, _SPREAD, _MIX = np.uint64(0xD1342543DE82EF95), np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_HALF, _LOW_HALF, _ONE = np.uint64(32), np.uint64(0xFFFFFFFF), np.uint64(1)
_BLOCK = 1_024
"""Windows at a time: what is kept of them fits the fastest cache."""


@compiled
def insert_prompts(prompts: Any, filter_: Any, filter_shift: Any, slots: Any, slot_shift: Any, rows: Any) -> None:
    """Fills the empty ``filter_`` and ``slots``; ``rows`` (prompts,) gets the row of the first prompt with its ids."""
    mask = np.uint64(len(slots) - 1)
    n, ids = prompts.shape[1], prompts.ravel()
    for i in range(len(prompts)):
        hash_ = np.uint64(0)
        for j in range(i * n, (i + 1) * n):
            hash_ = hash_ * _BASE + np.uint64(ids[j])
        hash_ *= _SPREAD
        bit = hash_ >> filter_shift
        filter_[bit >> np.uint64(3)] |= np.uint8(1) << np.uint8(bit & np.uint64(7))
        slot = _slot(hash_, slot_shift)
        rows[i] = i
        while slots[slot] != 0:
            row = np.int64(slots[slot] & _LOW_HALF) - 1
            if _same(prompts, row, ids, i * n):
                rows[i] = row
                break
            slot = (slot + _ONE) & mask
        if rows[i] == i:
            slots[slot] = (hash_ & ~_LOW_HALF) | np.uint64(i + 1)


@compiled
def _slot(hash_: Any, slot_shift: Any) -> Any:
    return ((hash_ ^ (hash_ >> _HALF)) * _MIX) >> slot_shift


@compiled
def _same(prompts: Any, row: int, tokens: Any, at: int) -> Any:
    """Whether a prompt is what stands in a text from ``at`` on. No slice: that would count its references."""
    for j in range(prompts.shape[1]):  # noqa: SIM110  (no generators in compiled code)
        if prompts[row, j] != tokens[at + j]:
            return False
    return True


@compiled
def tally_windows(
    tokens: Any, ends: Any, begin: int, end: int, document_starts: Any, first_document: int, first_token: int,
    prompts: Any, filter_: Any, filter_shift: Any, slots: Any, slot_shift: Any, tallies: Any, positions: Any,
) -> None:  # fmt: skip
    """Adds to ``tallies`` and ``positions`` the prompts that begin at the tokens ``begin`` to ``end`` and lie
    within a sequence.

    Token 0 is the store's token ``first_token``, and ``first_document`` the number of the document that it is in, or of
    the one before where one starts there; starts ascend. Texts must come in their order.
    """
    n = prompts.shape[1]
    power = _ONE
    for _ in range(n - 1):
        power *= _BASE
    at, hashes = np.empty(_BLOCK, np.int64), np.empty(_BLOCK + 1, np.uint64)
    document = 0
    sequence = np.searchsorted(ends, begin, side="right")
    start = begin
    while sequence < len(ends) and start < end:
        after = min(ends[sequence] - n + 1, end)
        while start < after:
            stop = min(start + _BLOCK, after)
            found = _candidates(tokens, start, stop, n, power, filter_, filter_shift, at, hashes)
            found = _matches(tokens, prompts, slots, slot_shift, found, at, hashes)
            _touch(tallies, found, hashes)
            for k in range(found):
                while document < len(document_starts) and document_starts[document] <= at[k]:
                    document += 1
                _tally(tallies, positions, np.int64(hashes[k]), first_token + at[k], first_document + document)
            start = stop
        start = ends[sequence]
        sequence += 1


@compiled
def _candidates(
    tokens: Any, start: int, stop: int, n: int, power: Any, filter_: Any, filter_shift: Any, at: Any, hashes: Any
) -> int:
    """Where the windows at the tokens ``start`` to ``stop`` may be of a prompt, and their hashes; returns how many."""
    hash_ = np.uint64(0)
    for i in range(start, start + n - 1):
        hash_ = hash_ * _BASE + np.uint64(tokens[i])
    found = 0
    for i in range(start, stop):
        hash_ = hash_ * _BASE + np.uint64(tokens[i + n - 1])
        spread = hash_ * _SPREAD
        bit = spread >> filter_shift
        # Written at every window and kept by counting on, without a jump that nobody could foresee.
        at[found], hashes[found] = i, spread
        found += (filter_[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7))) & 1
        hash_ -= np.uint64(tokens[i]) * power
    return found


@compiled
def _matches(tokens: Any, prompts: Any, slots: Any, slot_shift: Any, found: int, at: Any, hashes: Any) -> int:
    """Keeps of the candidates those that are prompts, with the row of each in place of its hash.

    Each loop reads from all over one table before the next one needs what stands there: so the machine waits for many
    lines of memory at once, and not for one after the other.
    """
    mask = np.uint64(len(slots) - 1)
    entries = np.empty(_BLOCK + 1, np.uint64)
    for k in range(found):
        entries[k] = slots[_slot(hashes[k], slot_shift)]
    likely, touched = 0, np.uint64(0)
    for k in range(found):
        hash_, entry = hashes[k], entries[k]
        slot = _slot(hash_, slot_shift)
        while entry != 0 and (entry ^ hash_) >> _HALF != 0:
            slot = (slot + _ONE) & mask
            entry = slots[slot]
        if entry != 0:
            at[likely], hashes[likely], entries[likely] = at[k], hash_, slot
            touched ^= np.uint64(prompts[np.int64(entry & _LOW_HALF) - 1, 0])
            likely += 1
    entries[likely] = touched  # the compiler drops what nobody asks for
    kept = 0
    for k in range(likely):
        row = _row(tokens, at[k], prompts, slots, entries[k], hashes[k])
        if row >= 0:
            at[kept], hashes[kept] = at[k], row
            kept += 1
    return kept


@compiled
def _row(tokens: Any, at: int, prompts: Any, slots: Any, slot: Any, hash_: Any) -> int:
    """The prompt that stands in the text from ``at`` on, -1 if none does; ``slot`` is the first that has its hash."""
    mask = np.uint64(len(slots) - 1)
    while slots[slot] != 0:
        if (slots[slot] ^ hash_) >> _HALF == 0:
            row = int(slots[slot] & _LOW_HALF) - 1
            if _same(prompts, row, tokens, at):
                return row
        slot = (slot + _ONE) & mask
    return -1


@compiled
def _touch(tallies: Any, found: int, rows: Any) -> None:
    """Reads the tallies of some rows, many at once, so that they are in the cache when they are changed one by one."""
    touched = np.uint64(0)
    for k in range(found):
        touched ^= np.uint64(tallies[np.int64(rows[k]), COUNT])
    rows[found] = touched  # the compiler drops what nobody asks for


@compiled
def _tally(tallies: Any, positions: Any, row: int, position: int, document: int) -> None:
    count = tallies[row, COUNT]
    if count < positions.shape[1]:
        positions[row, count] = position
    if count == 0:
        tallies[row, FIRST_DOCUMENT] = document
    tallies[row, DOCUMENTS] += tallies[row, LAST_DOCUMENT] != document
    tallies[row, LAST_DOCUMENT] = document
    tallies[row, COUNT] = count + 1
