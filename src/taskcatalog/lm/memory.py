"""The memory that running a model takes: kept from one block of prompts to the next, and found to be too little."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

T = TypeVar("T")

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""``M_TRIM_THRESHOLD`` and so on of glibc's ``malloc.h``: see mallopt(3)."""
_KEPT = {_TRIM_THRESHOLD: (1 << 31) - 1, _MMAP_MAX: 0}
_USUAL = {_TRIM_THRESHOLD: 64 << 20, _MMAP_THRESHOLD: 32 << 20, _MMAP_MAX: 1 << 16}
"""What glibc comes to by itself where much memory is asked for."""


@contextmanager
def kept_memory() -> Iterator[None]:
    """Freed memory stays with this process meanwhile, and goes back at the end. Does nothing without glibc.

    Each block of prompts takes hundreds of megabytes for a moment. glibc returns them, and the system hands out pages
    anew for the next block, zeroed: a tenth of a small model's time.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    for name, kept in _KEPT.items():
        library.mallopt(name, kept)
    try:
        yield
    finally:
        for name, usual in _USUAL.items():
            library.mallopt(name, usual)
        library.malloc_trim(0)


@dataclass
class RowsAtOnce:
    """How many rows are worked on at once: half as many from where memory ends."""

    n: int

    def batches(self, work: Callable[[slice], T], n_rows: int) -> Iterator[tuple[slice, T]]:
        """All rows in order, batch by batch, with what ``work`` makes of each."""
        start = 0
        while start < n_rows:
            rows = slice(start, min(start + self.n, n_rows))
            try:
                result = work(rows)
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.n == 1:
                    raise
                self.n //= 2
                continue
            yield rows, result
            start = rows.stop


def is_out_of_memory(error: Exception) -> bool:
    """Whether it is what torch raises when a device, or the system, has no more memory to give."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
