"""Sources of documents, chunks of them, and what a format of sources says of itself.

A format is one file beside this one, and one line in ``formats``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from taskcatalog.documents.batch import Batch, Reading
from taskcatalog.settings import Settings


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one set of files that is read as a whole."""

    name: str
    """Path or URL of a file or folder, or the hub name of a dataset."""
    kind: str
    """The name of its format."""
    n_bytes: int
    """As stored; 0 where nobody says."""
    sniff: bool = False
    """Whether it was found in a folder, and may be something else than what its name says."""
    changed: int = 0
    """When a file here was changed last, in nanoseconds."""


@dataclass(frozen=True, kw_only=True)
class DatasetChoice(Settings):
    """Which part of a Hugging Face dataset."""

    subset: str | None = None
    split: str = "train"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive documents of a source, the whole of it by default."""

    source: Source
    n_bytes: int
    """Of the source, as stored."""
    start: int = 0
    """In what the format counts: bytes, row groups, rows or files."""
    stop: int | None = None
    first: int = 1
    """Number of the first line or row."""
    choice: DatasetChoice | None = None
    """Which part of a dataset it is of."""


def whole(source: Source, at_most: int, choice: DatasetChoice) -> list[Chunk]:  # noqa: ARG001 a format's cut
    """One chunk: for what can only be read from its start to its end."""
    return [Chunk(source, source.n_bytes)]


@dataclass(frozen=True, kw_only=True)
class Format:
    """How sources of one kind are known, cut and read."""

    name: str
    source: str
    """Which sources these are, and what a document of one is, for people: a row of the table in docs/corpora.md."""
    documents: str
    read: Callable[[Chunk, Reading], Iterator[Batch]]
    """The documents of a chunk. Raises InputError that names a bad one, unless it is to be skipped."""
    cut: Callable[[Source, int, DatasetChoice], list[Chunk]] = whole
    """Chunks of about so many bytes, which depend on nothing but the source. Raises InputError where it is damaged."""
    suffixes: tuple[str, ...] = ()
    """Of files, in small letters; one of a compression may follow."""
    is_doubtful: Callable[[str], bool] = lambda name: False  # noqa: ARG005
    """Whether a file of such a name may hold something else, if it was found in a folder: its source has ``sniff``."""
    detect: Callable[[str], bool] | None = None
    """For a format that is no single file: whether a folder, or a name that is nothing here, is of it."""
