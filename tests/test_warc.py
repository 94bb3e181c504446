"""WARC and WET files that the real library writes, whole, damaged and hostile."""

import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import taskcatalog as tc
from helpers import library_texts, refusal, tree
from read_documents import COMPRESS, Document, documents
from taskcatalog.documents.batch import Problems
from taskcatalog.errors import InputError, SettingsError

warcwriter = pytest.importorskip("warcio.warcwriter", reason="the package warcio is not here")
StatusAndHeaders = pytest.importorskip("warcio.statusandheaders").StatusAndHeaders

TEXTS = [
    "a page\n",
    "",
    "na\u00efve \U0001f600 \x00 e\u0301",
    "WARC/1.0\r\nWARC-Type: conversion\r\n\r\n",
    *library_texts(20),
]


class Archive:
    """A file that the real library writes, record by record."""

    def __init__(self, path: Path, version: str = "1.0") -> None:
        self.path = path
        self._file = io.BytesIO()
        self._writer = warcwriter.WARCWriter(self._file, gzip=path.suffix == ".gz", warc_version=version)
        self._write(self._writer.create_warcinfo_record(path.name, {"software": "tests"}))

    def add(
        self, kind: str, payload: bytes, content_type: str = "text/plain", url: str = "http://a.org/x"
    ) -> "Archive":
        return self._add(url, kind, payload=io.BytesIO(payload), warc_content_type=content_type)

    def response(self, payload: bytes, *headers: tuple[str, str], status: str = "200 OK") -> "Archive":
        http = StatusAndHeaders(status, list(headers), protocol="HTTP/1.1")
        return self._add("http://a.org/r", "response", payload=io.BytesIO(payload), http_headers=http)

    def _add(self, url: str, kind: str, **content: object) -> "Archive":
        headers = {"WARC-Identified-Content-Language": "eng"} if kind == "conversion" else None
        self._write(self._writer.create_warc_record(url, kind, warc_headers_dict=headers, **content))
        return self

    def _write(self, record: Any) -> None:
        self._writer.write_record(record)
        record.raw_stream.close()  # a temporary file, which the library leaves open

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self.path.write_bytes(self._file.getvalue())


def write_wet(path: Path, texts: list[str] = TEXTS) -> Path:
    with Archive(path) as archive:
        for i, text in enumerate(texts):
            archive.add("conversion", text.encode(), url=f"http://a.org/{i}")
    return path


def read(path: Path, problems: Problems | None = None) -> list[str]:
    return [document.text for document in documents(path, problems=problems)]


@pytest.mark.parametrize("name", ["a.warc.wet.gz", "a.warc.wet", "a.wet.gz", "a.warc", "a.warc.gz"])
def test_wet_files(tmp_path: Path, name: str) -> None:
    found = list(documents(write_wet(tmp_path / name), meta="url"))
    assert [document.text for document in found] == TEXTS
    assert [document.place for document in found] == list(range(2, len(TEXTS) + 2)), "the first tells of the crawl"
    assert [document.meta for document in found] == [f"http://a.org/{i}" for i in range(len(TEXTS))]
    assert list(documents(tmp_path, meta="url")) == found, "in a folder, too"


@pytest.mark.parametrize("suffix", sorted(COMPRESS))
def test_compressed_as_one(tmp_path: Path, suffix: str) -> None:
    plain = write_wet(tmp_path / "a.warc")
    path = tmp_path / f"b.warc{suffix}"
    path.write_bytes(COMPRESS[suffix](plain.read_bytes()))
    assert read(path) == TEXTS


def test_headers_that_can_be_kept(tmp_path: Path) -> None:
    path = write_wet(tmp_path / "a.wet.gz", ["one"])

    def kept(name: str) -> str | None:
        [document] = documents(path, meta=name)
        return document.meta

    assert kept("language") == "eng"
    assert kept("date") == kept("WARC-Date") != kept("id") == kept("warc-record-id")
    assert kept("nothing") is None


def test_only_plain_text_is_taken(tmp_path: Path) -> None:
    text, plain = b"caf\xc3\xa9 <p>", ("Content-Type", "text/plain; charset=UTF-8")
    with Archive(tmp_path / "a.warc.gz", "1.1") as archive:
        archive.add("resource", text).add("resource", b"GIF89a", "image/gif").add("metadata", b"a: b")
        archive.add("conversion", b"%PDF", "application/pdf").add(
            "request", b"GET / HTTP/1.1\r\n\r\n", "application/http"
        )
        archive.response(text, plain).response(text, plain, status="404 Not Found")
        archive.response(b"caf\xe9 <p>", ("content-type", 'Text/Plain;Charset="ISO-8859-1"'))
        archive.response(b"3\r\ncaf\r\n6;x\r\n\xc3\xa9 <p>\r\n0\r\n\r\n", plain, ("Transfer-Encoding", "chunked"))
        archive.response(gzip.compress(text), plain, ("Content-Encoding", "GZIP"))
        archive.response(zlib.compress(text), plain, ("Content-Encoding", "deflate"))
        archive.response(b"\x89PNG", ("Content-Type", "image/png")).response(b"", plain).response(b"no type")
    assert [(d.text, d.place) for d in documents(tmp_path / "a.warc.gz")] == [
        *((text.decode(), place) for place in (2, 7, 9, 10, 11, 12)), ("", 14)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/xhtml+xml", "TEXT/HTML"])
def test_html_is_refused_and_says_what_to_do(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.warc"
    with Archive(path) as archive:
        archive.add("conversion", b"one").response(b"<p>two</p>", ("Content-Type", kind)).add("conversion", b"three")
    raw = path.read_bytes()
    offset = raw.rindex(b"WARC/1.0\r\n", 0, raw.index(b"<p>"))
    with pytest.raises(InputError, match=rf"a.warc: record 3 at byte {offset}: is HTML.*WET files, or extract"):
        read(path)
    problems = Problems("skip")
    assert read(path, problems) == ["one", "three"]
    assert problems.skipped == 1


BAD_RECORDS: dict[str, Callable[[Archive], Archive]] = {
    "is not UTF-8 .byte 0xe9 at offset 3": lambda a: a.add("conversion", b"caf\xe9"),
    "its charset 'klingon' cannot be decoded": lambda a: a.add("conversion", b"a", "text/plain; charset=klingon"),
    "its charset 'hex' cannot be decoded": lambda a: a.add("conversion", b"6161", "text/plain; charset=hex"),
    "its charset 'unicode_escape'": lambda a: a.add("resource", rb"\ud800", "text/plain;charset=unicode_escape"),
    "is not utf-16, as it says": lambda a: a.add("resource", b"abc", "text/plain; charset=utf-16"),
    "is compressed as 'br', which is not read": lambda a: a.response(
        b"\x0b", ("Content-Type", "text/plain"), ("Content-Encoding", "br")
    ),
    "cannot be decompressed .Error -3": lambda a: a.response(
        b"no gzip", ("Content-Type", "text/plain"), ("Content-Encoding", "gzip")
    ),
    "cannot be decompressed to its end": lambda a: a.response(
        gzip.compress(b"a" * 100)[:-9], ("Content-Type", "text/plain"), ("Content-Encoding", "gzip")
    ),
    "has more bytes than --max-document, which is 0.1MB": lambda a: a.add("conversion", b"a" * 100_001),
    "has more bytes than --max-document, which is 0.1MB: raise": lambda a: a.response(
        gzip.compress(b"a" * 10_000_000), ("Content-Type", "text/plain"), ("Content-Encoding", "gzip")
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD_RECORDS)
def test_bad_records_are_named_or_left_out(tmp_path: Path, message: str) -> None:
    path = tmp_path / "a.warc.gz"
    with Archive(path) as archive:
        BAD_RECORDS[message](archive.add("conversion", b"one")).add("conversion", b"three")
    where = r"a.warc.gz: record 3 at byte \d+ of what is compressed: "
    with pytest.raises(InputError, match=where + message) as caught:
        list(documents(path, max_document=100_000))
    assert "\n" not in str(caught.value)
    problems = Problems("skip")
    assert [d.text for d in documents(path, problems=problems, max_document=100_000)] == ["one", "three"]
    assert problems.skipped == 1


def test_a_record_that_is_no_document_may_be_long(tmp_path: Path) -> None:
    with Archive(tmp_path / "a.warc") as archive:
        archive.response(bytes(200_000), ("Content-Type", "video/mp4")).add("conversion", b"one")
    assert [d.text for d in documents(tmp_path / "a.warc", max_document=100_000)] == ["one"]


@pytest.mark.parametrize("name", ["a.wet", "a.wet.gz"])
def test_files_that_are_cut_off(tmp_path: Path, name: str) -> None:
    """Anywhere: what is in front of the cut is read, or a line says where it ends; nothing cut off is a document."""
    path = write_wet(tmp_path / name)
    whole = path.read_bytes()
    refused = 0
    for stop in np.random.default_rng(3).integers(1, len(whole), 80).tolist():
        path.write_bytes(whole[:stop])
        problems = Problems("skip")
        found = read(path, problems)
        assert found == TEXTS[: len(found)]
        refused += problems.skipped
        assert all(message.startswith(f"{path}: ") and "\n" not in message for message in problems.messages)
    assert refused > 60
    if name == "a.wet":
        start = whole.index(b"WARC/1.0", 1)
        path.write_bytes(whole[: start + 100])
        with pytest.raises(InputError, match=rf"a.wet: record 2 at byte {start}: cannot be read .* from there on"):
            read(path)


def test_flipped_bits(tmp_path: Path) -> None:
    """Of a compressed file checksums tell; of a plain one, wrong lengths."""
    path = write_wet(tmp_path / "a.wet.gz")
    whole = path.read_bytes()
    generator = np.random.default_rng(5)
    for place in generator.integers(0, len(whole), 60).tolist():
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(generator.integers(0, 8))
        path.write_bytes(flipped)
        problems = Problems("skip")
        found = read(path, problems)
        assert problems.skipped or found == TEXTS
        assert all(str(path) in message and "\n" not in message for message in problems.messages)


HEAD = "WARC/1.0\r\nWARC-Type: conversion\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "record 1 at byte 0: cannot be read .it does not begin with"),
        (b"\0" * 5_000, "record 1 at byte 0: cannot be read .it does not begin with"),
        (b"WARC/7.7" + b"x" * 500_000 + b"\r\n\r\n", "record 1 at byte 0: cannot be read .Invalid WARC record"),
        (f"{HEAD}\r\n".encode(), "its Content-Length is None"),
        (f"{HEAD}Content-Length: -1\r\n\r\n".encode(), "its Content-Length is -1"),
        (f"{HEAD}Content-Length: 1e3\r\n\r\n".encode(), "its Content-Length is 1e3"),
        (f"{HEAD}Content-Length: {'9' * 5_000}\r\n\r\n".encode(), "cannot be read"),
        (f"{HEAD}Content-Length: 9999999999\r\n\r\nab".encode(), "cannot be read .the file ends within it"),
        (f"{HEAD}Content-Length: 1\r\n\r\nab\r\n\r\n{HEAD}".encode(), "record 2 at byte 81: cannot be read"),
        (f"{HEAD}{'x: y' * 300_000}".encode(), "its head does not end"),
        ((HEAD + "x: y\r\n" * 300_000).encode(), "its head does not end"),
        (b"\r\n" * 600_000, "its head does not end"),
    ],
    ids=range(12),
)  # fmt: skip
def test_hostile_files_are_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.warc").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / "a.warc")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wet(tmp_path / "a.wet")
    for module in ("warcio", "warcio.exceptions", "warcio.recordloader"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError, match=r"a.wet: reading WARC needs warcio: pip install 'taskcatalog\[warc\]'"):
        read(path)


def test_tokenized_as_the_same_texts_from_jsonl(tmp_path: Path, demo_data: Path) -> None:
    """By any number of workers, with what --meta keeps; the finished store is opened."""
    (tmp_path / "in").mkdir()
    for i in range(3):
        write_wet(tmp_path / f"in/{i}.warc.wet.gz")
    lines = [json.dumps({"text": text, "url": f"http://a.org/{i}"}) for i, text in enumerate(TEXTS)] * 3
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    settings = tc.TokenizeSettings(meta="url")
    expected = tc.tokenize(tmp_path / "a.jsonl", tmp_path / "s1", str(demo_data), settings).store
    store = tc.tokenize(tmp_path / "in", tmp_path / "s2", str(demo_data), settings, workers=2).store
    assert store.read(0, store.n_sequences).tokens.tolist() == expected.read(0, expected.n_sequences).tokens.tolist()
    indexes = [pq.read_table(folder / "documents") for folder in (tmp_path / "s1", tmp_path / "s2")]
    assert indexes[0].select(["n_tokens", "meta"]) == indexes[1].select(["n_tokens", "meta"])
    before = tree(tmp_path / "s2")
    tc.tokenize(tmp_path / "in", tmp_path / "s2", str(demo_data), settings)
    assert tree(tmp_path / "s2") == before
    tc.tokenize(tmp_path / "in", tmp_path / "s3", str(demo_data), settings, workers=1)
    assert {k: v for k, v in tree(tmp_path / "s3").items() if k != "ledger.json"} == {
        k: v for k, v in before.items() if k != "ledger.json"
    }


def test_a_damaged_file_stops_the_command_in_one_line(tmp_path: Path, demo_data: Path) -> None:
    path = write_wet(tmp_path / "a.wet.gz")
    path.write_bytes(path.read_bytes()[:-2_000])
    line = refusal("tokenize", path, "--out", tmp_path / "s", "--tokenizer", demo_data)
    assert "a.wet.gz: record " in line
    assert "damaged from there on" in line


def test_places_are_documents(tmp_path: Path) -> None:
    path = write_wet(tmp_path / "a.wet", ["x " * 5_000_000, "two"])
    found: list[Document] = list(documents(path))
    assert [(len(d.text), d.place) for d in found] == [(10_000_000, 2), (3, 3)]
