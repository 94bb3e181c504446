"""Files that are either whole or not there: written under a temporary name, flushed, renamed."""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskcatalog.errors import DiskFullError, InputError
from taskcatalog.storage import AnyPath, open_to_read, read_bytes

_TEMPORARY = ".partial"


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path``; what was written there takes its name if the block succeeds.

    Raises DiskFullError where there is no room for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is this process's own: a worker that outlives its killed command cannot write into a new one's file.
    temporary = path.with_name(f"{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if _is_full(error):
            raise DiskFullError(
                f"{path}: there is no more room on its disk: make some, and the same command goes on from here"
            ) from error
        raise
    _flush(path.parent)


def _is_full(error: BaseException) -> bool:
    """Whether a disk or a quota is full; Arrow and DuckDB say so in the text of their errors only."""
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


@contextmanager
def folder_locked(folder: Path, wait: bool) -> Iterator[None]:
    """Holds a folder against other processes that do the same, until the block ends or the process is killed.

    Raises BlockingIOError where another one holds it, unless it may ``wait``.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def is_temporary(path: Path) -> bool:
    """Whether ``path`` is what a killed run left half written."""
    return path.name.endswith(_TEMPORARY)


def write_json(path: Path, content: Any) -> None:
    with written_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def read_json(path: AnyPath) -> Any:
    """Raises InputError where the file is missing or no JSON."""
    return parse_json(read_bytes(path), path)


def parse_json(content: bytes, path: AnyPath) -> Any:
    """What a file's content says. Raises InputError where that is no JSON."""
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}): the file is damaged") from error


def sha256_of_file(path: AnyPath) -> str:
    with open_to_read(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
