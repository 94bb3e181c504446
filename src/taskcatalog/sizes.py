"""Amounts of memory as people write them: ``8GB``, ``512 MiB``, ``2g``; how much there is, and how much is used."""

import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Annotated, TypeAlias

from taskcatalog.errors import SettingsError
from taskcatalog.settings import Between, checked, shown

Size: TypeAlias = str | int
"""Bytes: as a number, or as people write them."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_LARGEST = 10**18
_LIKELY = 10**12
"""Bytes, the most that somebody means who leaves out the unit."""
_DEFAULT = 8 * 10**9
_ROOM = 1 << 29
_ROOM_OF_CORE = 1 << 24
MOST_WORKERS = 1_024
"""Of one command: each is a thread or a process."""
_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def parse_size(text: Size, setting: str | None = None) -> int:
    """Bytes in ``text``, from 1 to 10^18; decimal units (GB) and binary ones (GiB), in any case. A number is bytes.

    Raises SettingsError, about the ``setting`` of this name, for what is none.
    """
    if isinstance(text, Integral) and not isinstance(text, bool):
        return _within(int(text), text, setting)
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]+)?)\s*([kmgt]i?|)(b?)\s*", str(text).lower())
    if match is None:
        raise SettingsError(f"{shown(text)} is not a size in bytes: write it as 500MB, 8GB or 2GiB", setting=setting)
    number, unit, b = match.groups()
    if not unit and not b:
        likely = [f"{number}{one}B" for one in ("G", "M", "") if float(number) * _UNITS[one.lower()] <= _LIKELY]
        advice = f"write {' or '.join(likely[:2])}" if likely else "write it as 500MB, 8GB or 2GiB"
        raise SettingsError(f"{text!r} is not a size in bytes: it has no unit: {advice}", setting=setting)
    return _within(int(float(number) * _UNITS[unit]), text, setting)


def _within(size: int, text: Size, setting: str | None) -> int:
    if not 1 <= size <= _LARGEST:
        message = f"{shown(text)} is not a size from 1 byte to 10^18: write it as 500MB, 8GB or 2GiB"
        raise SettingsError(message, setting=setting)
    return size


def memory_budget(text: Size | None) -> int:
    """Bytes to work within: ``text``, or 8 GB, or half of the machine's memory if that is less."""
    if text is not None:
        return parse_size(text, "memory")
    return min(_DEFAULT, machine_memory() // 2)


def sufficient_budget(text: Size | None, least: int, what: str) -> int:
    """``memory_budget``, whose default is ``least`` if that is more and there is so much. Raises SettingsError where it
    is less than ``what`` needs."""
    budget = memory_budget(text)
    if text is None:
        budget = max(budget, min(least, machine_memory()))
    check_memory(budget, least, what)
    return budget


def check_memory(memory: int, least: int, what: str) -> None:
    """Raises SettingsError where ``memory`` is less than ``what`` needs."""
    if memory < least:
        megabytes = -(-least // 10**6)
        message = f"memory is {_in_words(memory)}: {what} needs --memory {megabytes}MB or more"
        raise SettingsError(message, setting="memory")


def _in_words(size: int) -> str:
    for unit, factor in (("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"


def machine_memory() -> int:
    """Bytes of memory that there are for this process: the machine's, or what its container gives."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([physical, *container_limits(_OWN_CGROUP, _CGROUPS)])


def container_limits(own: Path, root: Path) -> list[int]:
    """The limits of memory of this process's control groups and all above them, of version 2 or 1 of these; ``own`` is
    ``/proc/self/cgroup``, lines of ``number:controllers:path``."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folder, name = (root, "memory.max") if not controllers else (root / "memory", "memory.limit_in_bytes")
        # In a container the path may be that of the host, and the group itself stands at the root.
        steps = Path(path).parts[1:]
        files += [folder.joinpath(*steps[:n], name) for n in range(len(steps) + 1)]
    limits = []
    for file in files:
        try:
            limits.append(int(file.read_text()))
        except (OSError, ValueError):  # none such, or "max"
            continue
    return limits


def resident_memory() -> int:
    """Bytes of memory that this process has now; where the system does not say, the most that it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_memory()


def peak_memory() -> int:
    """Bytes of memory, the most that this process ever had."""
    try:  # the kernel's other figure begins with what the process had that started this one
        found = re.search(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found is not None:
        return int(found[1]) * 1024
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
