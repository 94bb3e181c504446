"""What every kind of token store offers to the stages that read one."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from taskcatalog.errors import InputError
from taskcatalog.runs.files import digest_of, folder_held
from taskcatalog.runs.ledger import Ledger
from taskcatalog.storage import AnyPath, stamp_of
from taskcatalog.stores.document import Document
from taskcatalog.stores.id_file import side_by_side
from taskcatalog.stores.identity import StoreIdentity
from taskcatalog.stores.options import StoreOptions
from taskcatalog.vocabulary import Vocabulary


@dataclass(frozen=True)
class Sequences:
    """Consecutive sequences of a store: sequence i is ``tokens[ends[i - 1] : ends[i]]``, from 0 for the first."""

    tokens: NDArray[np.uint16] | NDArray[np.uint32]
    ends: NDArray[np.int64]
    document_starts: NDArray[np.int64] | None
    """Where in ``tokens`` a document begins, ascending; None where the store does not know."""


class Store(Protocol):
    """A tokenized corpus: a row of sequences, of which any range is read."""

    path: AnyPath
    vocabulary: Vocabulary | None
    stamp: str
    """The state of its files when it was opened."""

    def stamp_now(self) -> str:
        """Their state now. Raises InputError where one is missing."""

    @property
    def identity(self) -> StoreIdentity:
        """What a catalog needs to know."""

    @property
    def n_sequences(self) -> int: ...

    @property
    def n_tokens(self) -> int:
        """Of all sequences together; a close estimate where the files do not say."""

    def read(self, start: int, stop: int) -> Sequences:
        """Sequences ``start`` to ``stop``, the last excluded. Raises InputError where the files are damaged."""


class OpenedStore(Store, Protocol):
    """A store that was opened from its files: a token of it leads back to where it comes from.

    Stages take it in place of the path of one.
    """

    options: StoreOptions
    """What it was opened with."""

    def sequence_at(self, token: int) -> tuple[int, int]:
        """The number of the sequence that a token is in, and the first token of that. Raises SettingsError for a token
        that is not there."""

    def document_at(self, token: int) -> Document:
        """The document that a token is in, as far as it is known.

        Raises UnknownDocumentError where nothing is, SettingsError for a token that is not there.
        """


@contextmanager
def unchanged(store: Store) -> Iterator[None]:
    """Holds a store while it is read, against commands that would write it.

    Raises ConflictError where one is writing it, InputError where its files are, at either end, not what they were
    when it was opened.
    """
    with ExitStack() as stack:
        if isinstance(store.path, Path) and Ledger.exists(store.path):
            stack.enter_context(folder_held(store.path))
        _check_unchanged(store)
        yield
        _check_unchanged(store)


def _check_unchanged(store: Store) -> None:
    if store.stamp_now() != store.stamp:
        raise InputError(f"{store.path}: was changed while it was read: what was made of it so far is given up")


def stamp_of_files(files: Sequence[AnyPath]) -> str:
    """Names the state of some files."""
    stamps = side_by_side(stamp_of, files)
    return digest_of([[path.name, stamp] for path, stamp in zip(files, stamps, strict=True)])


def uniform_ends(n_tokens: int, sequence_length: int) -> NDArray[np.int64]:
    """Ends of sequences of one length, the last one shorter if tokens run out."""
    ends = np.arange(sequence_length, n_tokens + sequence_length, sequence_length, dtype=np.int64)
    if len(ends):
        ends[-1] = n_tokens
    return ends


def starts_after(tokens: NDArray[Any], end_of_text: int | None) -> NDArray[np.int64] | None:
    """Where documents begin if each one ends with the end-of-text id."""
    return None if end_of_text is None else np.flatnonzero(tokens == end_of_text) + 1


def ranges(n: int, at_once: int) -> Iterator[tuple[int, int]]:
    """The numbers below ``n`` in ranges of ``at_once``: where each starts, and where it stops."""
    for start in range(0, n, at_once):
        yield start, min(start + at_once, n)


def check_ids(store: Store, sequences: Sequences, first_sequence: int) -> None:
    """Raises InputError if a token is beyond the vocabulary."""
    limit = store.identity.vocabulary_size
    if len(sequences.tokens) and int(sequences.tokens.max()) >= limit:
        at = int(np.argmax(sequences.tokens >= limit))
        sequence = int(np.searchsorted(sequences.ends, at, side="right"))
        token = at - (int(sequences.ends[sequence - 1]) if sequence else 0)
        raise InputError(
            f"{store.path}: sequence {first_sequence + sequence}, token {token}: id {sequences.tokens[at]} is beyond "
            f"the vocabulary of {limit} ids: is this the store's tokenizer, and is --id-dtype right?"
        )
