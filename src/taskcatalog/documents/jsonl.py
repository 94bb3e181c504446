"""A line of JSONL is one document: a field of its object.

A file named ``.json`` may be JSONL, too. Or it is one JSON value on any number of lines: an array of such objects,
each a document, or one object.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import orjson

from taskcatalog.documents.batch import BATCH_BYTES, BATCH_DOCUMENTS, Batch, Reading, in_pieces, value_at
from taskcatalog.documents.compressed import DAMAGE, opened
from taskcatalog.documents.find import Source
from taskcatalog.documents.text import not_utf8, read_text
from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, locate

_SCANNED_BYTES = 16 << 20
_LARGEST_VALUE = 256 << 20
"""Bytes of a file that is one value: it is read whole, and takes some ten times as much memory."""
_NEWLINE = ord("\n")


def read_jsonl(name: str, start: int, stop: int | None, first_line: int, reading: Reading) -> Iterator[Batch]:
    """The documents of the lines from byte ``start`` to ``stop`` of a file, both at the beginning of a line."""
    number = first_line
    try:
        with opened(locate(name)) as file:
            if start:  # of a plain file: those that are decompressed on the way cannot be sought
                file.seek(start)
            for lines in _lines(file, None if stop is None else stop - start, reading.max_document):
                batch = _documents(lines, number, name, reading)
                number += len(lines)
                lines.clear()  # a long line is there twice else
                yield from in_pieces(batch, reading)
    except DAMAGE as error:
        problem = InputError(f"{name}: cannot be read after line {number - 1} ({error}): the file is damaged")
        reading.problems.met(problem)


def read_json(source: Source, reading: Reading) -> Iterator[Batch]:
    """The documents of a ``.json`` file: of its lines, or of the one array or object that it is.

    A place is the line, or the number in the array. A file that was found in a folder and is one value whose first
    object has no text in the field, such as a program's settings, is a text.
    """
    name = source.name
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
    are_documents = (in_lines and len(values) > 1) or any(_has_text(value, reading.field) for value in values[:1])
    if source.sniff and not are_documents:
        yield from read_text(source, reading)
    elif in_lines:
        yield from read_jsonl(name, 0, None, 1, reading)
    else:
        for start in range(0, len(values), BATCH_DOCUMENTS):
            some = list(enumerate(values[start : start + BATCH_DOCUMENTS], start + 1))
            yield from in_pieces(_documents_of(some, name, "value", reading), reading)


def is_in_lines(path: AnyPath) -> bool:
    """Whether the first line of a ``.json`` file is a value of its own, and not a list of all."""
    with opened(path) as file, suppress(InputError):
        return not isinstance(_record(_first_line(file), str(path)), list)
    return False


def _json_values(name: str) -> tuple[bool, list[Any]]:
    """Whether each line is a value of its own; the first two of these, or else all values of the array or object."""
    with opened(locate(name)) as file:
        line = _first_line(file)
        with suppress(InputError):
            first = _record(line, name)
            return (False, first) if isinstance(first, list) else (True, [first, *_first_line(file).splitlines()])
        content = line + file.read(_LARGEST_VALUE)
    if len(content) > _LARGEST_VALUE:
        raise InputError(f"{name}: is one JSON value of more than {_LARGEST_VALUE >> 20} MB: write one object a line")
    whole = _record(content, name)
    return False, whole if isinstance(whole, list) else [whole]


def _first_line(file: IO[bytes]) -> bytes:
    line = b"\n"
    while line and not line.strip():
        line = file.readline(_LARGEST_VALUE)
    return line


def _lines(file: IO[bytes], n_bytes: int | None, longest: int) -> Iterator[list[bytes | None]]:
    """The lines in the next ``n_bytes`` of a file, all of it if None, without their ends, some at a time; None for one
    of more than ``longest`` bytes, of which no more are held."""
    waiting: list[bytes] = []
    size = 0
    while block := file.read(BATCH_BYTES if n_bytes is None else min(BATCH_BYTES, n_bytes)):
        n_bytes = None if n_bytes is None else n_bytes - len(block)
        first, *others = block.split(b"\n")
        waiting.append(first)
        size += len(first)
        if size > longest:
            waiting.clear()
        if others:
            lines: list[bytes | None] = [b"".join(waiting) if size <= longest else None, *others[:-1]]
            waiting = others[-1:]
            size = len(waiting[0])
            while lines:
                some, lines = lines[:BATCH_DOCUMENTS], lines[BATCH_DOCUMENTS:]
                yield some
    if size:
        yield [b"".join(waiting) if size <= longest else None]


def line_stretches(path: Path, n_bytes: int, at_most: int) -> list[tuple[int, int, int]]:
    """Cuts a plain file at line ends: start, stop (in bytes) and number of the first line of each stretch.

    Reads the whole file once, to count its lines, at the speed of the disk.
    """
    cuts = [0]
    with path.open("rb") as file:
        while (goal := cuts[-1] + at_most) < n_bytes:
            file.seek(goal - 1)
            while (line_end := file.readline(_SCANNED_BYTES)) and not line_end.endswith(b"\n"):
                pass
            cuts.append(file.tell())
        if cuts[-1] < n_bytes:
            cuts.append(n_bytes)
        stretches, line = [], 1
        for start, stop in pairwise(cuts):
            stretches.append((start, stop, line))
            file.seek(start)
            for offset in range(start, stop, _SCANNED_BYTES):
                block = np.frombuffer(file.read(min(_SCANNED_BYTES, stop - offset)), np.uint8)
                line += int(np.count_nonzero(block == _NEWLINE))
    return stretches


def _documents(lines: list[bytes | None], first: int, name: str, reading: Reading) -> Batch:
    try:
        records = list(map(orjson.loads, cast(list[bytes], lines)))  # None is a bad line, too
        texts = [record[reading.field] for record in records]
        if all(type(text) is str for text in texts):
            metas = [_meta(record, reading.meta, name) for record in records]
            if not any(meta and "e+" in meta for meta in metas):  # to orjson, an integer of over 64 bits is a float
                return Batch(name, texts, list(range(first, first + len(lines))), metas)
    except (ValueError, KeyError, TypeError, IndexError, InputError):
        pass  # there is something among these lines to be looked at one by one
    return _documents_with_care(lines, first, name, reading)


def _documents_with_care(lines: list[bytes | None], first: int, name: str, reading: Reading) -> Batch:
    """Line by line: passes over empty ones, mends what orjson refuses and json takes, and names bad ones."""
    records: list[tuple[int, Any]] = []
    for number, line in enumerate(lines, first):
        if line is None:
            records.append((number, reading.too_long(f"{name}: line {number}", "has more bytes than")))
        elif line.strip():
            try:
                records.append((number, _record(line, f"{name}: line {number}")))
            except InputError as error:
                records.append((number, error))
    return _documents_of(records, name, "line", reading)


def _documents_of(records: list[tuple[int, Any]], name: str, unit: str, reading: Reading) -> Batch:
    """The documents of numbered records; an error stands for one that cannot be read."""
    batch = Batch(name, [], [], [])
    for number, record in records:
        try:
            if isinstance(record, InputError):
                raise record
            place = f"{name}: {unit} {number}"
            text, meta = _text(record, reading.field, place), _meta(record, reading.meta, place)
        except InputError as error:
            reading.problems.met(error)
            continue
        batch.texts.append(text)
        batch.places.append(number)
        batch.metas.append(meta if meta is None else _whole_characters(meta))
    return batch


def _record(line: bytes, place: str) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig" if line.startswith(b"\xef\xbb\xbf") else "utf-8"))
    except UnicodeDecodeError as error:
        raise not_utf8(place, error) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: is not JSON ({error})") from error


def _text(record: Any, field: str, place: str) -> str:
    if not _has_text(record, field):
        has = f"its fields are {', '.join(record)}" if isinstance(record, dict) else "it is no object"
        raise InputError(f"{place}: has no text in a field {field!r} ({has}): --field names another")
    return _whole_characters(cast(str, record[field]))


def _has_text(record: Any, field: str) -> bool:
    return isinstance(record, dict) and isinstance(record.get(field), str)


def _whole_characters(text: str) -> str:
    """JSON can write half of a surrogate pair, which no UTF-8 can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _meta(record: dict[str, Any], name: str | None, place: str) -> str | None:
    value = value_at(record, name) if name else None
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value, sort_keys=True)
    except RecursionError as error:
        raise InputError(f"{place}: the field {name!r} is nested too deeply to be kept") from error
