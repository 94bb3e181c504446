"""Amounts of memory as people write them: ``8GB``, ``512 MiB``, ``2g``."""

import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from taskcatalog.errors import SettingsError
from taskcatalog.settings import Between, checked

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_DEFAULT = 8 * 10**9
_ROOM = 1 << 29
_ROOM_OF_CORE = 1 << 24
MOST_WORKERS = 1_024
"""Of one command: each is a thread or a process."""


def parse_size(text: str) -> int:
    """Bytes in ``text``; decimal units (GB) and binary ones (GiB), in any case."""
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]+)?)\s*([kmgt]i?|)b?\s*", str(text).lower())
    if match is None:
        raise SettingsError(f"{text!r} is not a size in bytes: write it as 500MB, 8GB or 2GiB")
    return int(float(match[1]) * _UNITS[match[2]])


def memory_budget(text: str | None) -> int:
    """Bytes to work within: ``text``, or 8 GB, or half of the machine's memory if that is less."""
    if text is not None:
        return parse_size(text)
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(_DEFAULT, physical // 2)


def resident_memory() -> int:
    """Bytes of memory that this process has now; where the system does not say, the most that it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_memory()


def peak_memory() -> int:
    """Bytes of memory, the most that this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def memory_limited(more: int) -> Iterator[None]:
    """Lets this process take about ``more`` bytes of memory than it has; what asks for yet more fails.

    For what keeps to no limit by itself. Where the system does not count a process's memory so, as on macOS, nothing is
    limited.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    pages = _pages_of_data()
    if pages is None:
        yield
        return
    # Threads have stacks, and an allocator has more than it gives out.
    room = more + _ROOM + _ROOM_OF_CORE * worker_count(None)
    limit = pages * os.sysconf("SC_PAGE_SIZE") + room
    lowest = min([limit, *(one for one in before if one != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_DATA, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _pages_of_data() -> int | None:
    """Pages of memory that the system counts against a process's limit of data, where it tells."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[5])
    except OSError:
        return None


def worker_count(workers: int | None) -> int:
    """``workers``, or one for each core that this process may use."""
    if workers is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    number: int = checked("workers", workers, Annotated[int, Between(1, MOST_WORKERS)])
    return number
