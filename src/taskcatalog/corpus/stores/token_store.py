"""The token store: what ``tokenize`` writes.

::

    STORE/
      ledger.json                  stage "tokenize"; its facts describe the store
      tokenizer.json               the tokenizer, as it was given
      tokens/00000-00000.bin, …    the ids, little-endian uint16 or uint32, one file a part
      documents/00000-00000.parquet, …   for each document its first token (in its part), number of tokens,
                                   source file and place in it, and a field of its own, one file a part

Sequences run over the parts as if they were one file; the last sequence may be shorter.
"""

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taskcatalog.catalog.folder import Corpus
from taskcatalog.catalog.ledger import Ledger
from taskcatalog.catalog.schemas import id_dtype
from taskcatalog.catalog.vocabulary import Vocabulary
from taskcatalog.corpus.stores.id_file import IdFiles, side_by_side
from taskcatalog.corpus.stores.store import Sequences, uniform_ends
from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, is_file, open_to_read, size_of

STAGE = "tokenize"


class TokenStore:
    """A token store, memory-mapped where it is on this machine."""

    def __init__(self, path: AnyPath, sequence_length: int | None = None) -> None:
        """Raises InputError where the store is missing, unfinished or of the wrong size."""
        self.path = path
        self._ledger = Ledger.read(path)
        if not self._ledger.complete:
            raise InputError(f"{path}: is not finished: run the command that makes it again, to go on")
        facts, settings = self._ledger.facts, self._ledger.settings
        self.vocabulary: Vocabulary | None = Vocabulary.read(path / "tokenizer.json")
        self.corpus = Corpus(
            fingerprint=facts["fingerprint"],
            sequence_length=sequence_length or settings["sequence_length"],
            vocabulary_size=len(self.vocabulary),
            end_of_text=facts["end_of_text"],
        )
        side_by_side(_check_size, self._files(".bin"))
        self._ids = IdFiles([file for file, _ in self._files(".bin")], id_dtype(len(self.vocabulary)))
        self.n_tokens = len(self._ids)

    @property
    def n_sequences(self) -> int:
        return -(-self.n_tokens // self.corpus.sequence_length)

    def describe(self) -> dict[str, int]:
        """The size of the corpus, as a person would ask for it."""
        facts = self._ledger.facts
        return {"documents": facts["documents"], "source bytes": facts["source_bytes"], "tokens": self.n_tokens,
                "sequences": self.n_sequences, "vocabulary": self.corpus.vocabulary_size}  # fmt: skip

    def read(self, start: int, stop: int) -> Sequences:
        length = self.corpus.sequence_length
        first, last = start * length, min(stop * length, self.n_tokens)
        starts = self._document_starts
        if starts is not None:
            starts = starts[np.searchsorted(starts, first) : np.searchsorted(starts, last)] - first
        return Sequences(self._ids.read(first, last), uniform_ends(last - first, length), starts)

    @cached_property
    def _document_starts(self) -> NDArray[np.int64] | None:
        """First token of every document, in the whole store: 8 bytes a document. None without an index."""
        indexes = self._files(".parquet")
        if self.n_tokens and not indexes:  # converted from a store that knew of no documents
            return None
        starts = side_by_side(_document_starts, indexes)
        part_starts = [0, *self._ids.ends.tolist()][:-1]
        moved = [found + start for found, start in zip(starts, part_starts, strict=True)]
        return np.concatenate([np.zeros(0, np.int64), *moved])

    def _files(self, suffix: str) -> list[tuple[AnyPath, Any]]:
        files = [(path, facts) for path, facts in self._ledger.files().items() if path.suffix == suffix]
        return sorted(files, key=lambda file: file[0].name)


def _document_starts(described: tuple[AnyPath, Any]) -> NDArray[np.int64]:
    """First token of every document of a part, in the part."""
    try:
        with open_to_read(described[0]) as file:
            starts: NDArray[np.uint64] = pq.read_table(file, columns=["start"])["start"].to_numpy()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{described[0]}: cannot be read ({error}): restore it, or tokenize anew") from error
    return starts.astype(np.int64)


def _check_size(described: tuple[AnyPath, Any]) -> None:
    file, n_bytes = described[0], described[1]["bytes"]
    there = is_file(file)
    if not there or size_of(file) != n_bytes:
        found = f"has {size_of(file)} bytes" if there else "is missing"
        raise InputError(f"{file}: {found}, the ledger says {n_bytes} bytes: restore it, or tokenize anew")
