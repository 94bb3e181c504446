"""Keeps the C library from giving memory back to the system, only to ask for it again.

Each block of prompts takes hundreds of megabytes for a moment. glibc returns them, and the system hands out pages anew
for the next block, zeroed: a tenth of a small model's time.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""``M_TRIM_THRESHOLD`` and ``M_MMAP_THRESHOLD`` of glibc's ``malloc.h``: see mallopt(3)."""
_KEPT = (1 << 31) - 1
_USUAL = {_TRIM_THRESHOLD: 64 << 20, _MMAP_THRESHOLD: 32 << 20}
"""What glibc comes to by itself where much memory is asked for."""


@contextmanager
def kept_memory() -> Iterator[None]:
    """Freed memory stays with this process meanwhile, and goes back at the end. Does nothing without glibc."""
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    for name in _USUAL:
        library.mallopt(name, _KEPT)
    try:
        yield
    finally:
        for name, usual in _USUAL.items():
            library.mallopt(name, usual)
        library.malloc_trim(0)
