"""Loops over numbers, compiled by Numba when they are first called."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """The function as machine code, which releases the interpreter's lock.

    The code is kept for the next process: beside this package, or in the user's cache, or where ``NUMBA_CACHE_DIR``
    says. Where none of these can be written, each process compiles anew.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # Numba finds no place for it
        return njit(nogil=True)(function)
