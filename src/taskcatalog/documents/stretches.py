"""Cuts sources into stretches that can be read apart from each other, and reads them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from taskcatalog.documents.batch import Batch, Reading
from taskcatalog.documents.compressed import SUFFIXES
from taskcatalog.documents.find import Source
from taskcatalog.documents.hub import dataset_stretches, read_dataset
from taskcatalog.documents.jsonl import is_in_lines, line_stretches, read_json, read_jsonl
from taskcatalog.documents.parquet import read_parquet, row_group_stretches
from taskcatalog.documents.text import read_text
from taskcatalog.settings import Settings
from taskcatalog.storage import locate


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive documents of a source, the whole of it by default."""

    source: Source
    n_bytes: int
    """Of the source, as stored."""
    start: int = 0
    """The first byte of JSONL, row group of Parquet, row or file of a dataset."""
    stop: int | None = None
    first: int = 1
    """Number of the first line or row."""


@dataclass(frozen=True, kw_only=True)
class DatasetChoice(Settings):
    """Which part of a Hugging Face dataset."""

    subset: str | None = None
    split: str = "train"


def cut_source(source: Source, at_most: int, choice: DatasetChoice) -> list[Stretch]:
    """Stretches of about ``at_most`` bytes, where the kind of source allows; what they are does not depend on
    anything but the source. Raises InputError where it is damaged."""
    if source.kind == "dataset":
        cuts = dataset_stretches(source.name, choice.subset, choice.split)
        return [Stretch(source, 0, start, stop) for start, stop in cuts]
    if source.kind not in ("jsonl", "json", "parquet") or source.n_bytes <= 2 * at_most:
        return [Stretch(source, source.n_bytes)]
    path = locate(source.name)
    if isinstance(path, Path) and path.suffix.lower() not in SUFFIXES and source.kind in ("jsonl", "json"):
        if source.kind == "json":
            if source.sniff or not is_in_lines(path):
                return [Stretch(source, source.n_bytes)]
            source = replace(source, kind="jsonl")
        lines = line_stretches(path, source.n_bytes, at_most)
        return [Stretch(source, stop - start, start, stop, first) for start, stop, first in lines]
    if source.kind == "parquet":
        groups = row_group_stretches(path, at_most)
        return [Stretch(source, n_bytes, start, stop, first) for start, stop, first, n_bytes in groups]
    return [Stretch(source, source.n_bytes)]


def read_stretch(stretch: Stretch, reading: Reading, choice: DatasetChoice) -> Iterator[Batch]:
    """The documents of a stretch. Raises InputError that names the place of a bad one, unless it is to be skipped."""
    name, start, stop = stretch.source.name, stretch.start, stretch.stop
    if stretch.source.kind == "jsonl":
        yield from read_jsonl(name, start, stop, stretch.first, reading)
    elif stretch.source.kind == "json":
        yield from read_json(stretch.source, reading)
    elif stretch.source.kind == "parquet":
        yield from read_parquet(name, start, stop, stretch.first, reading)
    elif stretch.source.kind == "dataset":
        assert stop is not None
        yield from read_dataset(name, choice.subset, choice.split, start, stop, reading)
    elif stretch.source.kind == "mds":
        from taskcatalog.documents.mds import read_mds  # compiled code, which the others do not wait for

        yield from read_mds(name, reading)
    else:
        yield from read_text(stretch.source, reading)
