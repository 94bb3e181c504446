"""The formats of documents: a new one is a file beside this one and a line in ``FORMATS``."""

import os
from collections.abc import Iterator

from taskcatalog.documents.batch import Batch, Reading
from taskcatalog.documents.compressed import SUFFIXES
from taskcatalog.documents.hub import DATASET
from taskcatalog.documents.json_file import JSON
from taskcatalog.documents.jsonl import JSONL
from taskcatalog.documents.mds import MDS
from taskcatalog.documents.parquet import PARQUET
from taskcatalog.documents.source import Chunk, DatasetChoice, Format, Source
from taskcatalog.documents.text import TEXT
from taskcatalog.documents.warc import WARC

FORMATS = (
    TEXT,
    JSONL,
    JSON,
    PARQUET,
    MDS,
    DATASET,
    WARC,
)
"""All; a file of no known suffix is a text."""
_BY_NAME = {each.name: each for each in FORMATS}
_BY_SUFFIX = {suffix: each for each in FORMATS for suffix in each.suffixes}


def format_of(source: Source) -> Format:
    return _BY_NAME[source.kind]


def format_of_file(name: str) -> Format:
    """What a file holds, by its suffix."""
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 names of millions of files: pathlib is slow
    if suffix in SUFFIXES:
        suffix = os.path.splitext(stem)[1]  # noqa: PTH122
    return _BY_SUFFIX.get(suffix, TEXT)


def format_of_other(name: str) -> Format | None:
    """The format that a folder is of, or a name that is nothing here; None where it is of none."""
    return next((each for each in FORMATS if each.detect and each.detect(name)), None)


def cut_source(source: Source, at_most: int, choice: DatasetChoice) -> list[Chunk]:
    """Chunks of about ``at_most`` bytes, where the format allows; what they are does not depend on
    anything but the source. Raises InputError where it is damaged."""
    format_ = format_of(source)
    if format_.detect is None and source.n_bytes <= 2 * at_most:
        return [Chunk(source, source.n_bytes)]
    return format_.cut(source, at_most, choice)


def read_chunk(chunk: Chunk, reading: Reading) -> Iterator[Batch]:
    """The documents of a chunk. Raises InputError that names the place of a bad one, unless it is to be skipped."""
    yield from format_of(chunk.source).read(chunk, reading)
