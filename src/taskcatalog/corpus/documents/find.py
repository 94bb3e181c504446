"""Finds sources of documents: files, folders, patterns, URLs, Hugging Face datasets."""

import glob
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from taskcatalog.corpus.documents.compressed import SUFFIXES
from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, exists, is_file, is_folder, is_remote, locate, read_bytes, size_of

Kind = Literal["text", "jsonl", "parquet", "mds", "dataset"]
_SNIFFED_BYTES = 8_192
_DATASET_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_SAVED_DATASET = ("dataset_dict.json", "state.json")
_HINT = "give text files, JSONL, Parquet, folders of them, or the name of a dataset on the Hugging Face hub"


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one set of files that is read as a whole."""

    name: str
    """Path or URL of a file or folder, or the hub name of a dataset."""
    kind: Kind
    n_bytes: int
    """As stored; 0 where nobody says."""


def find_sources(given: Iterable[str | Path]) -> list[Source]:
    """The sources that are meant: files as given, and all that hold text below folders, sorted by path.

    A name may be a path, a URL that fsspec reads, a pattern with ``*``, a folder that ``datasets`` saved, an
    MDS folder, or a dataset on the hub (``org/name``). Below a folder hidden files are left out, and files
    without a known suffix if they hold a NUL byte (here) or are no ``.txt`` (behind a URL).

    Raises InputError where something does not exist or a folder has no text.
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
    return Source(str(path), kind_of(path), size_of(path))


def kind_of(path: AnyPath) -> Kind:
    """What a file holds, by its suffix; ``.json`` counts as JSONL where it is compressed, as on the hub."""
    compressed = path.suffix.lower() in SUFFIXES
    suffix = (path.with_suffix("") if compressed else path).suffix.lower()
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
    found = [_file(file) for file in sorted(_files_below(path), key=str) if _is_text(file, path)]
    if not found:
        raise InputError(f"{path}: holds no text files: {_HINT}")
    yield from found


def _files_below(folder: AnyPath) -> Iterator[AnyPath]:
    if isinstance(folder, Path):
        return (file for file in folder.rglob("*") if file.is_file())
    return (file for file in folder.rglob("*") if is_file(file))


def _is_text(file: AnyPath, folder: AnyPath) -> bool:
    if any(part.startswith(".") for part in str(file)[len(str(folder)) :].split("/")):
        return False
    if file.suffix.lower() in SUFFIXES or kind_of(file) != "text":
        return True
    if not isinstance(file, Path):
        return file.suffix.lower() == ".txt"
    with file.open("rb") as opened:
        return b"\0" not in opened.read(_SNIFFED_BYTES)


def _matches(path: AnyPath, pattern: str) -> list[AnyPath]:
    if isinstance(path, Path):
        return [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 pathlib's has no absolute patterns
    protocol = pattern.partition("://")[0]
    return [
        locate(f"{protocol}://{match}") if "://" not in match else locate(match)
        for match in sorted(path.fs.glob(path.path))
    ]
