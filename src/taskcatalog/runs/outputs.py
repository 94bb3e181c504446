"""Files that a user names for a result: never over anything that the user did not mean to give up."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskcatalog.errors import ConflictError
from taskcatalog.runs.files import written_atomically
from taskcatalog.runs.stage import ledger_beside

OURS = ("catalog.json", "ledger.json")
"""One of these is in every folder that a stage writes."""


@contextmanager
def result_file(path: Path, *, force: bool) -> Iterator[Path]:
    """Gives a temporary path beside ``path``, as ``written_atomically``; what a killed command left there goes.

    Raises ConflictError as ``check_result_file``.
    """
    check_result_file(path, force=force)
    _remove_leftovers(path)
    with written_atomically(path) as temporary:
        try:
            yield temporary
        finally:
            for beside in _beside(temporary):  # DuckDB's own, there if it could not end
                beside.unlink(missing_ok=True)


def check_result_file(path: Path, *, force: bool) -> None:
    """Raises ConflictError where ``path`` is inside a catalog or store, is no file, or is there without ``force``."""
    check_outside(path)
    if (ledger := ledger_beside(path)).is_dir():
        raise ConflictError(
            f"{path}: is a flat store that taskcatalog made ({ledger.name} is beside it): choose another"
        )
    if path.is_dir():
        raise ConflictError(f"{path}: is a folder: name a file in it")
    if path.exists() and not path.is_file():
        raise ConflictError(f"{path}: is no ordinary file: choose another one")
    if path.exists() and not force:
        raise ConflictError(f"{path}: is there already: choose another file, or give --force")


def check_outside(path: Path) -> None:
    """Raises ConflictError where ``path`` is inside a catalog or store."""
    # As it is given, and where links lead.
    for folder in {*path.absolute().parents, *path.resolve().parents}:
        if ours := next((name for name in OURS if (folder / name).is_file()), None):
            raise ConflictError(f"{path}: is inside {folder}, which taskcatalog made ({ours}): choose another place")


def _remove_leftovers(path: Path) -> None:
    """Removes what commands that are gone left half written under temporary names of ``path``."""
    pattern = re.compile(re.escape(path.name) + r"\.([0-9]+)\.partial(\..*)?")
    if not path.parent.is_dir():
        return
    for beside in path.parent.iterdir():
        match = pattern.fullmatch(beside.name)
        if match and not _is_running(int(match[1])) and beside.is_file():
            beside.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _beside(temporary: Path) -> list[Path]:
    return [path for path in temporary.parent.iterdir() if path.name.startswith(f"{temporary.name}.")]
