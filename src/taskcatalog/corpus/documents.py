"""Documents out of source files: a text file is one document, a line of JSONL is one.

JSONL may be plain or gzipped (``.jsonl``, ``.jsonl.gz``); each line is an object whose field ``text`` (or
another, by name) is the document. Text is UTF-8.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from taskcatalog.errors import InputError

_JSONL = (".jsonl", ".jsonl.gz")
_SNIFFED_BYTES = 8_192


@dataclass(frozen=True)
class Document:
    text: str
    source: str
    """The file, as it was named."""
    place: int
    """Line of a JSONL file, from 1; 0 where the file is the document."""


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
                raise InputError(f"{path}: holds no text files: give text files, .jsonl or .jsonl.gz")
            sources += found
        elif path.is_file():
            sources.append(path)
        else:
            raise InputError(f"{path}: does not exist: give text files, .jsonl, .jsonl.gz or folders of them")
    if not sources:
        raise InputError("no source was given: name text files, .jsonl, .jsonl.gz or folders of them")
    return sources


def read_documents(path: Path, field: str) -> Iterator[Document]:
    """The documents of one source file. Raises InputError that names the place of the first bad one."""
    if path.name.lower().endswith(_JSONL):
        yield from _jsonl_documents(path, field)
        return
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    yield Document(_decoded(raw, str(path)), str(path), 0)


def _jsonl_documents(path: Path, field: str) -> Iterator[Document]:
    number = 0
    try:
        with _opened(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield Document(_text_field(line, field, f"{path}: line {number}"), str(path), number)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read after line {number} ({error}): the file is damaged") from error


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path))
    return path.open("rb")


def _text_field(line: bytes, field: str, place: str) -> str:
    try:
        content = json.loads(_decoded(line, place))
    except ValueError as error:
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
    if file.name.lower().endswith(_JSONL):
        return True
    with file.open("rb") as opened:
        return b"\0" not in opened.read(_SNIFFED_BYTES)
