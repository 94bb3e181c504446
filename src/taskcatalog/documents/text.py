"""A text file is one document, in UTF-8."""

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO

from taskcatalog.documents.archives import no_text
from taskcatalog.documents.batch import BATCH_BYTES, Batch, Reading, long_document
from taskcatalog.documents.compressed import DAMAGE, is_compressed, opened
from taskcatalog.documents.source import Chunk, Format, Source
from taskcatalog.errors import InputError
from taskcatalog.storage import locate

_SNIFFED_BYTES = 8_192
"""The start of a file, in which a NUL byte means that it is no text."""


def read_text(source: Source, reading: Reading) -> Iterator[Batch]:
    """The document of a text file; pieces of it if it is very long."""
    name = source.name
    kind = Batch(name, [], [0], [None])
    try:
        with opened(locate(name), buffered=False) as file:
            raw = file.read(min(max(source.n_bytes + 1, _SNIFFED_BYTES), BATCH_BYTES))
            if source.sniff and b"\0" in raw[:_SNIFFED_BYTES]:
                return
            if reason := no_text(raw[:_SNIFFED_BYTES]):
                raise InputError(f"{name}: {reason}")
            if len(raw) == source.n_bytes:  # most files: all of it
                yield Batch(name, [_text(raw, name)], kind.places, kind.metas)
            else:
                yield from long_document(_decoded(chain([raw], _blocks(file, name)), name), kind, reading)
    except DAMAGE as error:
        reading.problems.met(InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}"))
    except InputError as error:
        reading.problems.met(error)


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(name, error) from error


def _blocks(file: IO[bytes], name: str) -> Iterator[bytes]:
    """The rest of a file, and an empty block at its end."""
    try:
        while raw := file.read(BATCH_BYTES):
            yield raw
    except DAMAGE as error:
        raise InputError(f"{name}: cannot be read ({error})") from error
    yield b""


def _decoded(blocks: Iterable[bytes], name: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    for raw in blocks:
        kept = len(decoder.getstate()[0])
        try:
            yield decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            raise not_utf8(name, error, offset - kept) from error
        offset += len(raw)


def not_utf8(where: str, error: UnicodeDecodeError, offset: int = 0) -> InputError:
    byte = error.object[error.start]
    return InputError(f"{where}: is not UTF-8 (byte 0x{byte:02x} at offset {offset + error.start}): convert it first")


def _read(chunk: Chunk, reading: Reading) -> Iterator[Batch]:
    return read_text(chunk.source, reading)


TEXT = Format(
    name="text",
    source="text file",
    documents="one, in UTF-8; pieces of a long one are read as they are needed",
    read=_read,
    is_doubtful=lambda name: not is_compressed(name),
)
