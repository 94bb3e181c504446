"""The ``.idx`` of a Megatron dataset: where each item lies in the ``.bin``, and which items form a document.

Two formats are read, both little-endian:

- of memory-mapped datasets: ``MMIDIDX`` and two NULs, uint64 version 1, uint8 code of the ids' type, uint64
  number of items, uint64 number of entries of the document index; then int32 lengths of the items, int64
  pointers to their first bytes, int64 document index; and, in multimodal sets, an int8 mode of each item.
- of older "lazy" and "cached" datasets: ``TNTIDX`` and two NULs, uint64 version 1, uint64 code, uint64 bytes
  of an id, uint64 number of items, uint64 number of sizes, uint64 number of entries of the document index;
  then, all int64, where each item's sizes begin, where each item begins in ids (both with one end more),
  the sizes, the document index.

The document index holds the first item of each document and one end more. Where it holds nothing but a 0,
as that of Pythia's training order does, no document is known. Left out: the modes, items of more than one
dimension, items that do not lie one after the other, which no builder writes, and fairseq's own older index, which
knows no documents and whose ids are shifted by one.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, read_bytes, size_of
from taskcatalog.stores.id_file import NumberFile
from taskcatalog.stores.store import ranges

_MAPPED, _LAZY = b"MMIDIDX\0\0", b"TNTIDX\0\0"
_MAPPED_HEAD, _LAZY_HEAD = struct.Struct("<QBQQ"), struct.Struct("<QQQQQQ")
_DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
_FLOAT_CODES = (6, 7)
_ITEMS_AT_ONCE = 1 << 21

Items = Callable[[int, int], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Lengths and pointers, in ids, of the items from one to another."""


@dataclass(frozen=True)
class MegatronIndex:
    """An index whose counts fit its size. ``check_items`` looks at the rest."""

    path: AnyPath
    dtype: np.dtype[Any]
    """Of the ids in the ``.bin``."""
    n_items: int
    items: Items
    documents: NumberFile
    """First item of each document, and one end more."""

    def batches(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """The number of the first item, lengths and pointers, for one batch of items after the other."""
        for start, stop in ranges(self.n_items, _ITEMS_AT_ONCE):
            yield start, *self.items(start, stop)

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        """Where each item begins in the stream of all items, and where the last one ends: 8 bytes an item."""
        bounds = np.zeros(self.n_items + 1, np.int64)
        for first, lengths, _ in self.batches():
            bounds[first + 1 : first + 1 + len(lengths)] = bounds[first] + np.cumsum(lengths)
        return bounds

    def document_starts(self) -> NDArray[np.int64] | None:
        """Where each document begins in the stream of all items; None where the index knows no documents.

        Raises InputError where the document index does not ascend from the first item to the last.
        """
        items = self.documents.read(0, len(self.documents))
        if not len(items) or (len(items) == 1 and items[0] == 0):
            return None
        descends = np.flatnonzero(np.diff(items) < 0)
        if items[0] != 0 or items[-1] != self.n_items or len(descends):
            at = int(descends[0]) + 1 if len(descends) else 0 if items[0] else len(items) - 1
            raise InputError(
                f"{self.path}: entry {at} of its document index is {items[at]}: the entries do not ascend from "
                f"0 to its {self.n_items} items: the index is damaged, make it anew"
            )
        starts: NDArray[np.int64] = self.bounds[items[:-1]]
        return starts


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What an index says of all its items together."""

    n_tokens: int
    item_length: int | None
    """Of every item, where all have one."""


def read_index(path: AnyPath) -> MegatronIndex:
    """Raises InputError where the file is no index of either format, cut off, or of ids that are no integers."""
    size = size_of(path)
    head = read_bytes(path, 0, min(size, len(_LAZY) + _LAZY_HEAD.size))
    if head.startswith(_MAPPED):
        return _mapped_index(path, size, _unpack(_MAPPED_HEAD, head, len(_MAPPED), path))
    if head.startswith(_LAZY):
        return _lazy_index(path, size, _unpack(_LAZY_HEAD, head, len(_LAZY), path))
    raise InputError(
        f"{path}: is no Megatron index: it begins with neither 'MMIDIDX' nor 'TNTIDX' "
        "(--id-dtype opens the .bin beside it alone, as a flat file)"
    )


def is_index(path: AnyPath) -> bool:
    """Whether a file begins as an index does."""
    return read_bytes(path, 0, min(size_of(path), len(_MAPPED))).startswith((_MAPPED, _LAZY))


def check_items(index: MegatronIndex, n_ids: int) -> Survey:
    """Looks at all items. Raises InputError where one is not within the ``n_ids`` ids of the ``.bin``, or does not
    begin where the one before it ends."""
    n_tokens, shortest, longest = 0, None, None
    for first, lengths, pointers in index.batches():
        _check_within(index.path, first, lengths, pointers, n_ids)
        _check_order(index.path, first, n_tokens + np.cumsum(lengths) - lengths, pointers)
        n_tokens += int(lengths.sum())
        low, high = int(lengths.min()), int(lengths.max())
        shortest = low if shortest is None else min(shortest, low)
        longest = high if longest is None else max(longest, high)
    return Survey(n_tokens=n_tokens, item_length=longest if longest == shortest else None)


def _check_within(
    path: AnyPath, first: int, lengths: NDArray[np.int64], pointers: NDArray[np.int64], n_ids: int
) -> None:
    bad = (lengths < 0) | (pointers < 0) | (pointers > n_ids - lengths)
    if np.any(bad):
        at = int(np.argmax(bad))
        raise InputError(
            f"{path}: item {first + at} has {lengths[at]} ids from id {pointers[at]} on, and the .bin holds {n_ids}: "
            "the .bin is cut off or the index is damaged"
        )


def _check_order(path: AnyPath, first: int, begins: NDArray[np.int64], pointers: NDArray[np.int64]) -> None:
    if not np.array_equal(begins, pointers):
        at = int(np.argmax(begins != pointers))
        raise InputError(
            f"{path}: item {first + at} begins at id {pointers[at]} of the .bin, not at {begins[at]}, where the items "
            "before it end: only items that lie one after the other are read: write both files anew in that order"
        )


def _mapped_index(path: AnyPath, size: int, head: tuple[int, ...]) -> MegatronIndex:
    version, code, n_items, n_documents = head
    dtype = _dtype_of(path, version, code)
    start = len(_MAPPED) + _MAPPED_HEAD.size
    pointers_start = start + 4 * n_items
    documents_start = pointers_start + 8 * n_items
    end = documents_start + 8 * n_documents
    if size not in (end, end + n_items):
        raise _size_error(path, size, end, n_items, n_documents)
    lengths = NumberFile(path, "<i4", start, n_items)
    byte_pointers = NumberFile(path, "<i8", pointers_start, n_items)

    def items(first: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pointers, offsets = np.divmod(byte_pointers.read(first, stop), dtype.itemsize)
        if np.any(offsets):
            at = int(np.argmax(offsets != 0))
            raise InputError(
                f"{path}: item {first + at} begins within an id, at byte {byte_pointers.read(first + at, stop)[0]}: "
                "the index is damaged"
            )
        return lengths.read(first, stop).astype(np.int64), pointers

    return MegatronIndex(path, dtype, n_items, items, NumberFile(path, "<i8", documents_start, n_documents))


def _lazy_index(path: AnyPath, size: int, head: tuple[int, ...]) -> MegatronIndex:
    version, code, id_bytes, n_items, n_sizes, n_documents = head
    dtype = _dtype_of(path, version, code)
    start = len(_LAZY) + _LAZY_HEAD.size
    pointers_start = start + 8 * (n_items + 1)
    documents_start = pointers_start + 8 * (n_items + 1 + n_sizes)
    end = documents_start + 8 * n_documents
    if size != end:
        raise _size_error(path, size, end, n_items, n_documents)
    if id_bytes != dtype.itemsize:
        raise InputError(f"{path}: says that a {dtype.name} has {id_bytes} bytes: the index is damaged")
    dimensions = NumberFile(path, "<i8", start, n_items + 1)
    bounds = NumberFile(path, "<i8", pointers_start, n_items + 1)

    def items(first: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if not np.array_equal(dimensions.read(first, stop + 1), np.arange(first, stop + 1)):
            raise InputError(f"{path}: an item from {first} to {stop} is no row of ids: it has not one dimension")
        found = bounds.read(first, stop + 1)
        return np.diff(found), found[:-1]

    return MegatronIndex(path, dtype, n_items, items, NumberFile(path, "<i8", documents_start, n_documents))


def _unpack(layout: struct.Struct, head: bytes, start: int, path: AnyPath) -> tuple[int, ...]:
    if len(head) < start + layout.size:
        raise InputError(f"{path}: has {len(head)} bytes, fewer than its header: the index is cut off")
    return layout.unpack_from(head, start)


def _dtype_of(path: AnyPath, version: int, code: int) -> np.dtype[Any]:
    if version != 1:
        raise InputError(f"{path}: is of version {version}; only version 1 is known: the index is damaged, or new")
    if code in _FLOAT_CODES:
        raise InputError(f"{path}: its .bin holds fractions (type code {code}), not ids")
    if code not in _DTYPES:
        raise InputError(f"{path}: type code {code} is none of {', '.join(map(str, _DTYPES))}: the index is damaged")
    return np.dtype(_DTYPES[code])


def _size_error(path: AnyPath, size: int, end: int, n_items: int, n_documents: int) -> InputError:
    return InputError(
        f"{path}: has {size} bytes, but its header's {n_items} items and {n_documents} entries of documents "
        f"take {end}: the index is cut off or damaged"
    )
