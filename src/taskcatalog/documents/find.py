"""Finds sources of documents: files, folders, patterns, URLs, Hugging Face datasets."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from taskcatalog.documents.archives import UNPACK, is_archive
from taskcatalog.documents.compressed import SUFFIXES
from taskcatalog.errors import InputError
from taskcatalog.runs.files import final_name
from taskcatalog.runs.outputs import OURS
from taskcatalog.runs.progress import note
from taskcatalog.storage import AnyPath, exists, is_file, is_folder, is_remote, locate, read_bytes, size_of

if TYPE_CHECKING:
    from upath import UPath

Kind = Literal["text", "jsonl", "json", "parquet", "mds", "dataset"]
SNIFFED_BYTES = 8_192
"""The start of a file, in which a NUL byte means that it is no text."""
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
    sniff: bool = False
    """Whether it was found in a folder and may be no text, and counts for nothing then; or JSON that holds no
    documents, and is a text then."""
    changed: int = 0
    """When a file here was changed last, in nanoseconds."""


def find_sources(given: Iterable[str | Path], follow_links: bool = False) -> list[Source]:
    """The sources that are meant: files as given, and all that hold text below folders, sorted by path.

    A name may be a path, a URL that fsspec reads, a pattern with ``*``, a folder that ``datasets`` saved, an
    MDS folder, or a dataset on the hub (``org/name``). Below a folder hidden files are left out, archives, files
    without a known suffix if they hold a NUL byte (here) or are no ``.txt`` (behind a URL), and links, unless they
    are to be followed: then a link to what is there anyway counts for nothing. What is given twice is taken once.

    Folders that taskcatalog wrote are left out below a folder. Whether there is a NUL byte in a file's first bytes is
    seen when it is read.

    Raises InputError where something does not exist or cannot be listed, or a folder has no file to read.
    """
    sources: dict[str, Source] = {}
    again: list[str] = []
    for name in given:
        found = list(_meant_by(str(name), follow_links))
        again += [source.name for source in found if sources.setdefault(_identity(source), source) is not source]
    if not sources:
        raise InputError(f"no source was given: {_HINT}")
    if again:
        note(f"{_counted(again)} given more than once: taken once")
    return list(sources.values())


def _identity(source: Source) -> str:
    return source.name if "://" in source.name or source.kind == "dataset" else os.path.abspath(source.name)  # noqa: PTH100


def _counted(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{len(names):,} files, the first of them {names[0]}, are"


def _meant_by(name: str, follow_links: bool) -> Iterator[Source]:
    path = locate(name)
    if is_file(path):
        yield _file(path)
    elif is_folder(path):
        yield from _folder(path, follow_links)
    elif isinstance(path, Path) and path.exists():
        raise InputError(f"{name}: is a pipe, a socket or a device, which cannot be read twice: give a file")
    elif glob.has_magic(name):
        found = _matches(path, name)
        if not found:
            raise InputError(f"{name}: matches no file")
        for match in found:
            yield from [_file(match)] if is_file(match) else _folder(match, follow_links)
    elif _DATASET_NAME.fullmatch(name) and not is_remote(path):
        yield Source(name, "dataset", 0)
    else:
        raise InputError(f"{name}: does not exist: {_HINT}")


def _file(path: AnyPath) -> Source:
    if is_archive(path.name):
        raise InputError(f"{path}: {UNPACK}")
    changed = path.stat().st_mtime_ns if isinstance(path, Path) else 0
    return Source(str(path), kind_of(str(path)), size_of(path), changed=changed)


def kind_of(name: str) -> Kind:
    """What a file holds, by its suffix."""
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 names of millions of files: pathlib is slow
    if suffix in SUFFIXES:
        suffix = os.path.splitext(stem)[1]  # noqa: PTH122
    return _KINDS.get(suffix, "text")


_KINDS: dict[str, Kind] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}


def _folder(path: AnyPath, follow_links: bool) -> Iterator[Source]:
    if exists(path / "index.json") and b'"shards"' in read_bytes(path / "index.json"):
        yield Source(str(path), "mds", 0)
        return
    if any(exists(path / name) for name in _SAVED_DATASET):
        yield Source(str(path), "dataset", 0)
        return
    if any(exists(path / name) for name in OURS):
        raise InputError(f"{path}: is what taskcatalog made, and no folder of texts: {_HINT}")
    links: list[str] = []
    found = list(_files_here(path, links) if isinstance(path, Path) else _files_there(path))
    if links and follow_links:
        found += _behind_links(str(path), found, links)
    elif links:
        note(f"{_counted(links)} left out: --follow-links reads what links point to")
    files = sorted((file for file in found if not is_archive(file.name)), key=lambda file: file.name)
    if len(files) < len(found):
        archives = sorted(file.name for file in found if is_archive(file.name))
        note(f"{_counted(archives)} left out: unpack archives to have what they hold")
    if not files:
        raise InputError(f"{path}: holds no text files: {_HINT}")
    yield from files


def _behind_links(folder: str, found: list[Source], links: list[str]) -> Iterator[Source]:
    """The files that links lead to and that were not found, each once, named by the link.

    Links that lead in a circle lead to what was found.
    """
    known = {os.path.realpath(source.name) for source in found}
    folders = {os.path.realpath(folder)}
    waiting = sorted(links)
    while waiting:
        link = waiting.pop(0)
        target = Path(os.path.realpath(link))
        more: list[str] = []
        behind: list[Source] = []
        if target.is_file():
            behind = [_found(link, target.stat().st_size, target.stat().st_mtime_ns)]
        elif target.is_dir() and folders.isdisjoint(map(str, (target, *target.parents))):
            folders.add(str(target))
            behind = list(_files_here(link, more))
        waiting += sorted(more)
        for source in sorted(behind, key=lambda source: source.name):
            if (real := os.path.realpath(source.name)) not in known:
                known.add(real)
                yield source


def _files_here(folder: str | Path, links: list[str]) -> Iterator[Source]:
    """All files below a folder but hidden ones; ``links`` gets the links there."""
    try:
        with os.scandir(folder) as scanned:
            entries = list(scanned)
            if any(entry.name in OURS for entry in entries):
                return
            for entry in entries:
                if entry.name.startswith(".") or final_name(Path(entry.name)):
                    continue
                if entry.is_symlink():
                    links.append(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    yield from _files_here(entry.path, links)
                elif entry.is_file(follow_symlinks=False):
                    about = entry.stat()
                    yield _found(entry.path, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be listed: {error.strerror}") from error


def _found(path: str, n_bytes: int, changed: int = 0) -> Source:
    kind = kind_of(path)
    return Source(path, kind, n_bytes, kind == "json" or not _is_known(path), changed)


def _files_there(folder: "UPath") -> Iterator[Source]:
    for file in folder.rglob("*"):
        below = file.path.removeprefix(folder.path)
        hidden = any(part.startswith(".") for part in below.split("/"))
        if not hidden and is_file(file) and (_is_known(file.name) or file.suffix.lower() == ".txt"):
            yield _found(str(file), size_of(file))


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
