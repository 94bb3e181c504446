"""A line of JSONL is one document: a field of its object."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import IO, Any, cast

import numpy as np
import orjson

from taskcatalog.documents.batch import BATCH_BYTES, BATCH_DOCUMENTS, Batch, Reading, in_pieces, value_at
from taskcatalog.documents.compressed import DAMAGE, can_seek, opened
from taskcatalog.documents.source import Chunk, DatasetChoice, Format, Source, whole
from taskcatalog.documents.text import not_utf8
from taskcatalog.errors import InputError
from taskcatalog.storage import locate, open_to_read

_SCANNED_BYTES = 16 << 20
_NEWLINE = ord("\n")


def read_lines(chunk: Chunk, reading: Reading) -> Iterator[Batch]:
    """The documents of the lines from byte ``start`` to ``stop`` of a file, both at the beginning of a line."""
    name, number = chunk.source.name, chunk.first
    try:
        with opened(locate(name)) as file:
            if chunk.start:  # of a plain file: those that are decompressed on the way cannot be sought
                file.seek(chunk.start)
            n_bytes = None if chunk.stop is None else chunk.stop - chunk.start
            for lines in _lines(file, n_bytes, reading.max_document):
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


def cut_lines(source: Source, at_most: int, choice: DatasetChoice) -> list[Chunk]:
    """Cuts a plain file at line ends. Reads it once, to count its lines, at the speed of the disk."""
    path = locate(source.name)
    if not can_seek(path):
        return whole(source, at_most, choice)
    cuts = [0]
    with open_to_read(path) as file:
        while (goal := cuts[-1] + at_most) < source.n_bytes:
            file.seek(goal - 1)
            while (line_end := file.readline(_SCANNED_BYTES)) and not line_end.endswith(b"\n"):
                pass
            cuts.append(file.tell())
        if cuts[-1] < source.n_bytes:
            cuts.append(source.n_bytes)
        chunks, line = [], 1
        for start, stop in pairwise(cuts):
            chunks.append(Chunk(source, stop - start, start, stop, line))
            file.seek(start)
            for offset in range(start, stop, _SCANNED_BYTES):
                block = np.frombuffer(file.read(min(_SCANNED_BYTES, stop - offset)), np.uint8)
                line += int(np.count_nonzero(block == _NEWLINE))
    return chunks


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
                records.append((number, parsed(line, f"{name}: line {number}")))
            except InputError as error:
                records.append((number, error))
    return documents_of(records, name, "line", reading)


def documents_of(records: list[tuple[int, Any]], name: str, unit: str, reading: Reading) -> Batch:
    """The documents of numbered records; an error stands for one that cannot be read."""
    batch = Batch(name, [], [], [])
    for number, record in records:
        try:
            if isinstance(record, InputError):
                raise record
            where = f"{name}: {unit} {number}"
            text, meta = _text(record, reading.field, where), _meta(record, reading.meta, where)
        except InputError as error:
            reading.problems.met(error)
            continue
        batch.texts.append(text)
        batch.places.append(number)
        batch.metas.append(meta if meta is None else _whole_characters(meta))
    return batch


def parsed(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig" if line.startswith(b"\xef\xbb\xbf") else "utf-8"))
    except UnicodeDecodeError as error:
        raise not_utf8(where, error) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not JSON ({error})") from error


def _text(record: Any, field: str, where: str) -> str:
    if not has_text(record, field):
        has = f"its fields are {', '.join(record)}" if isinstance(record, dict) else "it is no object"
        raise InputError(f"{where}: has no text in a field {field!r} ({has}): --field names another")
    return _whole_characters(cast(str, record[field]))


def has_text(record: Any, field: str) -> bool:
    return isinstance(record, dict) and isinstance(record.get(field), str)


def _whole_characters(text: str) -> str:
    """JSON can write half of a surrogate pair, which no UTF-8 can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _meta(record: dict[str, Any], name: str | None, where: str) -> str | None:
    value = value_at(record, name) if name else None
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value, sort_keys=True)
    except RecursionError as error:
        raise InputError(f"{where}: the field {name!r} is nested too deeply to be kept") from error


JSONL = Format(
    name="jsonl",
    source="`.jsonl`, `.ndjson`",
    documents="one a line: the object's `--field`, `text` if not given",
    read=read_lines,
    cut=cut_lines,
    suffixes=(".jsonl", ".ndjson"),
)
