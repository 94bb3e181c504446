"""A record of plain text in a WARC file is one document: what web archives and Common Crawl's WET files are made of.

Taken are records of the types ``conversion`` (WET) and ``resource`` that are ``text/plain``, and of the type
``response`` where the server said 200 and ``text/plain``. HTML is refused: what of a page is its text is a question of
its own. Passed over is all else: what describes the crawl, requests, images. Not read: ARC, which is older.
"""

import re
import zlib
from collections.abc import Iterator
from typing import IO, Any

from taskcatalog.documents.batch import BATCH_BYTES, BATCH_DOCUMENTS, Batch, Reading, in_pieces
from taskcatalog.documents.compressed import DAMAGE, is_compressed, opened
from taskcatalog.documents.source import Chunk, Format
from taskcatalog.documents.text import not_utf8
from taskcatalog.errors import InputError, SettingsError, how_to_install
from taskcatalog.storage import locate

_META = {
    "url": "WARC-Target-URI",
    "date": "WARC-Date",
    "id": "WARC-Record-ID",
    "language": "WARC-Identified-Content-Language",
}
"""Short names of headers, for ``--meta``."""
_TYPES = ("conversion", "resource", "response")
_HTML = ("text/html", "application/xhtml+xml")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';]+)", re.IGNORECASE)
_LONGEST_HEAD = 1 << 20
_LONGEST_QUOTE = 200
"""Characters of what the library says, which may hold a line of the file."""
_GZIP_OR_DEFLATE = zlib.MAX_WBITS | 32
"""Tells zlib to see which of the two it is."""


class _File:
    """A file whose bytes are counted. The head of a record in it has at most a MiB."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._head_left = 0
        self.offset = 0

    def read(self, n_bytes: int) -> bytes:
        content = self._file.read(n_bytes)
        self.offset += len(content)
        return content

    def readline(self, n_bytes: int = _LONGEST_HEAD) -> bytes:
        line = self._file.readline(min(n_bytes, self._head_left))
        self.offset += len(line)
        self._head_left -= len(line)
        if not self._head_left:
            raise ValueError("its head does not end")
        return line

    def next_line(self) -> bytes:
        """The first line of the next record; empty at the end."""
        self._head_left = _LONGEST_HEAD
        while (line := self.readline()) and not line.strip():
            pass
        return line

    def skip_to(self, end: int) -> None:
        while self.offset < end:
            if not self.read(min(BATCH_BYTES, end - self.offset)):
                raise EOFError("the file ends within it")


def _read(chunk: Chunk, reading: Reading) -> Iterator[Batch]:
    """The documents of a file; a place is the number of the record in it, from 1."""
    batch, size = Batch(chunk.source.name, [], [], []), 0
    for number, text, meta in _documents(chunk.source.name, reading):
        batch.texts.append(text)
        batch.places.append(number)
        batch.metas.append(meta)
        size += len(text)
        if size >= BATCH_BYTES or len(batch.texts) == BATCH_DOCUMENTS:
            yield from in_pieces(batch, reading)
            batch, size = Batch(chunk.source.name, [], [], []), 0
    yield from in_pieces(batch, reading)


def _documents(name: str, reading: Reading) -> Iterator[tuple[int, str, str | None]]:
    """The number, text and kept header of each record that is a document; of a damaged file, of those in front of the
    damage."""
    loader, damage = _library(name)
    header = _META.get(reading.meta, reading.meta) if reading.meta else ""
    number, where = 0, name
    try:
        with opened(locate(name)) as opened_file:
            file = _File(opened_file)
            while line := file.next_line():
                number += 1
                where = f"{name}: record {number} at byte {file.offset - len(line)}"
                where += " of what is compressed" if is_compressed(name) else ""
                if not line.startswith(b"WARC/"):
                    raise ValueError("it does not begin with 'WARC/'")
                record = loader.parse_record_stream(file, line, "warc", no_record_parse=True)
                end = file.offset + _length(record)
                text = _text(record, loader, where, reading)
                file.skip_to(end)  # what is cut off is no bad document, but the end of all
                if isinstance(text, InputError):
                    reading.problems.met(text)
                elif text is not None:
                    yield number, text, record.rec_headers.get_header(header)
    except damage as error:
        problem = " ".join(str(error)[:_LONGEST_QUOTE].split())
        reading.problems.met(InputError(f"{where}: cannot be read ({problem}): the file is damaged from there on"))


def _library(name: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """What parses records, and what damaged ones raise."""
    try:
        from warcio.exceptions import ArchiveLoadFailed
        from warcio.recordloader import ArcWarcRecordLoader
    except ModuleNotFoundError as error:
        raise SettingsError(f"{name}: reading WARC needs warcio: {how_to_install('warc')}") from error
    return ArcWarcRecordLoader(verify_http=False, arc2warc=False), (*DAMAGE, ValueError, ArchiveLoadFailed)


def _length(record: Any) -> int:
    length = record.rec_headers.get_header("Content-Length")
    if length is None or not length.isdecimal():
        raise ValueError(f"its Content-Length is {length}")
    return int(length)


def _text(record: Any, loader: Any, where: str, reading: Reading) -> str | InputError | None:
    """The text of a record, or why it cannot be had; None for one that is no document."""
    try:
        return _text_of(record, loader, where, reading) if record.rec_type in _TYPES else None
    except InputError as error:
        return error


def _text_of(record: Any, loader: Any, where: str, reading: Reading) -> str | None:
    headers, encoding = record.rec_headers, ""
    if record.rec_type == "response":
        uri = headers.get_header("WARC-Target-URI") or ""
        record.http_headers = headers = loader.load_http_headers("response", uri, record.raw_stream, record.length)
        if headers is None or headers.get_statuscode() != "200":
            return None
        encoding = (headers.get_header("Content-Encoding") or "").lower()
        headers.remove_header("Content-Encoding")  # the library passes over what it cannot decompress
    content_type = headers.get_header("Content-Type") or ""
    mime = content_type.partition(";")[0].strip().lower()
    if mime in _HTML:
        raise InputError(
            f"{where}: is HTML, and only plain text is read: give the crawl's WET files, or extract texts into JSONL "
            "first, as with trafilatura; --on-error skip leaves HTML out"
        )
    if mime != "text/plain":
        return None
    if record.length > reading.max_document:
        raise reading.too_long(where, "has more bytes than")
    raw: bytes = record.content_stream().read()
    if encoding not in ("", "identity"):
        raw = _decompressed(raw, encoding, where, reading)
    charset = _CHARSET.search(content_type)
    return _decoded(raw, charset[1] if charset else "utf-8", where)


def _decompressed(raw: bytes, encoding: str, where: str, reading: Reading) -> bytes:
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise InputError(f"{where}: is compressed as {encoding!r}, which is not read: write it anew without")
    decompressor = zlib.decompressobj(_GZIP_OR_DEFLATE)
    try:
        content = decompressor.decompress(raw, reading.max_document + 1)
    except zlib.error as error:
        raise InputError(f"{where}: cannot be decompressed ({error}): the record is damaged") from error
    if len(content) > reading.max_document:
        raise reading.too_long(where, "has more bytes than")
    if not decompressor.eof:
        raise InputError(f"{where}: cannot be decompressed to its end: the record is damaged")
    return content


def _decoded(raw: bytes, charset: str, where: str) -> str:
    try:
        text = raw.decode(charset)
        text.encode()  # some charsets can write half of a surrogate pair
    except UnicodeDecodeError as error:
        if error.encoding == "utf-8":
            raise not_utf8(where, error) from error
        raise InputError(f"{where}: is not {charset}, as it says ({error.reason})") from error
    except (LookupError, ValueError) as error:
        raise InputError(f"{where}: its charset {charset!r} cannot be decoded ({error})") from error
    return text


WARC = Format(
    name="warc",
    source="`.warc`, `.wet`",
    documents="one a record of plain text (`conversion`, `resource`, `response` of status 200). HTML is refused: give "
    "WET files, or extract texts first. `--meta` names a header, or `url`, `date`, `id`, `language`; extra `warc`",
    read=_read,
    suffixes=(".warc", ".wet"),
)
