"""Files wherever they lie: on this machine, or behind ``s3://``, ``hf://``, ``https://`` or whatever fsspec reaches.

A remote file is read in ranges, each tried several times, so a connection that is cut costs a delay and
never a wrong byte. It is written whole, from a local file, and counts as written once its size is right.
"""

import io
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from taskcatalog.errors import InputError, TaskcatalogError

if TYPE_CHECKING:  # it takes a while to import, and most files are here
    from upath import UPath

    AnyPath: TypeAlias = Path | UPath
else:
    AnyPath: TypeAlias = Path
"""A local path, or one behind a URL; both join with ``/`` and have names, suffixes and parents."""

R = TypeVar("R")
_RANGE_BYTES = 8 << 20
_DELAYS = (0.2, 1, 3, 8)
"""Seconds before each further try."""
_CHANGE_KEYS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "updated")
"""Under which file systems say when a file was changed, or which content it has."""
_FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, ImportError, NotImplementedError)
"""What another try would not mend."""
_DENIED = ("NoCredentialsError", "PartialCredentialsError", "RepositoryNotFoundError", "GatedRepoError")
_FINAL_NAMES = (*_DENIED, "ParamValidationError")


def locate(name: str | PathLike[str] | AnyPath) -> AnyPath:
    """The path that a name or URL means. Raises InputError for what can be none, and a protocol that nothing here
    speaks."""
    if isinstance(name, Path) or _is_remote_path(name):
        return cast(AnyPath, name)
    if isinstance(name, PathLike):
        name = name.__fspath__()
    if not isinstance(name, str):
        raise InputError(
            f"{name!a:.60} is no name of a file or folder: give a text or a path, not {type(name).__name__}"
        )
    if not name:  # as of a shell's variable that is not set
        raise InputError("'' is no name of a file or folder: write . for this folder")
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InputError(f"{name!a}: is no name of a file: it holds half of a character") from error
    if "\0" in name:
        raise InputError(f"{name!a}: is no name of a file: it holds a NUL character")
    if "://" not in name:
        # Arrow takes a relative name with a colon for a URL.
        return Path(name).absolute() if ":" in name else Path(name)
    if not name.partition("://")[2].strip("/"):
        raise InputError(f"{name}: names no bucket or server: write it as {name.partition('://')[0]}://bucket/name")
    try:
        from upath import UPath

        return cast(AnyPath, UPath(name))
    except (ImportError, ValueError) as error:
        raise InputError(f"{name}: {_advice(name, error)}") from error


def locate_here(name: str | PathLike[str]) -> Path:
    """The path on this machine that a name means. Raises InputError for what can be none, and for a URL."""
    path = locate(name)
    if not isinstance(path, Path):
        raise InputError(f"{name}: is a URL: give a folder or a file on this machine")
    return path


def name_of(given: object, what: str) -> str:
    """A name that may be a path as well, as of a model. Raises InputError for what is neither."""
    if not isinstance(given, str | PathLike) and not _is_remote_path(given):
        raise InputError(f"{what} is {given!a:.60}: give a name or a path, not {type(given).__name__}")
    return str(given)


def names_of(given: object, what: str) -> list[str]:
    """The names in one, or in several."""
    several = isinstance(given, Iterable) and not (isinstance(given, str | bytes | PathLike) or _is_remote_path(given))
    return [name_of(one, what) for one in (given if several else [given])]  # type: ignore[attr-defined]


def _is_remote_path(given: object) -> bool:
    upath = sys.modules.get("upath")  # whoever made one has imported it
    return upath is not None and isinstance(given, upath.UPath)


def is_remote(path: AnyPath) -> bool:
    return not isinstance(path, Path)


def exists(path: AnyPath) -> bool:
    return _here(path, path.exists) if isinstance(path, Path) else _tried(path, lambda: bool(path.fs.exists(path.path)))


def is_file(path: AnyPath) -> bool:
    return (
        _here(path, path.is_file) if isinstance(path, Path) else _tried(path, lambda: bool(path.fs.isfile(path.path)))
    )


def is_folder(path: AnyPath) -> bool:
    return _here(path, path.is_dir) if isinstance(path, Path) else _tried(path, lambda: bool(path.fs.isdir(path.path)))


def _here(path: Path, look: Callable[[], bool]) -> bool:
    try:
        return look()
    except OSError as error:  # of a folder above it, mostly: what is just not there is no error
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def list_folder(path: AnyPath) -> list[AnyPath]:
    """All that lies directly in a folder, sorted by name. Raises InputError where it cannot be listed."""
    if isinstance(path, Path):
        try:
            return sorted(path.iterdir(), key=lambda found: found.name)
        except OSError as error:
            raise InputError(f"{path}: cannot be listed: {error.strerror}") from error
    return _tried(path, lambda: sorted(path.iterdir(), key=lambda found: found.name))


def all_below(folder: "UPath") -> "list[UPath]":
    """All that lies below a remote folder. Raises InputError where it cannot be listed."""
    return _tried(folder, lambda: list(folder.rglob("*")))


def matching(pattern: "UPath") -> list[str]:
    """What a remote pattern matches, sorted, as its file system names it. Raises InputError where that cannot be
    listed."""
    return _tried(pattern, lambda: sorted(pattern.fs.glob(pattern.path)))


def size_of(path: AnyPath) -> int:
    """Bytes of a file. Raises InputError where it is missing or its server does not say."""
    if isinstance(path, Path):
        try:
            return path.stat().st_size
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    size = _tried(path, lambda: path.fs.info(path.path)["size"])
    if size is None:
        raise InputError(f"{path}: the server does not say its size: download the file first")
    return int(size)


def stamp_of(path: AnyPath) -> str:
    """The size of a file and when it was changed last, or what its server says in place of that."""
    if isinstance(path, Path):
        try:
            found = path.stat()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        return f"{found.st_size} {found.st_mtime_ns}"
    path.fs.invalidate_cache()
    about = _tried(path, lambda: path.fs.info(path.path))
    return f"{about['size']} {next((about[key] for key in _CHANGE_KEYS if key in about), '')}"


def lies_in(path: AnyPath, folder: AnyPath) -> bool:
    """Whether a path is a folder, or lies in it; links are followed."""
    if isinstance(path, Path) and isinstance(folder, Path):
        return path.resolve().is_relative_to(folder.resolve())
    return f"{str(path).rstrip('/')}/".startswith(f"{str(folder).rstrip('/')}/")


def read_bytes(path: AnyPath, start: int = 0, stop: int | None = None) -> bytes:
    """The file's bytes from ``start`` to ``stop``, its end if not given. Raises InputError where there are fewer."""
    wanted = None if stop is None else stop - start
    if isinstance(path, Path):
        try:
            with path.open("rb") as file:
                file.seek(start)
                content = file.read() if wanted is None else file.read(wanted)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        if wanted is not None and len(content) != wanted:
            raise InputError(f"{path}: ends at byte {start + len(content)}, before byte {stop}: it is cut off")
        return content
    size = size_of(path) if stop is None else stop
    return _tried(path, lambda: _whole_range(path, start, size)) if size > start else b""


def open_to_read(path: AnyPath) -> io.BufferedReader:
    """The file, opened to be read from its start or from anywhere. Raises InputError where it is missing."""
    if isinstance(path, Path):
        try:
            return path.open("rb")
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return io.BufferedReader(_RemoteFile(path), _RANGE_BYTES)


def upload(local: Path, remote: "UPath") -> None:
    """Copies a local file to a remote place, whole or not at all. Raises TaskcatalogError where it cannot."""

    def put() -> None:
        remote.fs.put_file(str(local), remote.path)
        remote.fs.invalidate_cache()
        if (size := remote.fs.info(remote.path)["size"]) != local.stat().st_size:
            raise ConnectionError(f"only {size} bytes arrived")

    _tried(remote, put, "written")


def remove(paths: "Sequence[UPath]") -> None:
    """Removes remote files that exist."""
    for path in paths:
        if exists(path):
            _tried(path, lambda path=path: path.fs.rm_file(path.path), "removed")  # type: ignore[misc]


class _RemoteFile(io.RawIOBase):
    """A remote file as a stream that can be sought."""

    def __init__(self, path: "UPath") -> None:
        super().__init__()
        self._path = path
        self._size = size_of(path)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        stop = min(self._position + len(buffer), self._size)
        if stop <= self._position:
            return 0
        content = read_bytes(cast(AnyPath, self._path), self._position, stop)
        buffer[: len(content)] = content
        self._position = stop
        return len(content)


def _whole_range(path: "UPath", start: int, stop: int) -> bytes:
    content = path.fs.cat_file(path.path, start=start, end=stop)
    if start and len(content) >= stop:  # a web server that knows no ranges sends all of the file
        content = content[start:stop]
    if len(content) != stop - start:
        raise ConnectionError(f"only {len(content)} of {stop - start} bytes arrived")
    return cast(bytes, content)


def _tried(path: "UPath", do: Callable[[], R], done: str = "read") -> R:
    """Does it, once more after each delay. Raises InputError where it cannot be read or where the name is wrong, else
    TaskcatalogError."""
    for delay in (*_DELAYS, None):
        try:
            return do()
        except Exception as error:  # what a connection can raise is as many as there are protocols
            if delay is None or isinstance(error, _FINAL) or type(error).__name__ in _FINAL_NAMES:
                kind = InputError if done == "read" or isinstance(error, FileNotFoundError) else TaskcatalogError
                raise kind(f"{path}: cannot be {done}: {_advice(str(path), error, done)}") from error
        time.sleep(delay)
    raise AssertionError("the last try returns or raises")


def _advice(name: str, error: Exception, done: str = "read") -> str:
    protocol = name.partition("://")[0]
    if isinstance(error, FileNotFoundError):
        bucket = "/".join(name.split("/")[:3])
        return f"{bucket} does not exist: make it, or choose another" if done == "written" else "it does not exist"
    if isinstance(error, ImportError):
        extra = "s3" if protocol in ("s3", "s3a") else "http" if protocol in ("http", "https") else None
        package = f"'taskcatalog[{extra}]'" if extra else f"the fsspec package of {protocol}://"
        return f"{protocol}:// needs more than is installed: pip install {package}"
    if isinstance(error, ValueError):
        return f"nothing here reads {protocol}:// ({error})"
    if isinstance(error, PermissionError) or type(error).__name__ in _DENIED:
        return f"access is denied: are the credentials of {protocol}:// set? ({type(error).__name__}: {error})"
    return f"{type(error).__name__}: {error}"
