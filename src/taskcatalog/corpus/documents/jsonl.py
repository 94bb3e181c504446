"""A line of JSONL is one document: a field of its object."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import orjson

from taskcatalog.corpus.documents.batch import BATCH_BYTES, BATCH_DOCUMENTS, Batch, Reading, in_pieces, value_at
from taskcatalog.corpus.documents.compressed import DAMAGE, opened
from taskcatalog.corpus.documents.text import not_utf8
from taskcatalog.errors import InputError
from taskcatalog.storage import locate

_SCANNED_BYTES = 16 << 20
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
            metas = [_meta(record, reading.meta) for record in records]
            return Batch(name, texts, list(range(first, first + len(lines))), metas)
    except (ValueError, KeyError, TypeError, IndexError):
        pass  # there is something among these lines to be looked at one by one
    return _documents_with_care(lines, first, name, reading)


def _documents_with_care(lines: list[bytes | None], first: int, name: str, reading: Reading) -> Batch:
    """Line by line: passes over empty ones, mends what orjson refuses and json takes, and names bad ones."""
    batch = Batch(name, [], [], [])
    for number, line in enumerate(lines, first):
        if line is None:
            reading.problems.met(reading.too_long(f"{name}: line {number}", "has more bytes than"))
            continue
        if not line.strip():
            continue
        try:
            record = _record(line, f"{name}: line {number}")
            text = _text(record, reading.field, f"{name}: line {number}")
        except InputError as error:
            reading.problems.met(error)
            continue
        batch.texts.append(text)
        batch.places.append(number)
        batch.metas.append(_meta(record, reading.meta))
    return batch


def _record(line: bytes, place: str) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig" if line.startswith(b"\xef\xbb\xbf") else "utf-8"))
    except UnicodeDecodeError as error:
        raise not_utf8(place, error) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: is not JSON ({error})") from error


def _text(record: Any, field: str, place: str) -> str:
    if not isinstance(record, dict) or not isinstance(record.get(field), str):
        has = f"its fields are {', '.join(record)}" if isinstance(record, dict) else "it is no object"
        raise InputError(f"{place}: has no text in a field {field!r} ({has}): --field names another")
    # JSON can write half of a surrogate pair, which no UTF-8 can hold.
    return cast(str, record[field]).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _meta(record: dict[str, Any], name: str | None) -> str | None:
    value = value_at(record, name) if name else None
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True)
