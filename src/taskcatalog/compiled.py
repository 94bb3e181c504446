"""Loops over numbers, compiled by Numba when they are first called."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import entrypoints


def compiled(function: Callable[..., Any]) -> Any:
    """The function as machine code, which releases the interpreter's lock.

    The code is kept for the next process: beside this package, or in the user's cache, or where ``NUMBA_CACHE_DIR``
    says. Where none of these can be written, each process compiles anew.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # Numba finds no place for it
        return njit(nogil=True)(function)


def is_kept(loop: Any) -> bool:
    """Whether machine code of a loop was kept by an earlier process; else its first call compiles for some seconds."""
    cache = getattr(loop, "_cache", None)
    file = getattr(cache, "_cache_file", None)
    return file is not None and Path(file._index_path).exists()


def without_extensions() -> None:
    """For a process of our own: keeps Numba from importing other packages' types before it compiles or loads a loop.

    The loops here take arrays only. Awkward, which gigatoken brings, costs a process 0.15 seconds.
    """
    entrypoints._already_initialized = True
