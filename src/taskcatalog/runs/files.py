"""Files that are either whole or not there, and stay so when the power fails.

A file is written under a temporary name, flushed, renamed; then its folder's entry of it is flushed, too. So are the
entries of folders that were made for it.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import xxhash

from taskcatalog.errors import ConflictError, DiskFullError, InputError
from taskcatalog.storage import AnyPath, open_to_read, read_bytes

_TEMPORARY = ".partial"
_BLOCK = 1 << 20
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What a file system says that cannot lock."""


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path``; what was written there takes its name if the block succeeds.

    Raises DiskFullError where there is no room for it.
    """
    with naming(path):
        make_folder(path.parent)
        # The name is this process's own: a worker that outlives its killed command cannot write into a new one's file.
        temporary = path.with_name(f"{path.name}.{os.getpid()}{_TEMPORARY}")
        try:
            yield temporary
            flush(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        flush(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system that come within say which file they are about. A full disk is a DiskFullError."""
    try:
        yield
    except Exception as error:
        if _is_full(error) and not isinstance(error, DiskFullError):
            raise DiskFullError(
                f"{path}: there is no more room on its disk: make some, and the same command goes on from here"
            ) from error
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def _is_full(error: BaseException) -> bool:
    """Whether a disk or a quota is full; Arrow and DuckDB say so in the text of their errors only."""
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def make_folder(folder: Path) -> list[Path]:
    """Makes a folder, and those above it that are missing; returns what was made, from the nearest up."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        flush(path.parent)
    return missing


def remove_files(paths: Iterable[Path]) -> None:
    """Removes files that are there, for good."""
    folders = set()
    for path in paths:
        if path.is_symlink() or path.is_file():
            path.unlink()
            folders.add(path.parent)
    for folder in folders:
        flush(folder)


def remove_folder(folder: Path) -> None:
    """Removes a folder with all that is in it; an error names the file that it is about."""
    for name, folders, files in os.walk(folder, topdown=False):
        here = Path(name)
        for path in map(here.joinpath, files):
            path.unlink()
        for path in map(here.joinpath, folders):
            if path.is_symlink():
                path.unlink()
            else:
                path.rmdir()
    folder.rmdir()


def remove_empty_folder(folder: Path) -> None:
    """Removes a folder, unless it is not there or somebody has a file in it."""
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def move_files(moves: Iterable[tuple[Path, Path]]) -> None:
    """Moves files, or whole folders, from the first path of each pair to the second; folders are made for them."""
    left, entered = set(), set()
    for source, target in moves:
        make_folder(target.parent)
        with naming(source):
            _move(source, target)
        left.add(source.parent)
        entered.add(target.parent)
    # The new names last before the old ones go: where power is lost between, a file has both, and never none.
    for folder in (*sorted(entered), *sorted(left - entered)):
        flush(folder)


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.move(source, target)  # to another file system, where somebody has put a link


@contextmanager
def folder_locked(folder: Path, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Holds a folder against other processes that do the same, until the block ends or the process is killed.

    ``shared`` holds it together with others that share it. Raises BlockingIOError where another one holds it, unless
    it may ``wait``, and ConflictError where the file system has no locks; those who share go on without, there.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in _NO_LOCKS or not shared:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                raise ConflictError(
                    f"{folder}: its file system has no locks (flock), so that two commands could write at once: "
                    "choose an output on another one"
                ) from error
            raise
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def folder_held(folder: Path) -> Iterator[None]:
    """Holds a folder, together with other readers, against a command that would write there.

    Raises ConflictError where one is doing so.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_locked(folder, shared=True))
        except BlockingIOError as error:
            raise ConflictError(f"{folder}: another command is writing there: wait for its end") from error
        yield


def final_name(path: Path) -> str | None:
    """The name that a temporary file would have taken; None where ``path`` is none that was left half written."""
    name, _, process = path.name.removesuffix(_TEMPORARY).rpartition(".")
    return name if path.name.endswith(_TEMPORARY) and process.isdecimal() and name else None


def is_temporary(path: Path) -> bool:
    """Whether ``path`` is what a killed run left half written."""
    return final_name(path) is not None


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


def write_signed(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON that carries its own digest."""
    write_json(path, content | {"sha256": digest_of(content)})


def read_signed(path: AnyPath, format_: int, kind: str) -> dict[str, Any]:
    """What ``write_signed`` wrote, of a format and a kind that the message names. Raises InputError for anything
    else."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != format_:
        raise InputError(f"{path}: is no {kind} of format {format_}: made by another version?")
    if content.pop("sha256", None) != digest_of(content):
        raise InputError(f"{path}: is not as it was written: restore it, or make {path.parent} anew")
    return content


def digest_of(content: Any) -> str:
    """The SHA-256 of what JSON can say."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def sha256_of_file(path: AnyPath) -> str:
    return digests_of_file(path, ("sha256",))["sha256"]


def digests_of_file(path: AnyPath, kinds: Iterable[str]) -> dict[str, str]:
    """Digests of some kinds: ``sha256``, which names a content, and ``xxh3``, which finds accidents and costs no more
    than reading the file."""
    digests = {kind: hashlib.sha256() if kind == "sha256" else xxhash.xxh3_64() for kind in kinds}
    with open_to_read(path) as file:
        while block := file.read(_BLOCK):
            for digest in digests.values():
                digest.update(block)
    return {kind: digest.hexdigest() for kind, digest in digests.items()}


def flush(path: Path) -> None:
    """Makes sure that a file's content, or a folder's entries, are on the disk."""
    with naming(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
