"""Documents out of source files: a text file is one document, a line of JSONL or a row of Parquet is one.

JSONL lines are objects, and Parquet files tables, whose field ``text`` (or another, by name) is the document.
JSONL and text files may be compressed: ``.gz``, ``.zst``, ``.xz``, ``.bz2``. Text is UTF-8.
"""

import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from taskcatalog.errors import InputError

_SNIFFED_BYTES = 8_192
_ROWS_AT_ONCE = 1_024


@dataclass(frozen=True)
class Document:
    text: str
    source: str
    """The file, as it was named."""
    place: int
    """Line of a JSONL file or row of a Parquet file, from 1; 0 where the file is the document."""


def find_sources(given: Iterable[str | Path]) -> list[Path]:
    """The source files: files as given, and all text files below folders, sorted by path.

    Below a folder, hidden files and files that hold a NUL byte are no text and are left out. Raises
    InputError where something does not exist or a folder has no text.
    """
    sources: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if _is_text_below(file, path))
            if not found:
                raise InputError(f"{path}: holds no text files: give text files, JSONL or Parquet")
            sources += found
        elif path.is_file():
            sources.append(path)
        else:
            raise InputError(f"{path}: does not exist: give text files, JSONL, Parquet, or folders of them")
    if not sources:
        raise InputError("no source was given: name text files, JSONL, Parquet, or folders of them")
    return sources


def read_documents(path: Path, field: str) -> Iterator[Document]:
    """The documents of one source file. Raises InputError that names the place of the first bad one."""
    kind = _kind(path)
    if kind == ".jsonl":
        yield from _jsonl_documents(path, field)
    elif kind == ".parquet":
        yield from _parquet_documents(path, field)
    else:
        try:
            with _opened(path) as file:
                raw = file.read()
        except _DAMAGE as error:
            raise InputError(f"{path}: cannot be read ({error})") from error
        yield Document(_decoded(raw, str(path)), str(path), 0)


def _jsonl_documents(path: Path, field: str) -> Iterator[Document]:
    number = 0
    try:
        with _opened(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield Document(_text_field(line, field, f"{path}: line {number}"), str(path), number)
    except _DAMAGE as error:
        raise InputError(f"{path}: cannot be read after line {number} ({error}): the file is damaged") from error


def _parquet_documents(path: Path, field: str) -> Iterator[Document]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            column = file.schema_arrow.field(field) if field in file.schema_arrow.names else None
            if column is None or not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
                fields = ", ".join(file.schema_arrow.names)
                raise InputError(f"{path}: has no text column {field!r} (its columns are {fields}): --field names it")
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[field]):
                batch.validate(full=True)
                for text in batch[field].to_pylist():
                    number += 1
                    if text is None:
                        raise InputError(f"{path}: row {number}: has no text in the column {field!r}")
                    yield Document(text, str(path), number)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read after row {number} ({error}): the file is damaged") from error


def _open_zstd(path: Path) -> Any:
    return io.BufferedReader(cast(io.RawIOBase, pa.input_stream(path, compression="zstd")), 1 << 20)


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".zst": _open_zstd,
    ".xz": lzma.open,
    ".bz2": bz2.open,
}
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What the decompressors raise."""


def _opened(path: Path) -> IO[bytes]:
    """The file's bytes, decompressed as they are read."""
    opener = _OPENERS.get(path.suffix.lower())
    return cast(IO[bytes], opener(path)) if opener else path.open("rb")


def _kind(path: Path) -> str:
    """The suffix of what is inside: ``.jsonl``, ``.parquet`` or another."""
    inner = path.with_suffix("") if path.suffix.lower() in _OPENERS else path
    return inner.suffix.lower()


def _text_field(line: bytes, field: str, place: str) -> str:
    try:
        content = json.loads(_decoded(line, place))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: is not JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get(field), str):
        has = f"its fields are {', '.join(content)}" if isinstance(content, dict) else "it is no object"
        raise InputError(f"{place}: has no text in a field {field!r} ({has}): --field names another")
    # JSON can write half of a surrogate pair, which no UTF-8 can hold.
    return str(content[field]).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decoded(raw: bytes, place: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: is not UTF-8 (byte 0x{raw[error.start]:02x} at offset {error.start}): convert it first"
        ) from error


def _is_text_below(file: Path, folder: Path) -> bool:
    if not file.is_file() or any(part.startswith(".") for part in file.relative_to(folder).parts):
        return False
    if file.suffix.lower() in _OPENERS or _kind(file) in (".jsonl", ".parquet"):
        return True
    with file.open("rb") as opened:
        return b"\0" not in opened.read(_SNIFFED_BYTES)
