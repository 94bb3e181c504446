"""Opens files that may be compressed: ``.gz``, ``.zst``, ``.xz``, ``.bz2``."""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
from isal import igzip, isal_zlib

from taskcatalog.storage import AnyPath, open_to_read

_BUFFER_BYTES = 1 << 20


def _open_zstd(file: IO[bytes]) -> Any:
    stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")
    return io.BufferedReader(cast(io.RawIOBase, stream), _BUFFER_BYTES)


_OPENERS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": igzip.open,
    ".zst": _open_zstd,
    ".xz": lzma.open,
    ".bz2": bz2.open,
}
SUFFIXES = frozenset(_OPENERS)
DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    zlib.error,
    cast(type[Exception], isal_zlib.error),
    lzma.LZMAError,
)
"""What reading damaged or vanishing files raises."""


def is_compressed(name: str) -> bool:
    """Whether a file is, by its name."""
    return name.lower().endswith(tuple(SUFFIXES))


def can_seek(path: AnyPath) -> bool:
    """Whether any part of a file can be read without what is in front of it: it is here, and not compressed."""
    return isinstance(path, Path) and not is_compressed(path.name)


@contextmanager
def opened(path: AnyPath, *, buffered: bool = True) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed as they are read.

    Without ``buffered``, a local file that is not compressed opens faster: for readers that take much at a time.
    """
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None and isinstance(path, Path) and not buffered:
        with path.open("rb", buffering=0) as raw:
            yield cast(IO[bytes], raw)
        return
    with open_to_read(path) as file:
        if opener is None:
            yield file
        else:
            with opener(file) as inner:
                yield inner
