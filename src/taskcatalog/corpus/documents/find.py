"""Finds sources of documents: files, folders, patterns, URLs, Hugging Face datasets."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from upath import UPath

from taskcatalog.catalog.files import final_name
from taskcatalog.corpus.documents.compressed import SUFFIXES
from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, exists, is_file, is_folder, is_remote, locate, read_bytes, size_of

Kind = Literal["text", "jsonl", "parquet", "mds", "dataset"]
SNIFFED_BYTES = 8_192
"""The start of a file, in which a NUL byte means that it is no text."""
_DATASET_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_SAVED_DATASET = ("dataset_dict.json", "state.json")
_OURS = ("ledger.json", "catalog.json")
"""One of these is in every folder that a stage writes."""
_HINT = "give text files, JSONL, Parquet, folders of them, or the name of a dataset on the Hugging Face hub"


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one set of files that is read as a whole."""

    name: str
    """Path or URL of a file or folder, or the hub name of a dataset."""
    kind: Kind
    n_bytes: int
    """As stored; 0 where nobody says."""
    sniff: bool = False
    """Whether it may be no text, and counts for nothing then."""
    changed: int = 0
    """When a file here was changed last, in nanoseconds."""


def find_sources(given: Iterable[str | Path]) -> list[Source]:
    """The sources that are meant: files as given, and all that hold text below folders, sorted by path.

    A name may be a path, a URL that fsspec reads, a pattern with ``*``, a folder that ``datasets`` saved, an
    MDS folder, or a dataset on the hub (``org/name``). Below a folder hidden files are left out, and files
    without a known suffix if they hold a NUL byte (here) or are no ``.txt`` (behind a URL).

    Folders that taskcatalog wrote are left out below a folder. Whether there is a NUL byte in a file's first bytes is
    seen when it is read.

    Raises InputError where something does not exist or cannot be listed, or a folder has no file to read.
    """
    sources = [source for name in given for source in _meant_by(str(name))]
    if not sources:
        raise InputError(f"no source was given: {_HINT}")
    return sources


def _meant_by(name: str) -> Iterator[Source]:
    path = locate(name)
    if is_file(path):
        yield _file(path)
    elif is_folder(path):
        yield from _folder(path)
    elif glob.has_magic(name):
        found = _matches(path, name)
        if not found:
            raise InputError(f"{name}: matches no file")
        for match in found:
            yield from [_file(match)] if is_file(match) else _folder(match)
    elif _DATASET_NAME.fullmatch(name) and not is_remote(path):
        yield Source(name, "dataset", 0)
    else:
        raise InputError(f"{name}: does not exist: {_HINT}")


def _file(path: AnyPath) -> Source:
    changed = path.stat().st_mtime_ns if isinstance(path, Path) else 0
    return Source(str(path), kind_of(str(path)), size_of(path), changed=changed)


def kind_of(name: str) -> Kind:
    """What a file holds, by its suffix; ``.json`` counts as JSONL where it is compressed, as on the hub."""
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 names of millions of files: pathlib is slow
    compressed = suffix in SUFFIXES
    if compressed:
        suffix = os.path.splitext(stem)[1]  # noqa: PTH122
    if suffix in (".jsonl", ".ndjson") or (suffix == ".json" and compressed):
        return "jsonl"
    return "parquet" if suffix == ".parquet" else "text"


def _folder(path: AnyPath) -> Iterator[Source]:
    if exists(path / "index.json") and b'"shards"' in read_bytes(path / "index.json"):
        yield Source(str(path), "mds", 0)
        return
    if any(exists(path / name) for name in _SAVED_DATASET):
        yield Source(str(path), "dataset", 0)
        return
    if any(exists(path / name) for name in _OURS):
        raise InputError(f"{path}: is what taskcatalog made, and no folder of texts: {_HINT}")
    found = sorted(_files_here(path) if isinstance(path, Path) else _files_there(path), key=lambda file: file.name)
    if not found:
        raise InputError(f"{path}: holds no text files: {_HINT}")
    yield from found


def _files_here(folder: str | Path) -> Iterator[Source]:
    try:
        with os.scandir(folder) as scanned:
            entries = list(scanned)
            if any(entry.name in _OURS for entry in entries):
                return
            for entry in entries:
                if entry.name.startswith(".") or final_name(Path(entry.name)):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _files_here(entry.path)
                elif entry.is_file():
                    about = entry.stat()
                    sniff = not _is_known(entry.name)
                    yield Source(entry.path, kind_of(entry.name), about.st_size, sniff, about.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be listed: {error.strerror}") from error


def _files_there(folder: UPath) -> Iterator[Source]:
    for file in folder.rglob("*"):
        below = file.path.removeprefix(folder.path)
        hidden = any(part.startswith(".") for part in below.split("/"))
        if not hidden and is_file(file) and (_is_known(file.name) or file.suffix.lower() == ".txt"):
            yield _file(file)


def _is_known(name: str) -> bool:
    return name.lower().endswith(tuple(SUFFIXES)) or kind_of(name) != "text"


def _matches(path: AnyPath, pattern: str) -> list[AnyPath]:
    if isinstance(path, Path):
        return [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 pathlib's has no absolute patterns
    protocol = pattern.partition("://")[0]
    return [
        locate(f"{protocol}://{match}") if "://" not in match else locate(match)
        for match in sorted(path.fs.glob(path.path))
    ]
