"""Files of numbers, little-endian and of one type, of which any range can be read.

A local file is mapped into memory and read without a copy. A remote one is read in aligned blocks, of which
the last few are kept, so that a reader who goes on where it stopped fetches nothing twice.

Ids go on as uint16 or uint32, whatever type they are stored in: what is wide enough already is handed on as
it lies in the file. Not read here: numbers that are big-endian, packed in odd bits or compressed.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, open_to_read, read_bytes, size_of

_BLOCK_BYTES = 8 << 20
_BLOCKS_KEPT = 4
_LARGEST_ID = 2**32 - 1
_ASKED_AT_ONCE = 16

T = TypeVar("T")
R = TypeVar("R")


class BlockCache:
    """The last few blocks that were read of remote files. Threads may share it."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = Lock()

    def read(self, path: AnyPath, size: int, start: int, stop: int) -> bytearray:
        """The bytes from ``start`` to ``stop`` of a file of ``size`` bytes."""
        content = bytearray()
        for number in range(start // _BLOCK_BYTES, -(-stop // _BLOCK_BYTES)):
            begin = number * _BLOCK_BYTES
            content += self._block(path, size, number)[max(start - begin, 0) : stop - begin]
        return content

    def _block(self, path: AnyPath, size: int, number: int) -> bytes:
        key = (str(path), number)
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        # Outside the lock: threads that wait for different blocks wait side by side.
        begin = number * _BLOCK_BYTES
        block = read_bytes(path, begin, min(begin + _BLOCK_BYTES, size))
        with self._lock:
            self._blocks[key] = block
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        return block


class NumberFile:
    """Numbers of one type in a file, or in a range of it."""

    def __init__(
        self,
        path: AnyPath,
        dtype: DTypeLike,
        first_byte: int = 0,
        count: int | None = None,
        cache: BlockCache | None = None,
    ) -> None:
        """``count`` numbers from ``first_byte`` on, all that the file holds if not given.

        Raises InputError where the file is missing, shorter, or holds no whole number of numbers.
        """
        self.path = path
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self._size, self._first_byte = size_of(path), first_byte
        n_bytes = self._size - first_byte if count is None else count * self.dtype.itemsize
        if n_bytes % self.dtype.itemsize:
            raise InputError(
                f"{path}: has {self._size} bytes, which is no whole number of {self.dtype.name} ids: "
                "the file is cut off, or --id-dtype is wrong"
            )
        if first_byte + n_bytes > self._size:
            raise InputError(f"{path}: has {self._size} bytes, not {first_byte + n_bytes}: the file is cut off")
        self._count = n_bytes // self.dtype.itemsize
        self._cache = cache or BlockCache()

    def __len__(self) -> int:
        return self._count

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """The numbers from ``start`` to ``stop``, which lie within the file; read-only where it is local."""
        if isinstance(self.path, Path):
            return self._map(start, stop)
        begin, end = (self._first_byte + i * self.dtype.itemsize for i in (start, stop))
        return np.frombuffer(self._cache.read(self.path, self._size, begin, end), self.dtype)

    def _map(self, start: int, stop: int) -> NDArray[Any]:
        """Mapped anew each time, so that what is not used any more is no memory of this process."""
        if start == stop:  # nothing cannot be mapped
            return np.zeros(0, self.dtype)
        with open_to_read(self.path) as file:
            try:
                first_byte = self._first_byte + start * self.dtype.itemsize
                return np.memmap(file, self.dtype, "r", first_byte, stop - start).view(np.ndarray)
            except ValueError as error:
                raise InputError(f"{self.path}: became shorter while it was read: begin anew") from error


class IdFiles:
    """Files of ids of one type, one after the other as if they were one."""

    def __init__(self, paths: Sequence[AnyPath], dtype: DTypeLike) -> None:
        """Raises InputError where a file is missing or holds no whole number of ids."""
        cache = BlockCache()
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self._files = side_by_side(lambda path: NumberFile(path, self.dtype, cache=cache), paths)
        self.ends: NDArray[np.int64] = np.cumsum([len(file) for file in self._files], dtype=np.int64)
        """Where each file ends among the ids of all."""

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Ids ``start`` to ``stop``, the last excluded, as uint16 or uint32.

        No copy is made where they lie in one local file and are stored in 16 or 32 bits. Raises InputError
        where an id is negative or beyond 32 bits.
        """
        pieces = []
        for i in range(int(np.searchsorted(self.ends, start, side="right")), len(self._files)):
            begin = int(self.ends[i]) - len(self._files[i])
            if begin >= stop:
                break
            pieces.append(self._files[i].read(max(start - begin, 0), min(stop - begin, len(self._files[i]))))
        if len(pieces) == 1:
            return self._as_ids(pieces[0], start)
        return self._as_ids(np.concatenate([np.zeros(0, self.dtype), *pieces]), start)

    def _as_ids(self, numbers: NDArray[Any], start: int) -> NDArray[Any]:
        """``start`` is where in the files the numbers begin."""
        bad = _first_bad(numbers)
        if bad is not None:
            at = start + bad
            i = int(np.searchsorted(self.ends, at, side="right"))
            raise InputError(
                f"{self._files[i].path}: id number {at - int(self.ends[i]) + len(self._files[i])} is "
                f"{numbers[bad]}, which is negative or beyond 32 bits: the file is damaged, or --id-dtype is wrong"
            )
        ids = np.dtype("<u2" if self.dtype.itemsize <= 2 else "<u4")
        return numbers.view(ids) if self.dtype.itemsize == ids.itemsize else numbers.astype(ids)


def side_by_side(do: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``do`` of each item, of many at once: for questions to servers, which answer one by one only slowly."""
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        return list(pool.map(do, items))


def _first_bad(numbers: NDArray[Any]) -> int | None:
    """The index of the first number that is no id: it is negative, or no 32 bits hold it."""
    signed, wide = numbers.dtype.kind == "i", numbers.dtype.itemsize == 8
    if (signed and numbers.min(initial=0) < 0) or (wide and numbers.max(initial=0) > _LARGEST_ID):
        return int(np.argmax((numbers < 0) | (numbers > _LARGEST_ID)))
    return None
