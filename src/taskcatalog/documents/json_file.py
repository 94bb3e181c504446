"""A file named ``.json`` may be JSONL. Or it is one JSON value on any number of lines: an array of objects, each a
document, or one object.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any

from taskcatalog.documents.batch import BATCH_DOCUMENTS, Batch, Reading, in_pieces
from taskcatalog.documents.compressed import DAMAGE, can_seek, opened
from taskcatalog.documents.jsonl import JSONL, cut_lines, documents_of, has_text, parsed, read_lines
from taskcatalog.documents.source import Chunk, DatasetChoice, Format, Source, whole
from taskcatalog.documents.text import read_text
from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, locate

_LARGEST_VALUE = 256 << 20
"""Bytes of a file that is one value: it is read whole, and takes some ten times as much memory."""


def _read(chunk: Chunk, reading: Reading) -> Iterator[Batch]:
    """The documents of a ``.json`` file: of its lines, or of the one array or object that it is.

    A place is the line, or the number in the array. A file that was found in a folder and is one value whose first
    object has no text in the field, such as a program's settings, is a text.
    """
    source, name = chunk.source, chunk.source.name
    try:
        in_lines, values = _json_values(name)
    except DAMAGE as error:
        reading.problems.met(InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}"))
        return
    except InputError as error:
        if not source.sniff:
            reading.problems.met(error)
            return
        in_lines, values = False, []
    are_documents = (in_lines and len(values) > 1) or any(has_text(value, reading.field) for value in values[:1])
    if source.sniff and not are_documents:
        yield from read_text(source, reading)
    elif in_lines:
        yield from read_lines(chunk, reading)
    else:
        for start in range(0, len(values), BATCH_DOCUMENTS):
            some = list(enumerate(values[start : start + BATCH_DOCUMENTS], start + 1))
            yield from in_pieces(documents_of(some, name, "value", reading), reading)


def _cut(source: Source, at_most: int, choice: DatasetChoice) -> list[Chunk]:
    path = locate(source.name)
    if source.sniff or not can_seek(path) or not _is_in_lines(path):
        return whole(source, at_most, choice)
    return cut_lines(replace(source, kind=JSONL.name), at_most, choice)


def _is_in_lines(path: AnyPath) -> bool:
    """Whether the first line of a ``.json`` file is a value of its own, and not a list of all."""
    with opened(path) as file, suppress(InputError):
        return not isinstance(parsed(_first_line(file), str(path)), list)
    return False


def _json_values(name: str) -> tuple[bool, list[Any]]:
    """Whether each line is a value of its own; the first two of these, or else all values of the array or object."""
    with opened(locate(name)) as file:
        line = _first_line(file)
        with suppress(InputError):
            first = parsed(line, name)
            return (False, first) if isinstance(first, list) else (True, [first, *_first_line(file).splitlines()])
        content = line + file.read(_LARGEST_VALUE)
    if len(content) > _LARGEST_VALUE:
        raise InputError(f"{name}: is one JSON value of more than {_LARGEST_VALUE >> 20} MB: write one object a line")
    value = parsed(content, name)
    return False, value if isinstance(value, list) else [value]


def _first_line(file: IO[bytes]) -> bytes:
    line = b"\n"
    while line and not line.strip():
        line = file.readline(_LARGEST_VALUE)
    return line


JSON = Format(
    name="json",
    source="`.json`",
    documents="as JSONL, or one value on any number of lines: an array of such objects, or one object. Below a folder, "
    "a file that holds no such text (a program's settings) is read as text, and the command says so",
    read=_read,
    cut=_cut,
    suffixes=(".json",),
    is_doubtful=lambda name: True,  # noqa: ARG005
)
