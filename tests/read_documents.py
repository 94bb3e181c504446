"""Real texts in files of every kind, and all documents that are read from them."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taskcatalog.documents.batch import MAX_DOCUMENT, Problems, Reading
from taskcatalog.documents.find import find_sources
from taskcatalog.documents.formats import cut_source, read_chunk
from taskcatalog.documents.source import DatasetChoice

TEXTS = [
    "import os\n",
    "",
    "na\u00efve \U0001f600 \x00 e\u0301",
    "x" * 5_000,
    *(f"line {i} of many" for i in range(300)),
]
JSONL = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS)).encode()


def zstd(raw: bytes) -> bytes:
    compressed: bytes = pa.Codec("zstd").compress(raw, asbytes=True)
    return compressed


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstd,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


@dataclass
class Document:
    text: str
    source: str
    place: int
    meta: str | None


def never(_: str) -> None:
    """No text here is so long that it would be cut."""


def documents(
    path: Path | str,
    field: str = "text",
    at_most: int = 1 << 30,
    meta: str | None = None,
    problems: Problems | None = None,
    max_document: int = MAX_DOCUMENT,
) -> Iterator[Document]:
    """All documents of a source, chunk by chunk."""
    reading = Reading(field, meta, never, problems or Problems(), max_document)
    for source in find_sources([path]):
        for chunk in cut_source(source, at_most, DatasetChoice()):
            for batch in read_chunk(chunk, reading):
                for text, place, kept in zip(batch.texts, batch.places, batch.metas, strict=True):
                    yield Document(text, batch.source, place, kept)


def texts(path: Path | str, field: str = "text") -> list[str]:
    return [document.text for document in documents(path, field)]


def names(given: list[str | Path]) -> list[str]:
    return [Path(source.name).name for source in find_sources(given)]


def write_parquet(path: Path) -> Path:
    pq.write_table(pa.table({"id": range(len(TEXTS)), "text": TEXTS}), path, row_group_size=100)
    return path
