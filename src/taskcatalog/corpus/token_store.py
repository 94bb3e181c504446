"""The token store: what ``tokenize`` writes.

::

    STORE/
      ledger.json                  stage "tokenize"; its facts describe the store
      tokenizer.json               the tokenizer, as it was given
      tokens/00000.bin, …          the ids, little-endian uint16 or uint32, one file a part
      documents/00000.parquet, …   for each document its first token (in its part), number of tokens,
                                   source file and place in it, one file a part

Sequences run over the parts as if they were one file; the last sequence may be shorter.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taskcatalog.catalog.folder import Corpus
from taskcatalog.catalog.ledger import Ledger
from taskcatalog.catalog.schemas import id_dtype
from taskcatalog.catalog.vocabulary import Vocabulary
from taskcatalog.corpus.store import Sequences, uniform_ends
from taskcatalog.errors import InputError

STAGE = "tokenize"


def documents_schema() -> pa.Schema:
    fields = [
        ("start", pa.uint64()),  # in the part
        ("n_tokens", pa.uint64()),
        ("source", pa.dictionary(pa.int32(), pa.string())),
        (
            "place",
            pa.uint64(),
        ),  # line of a JSONL file or row of a Parquet file, from 1; 0 for a file that is one document
    ]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])


class TokenStore:
    """A token store on disk, memory-mapped."""

    def __init__(self, path: Path, sequence_length: int | None = None) -> None:
        """Raises InputError where the store is missing, unfinished or of the wrong size."""
        self.path = path
        self._ledger = Ledger.read(path)
        if not self._ledger.complete:
            raise InputError(f"{path}: is not finished: run its 'taskcatalog tokenize' command again to go on")
        facts, settings = self._ledger.facts, self._ledger.settings
        self.vocabulary: Vocabulary | None = Vocabulary.read(path / "tokenizer.json")
        self.corpus = Corpus(
            fingerprint=facts["fingerprint"],
            sequence_length=sequence_length or settings["sequence_length"],
            vocabulary_size=len(self.vocabulary),
            end_of_text=facts["end_of_text"],
        )
        self._dtype = id_dtype(len(self.vocabulary)).newbyteorder("<")
        self._parts = [self._map(file, facts["bytes"]) for file, facts in self._files(".bin")]
        self._part_ends = np.cumsum([len(part) for part in self._parts], dtype=np.int64)
        self.n_tokens = int(self._part_ends[-1]) if len(self._parts) else 0

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
        inside = starts[np.searchsorted(starts, first) : np.searchsorted(starts, last)]
        return Sequences(self._tokens(first, last), uniform_ends(last - first, length), inside - first)

    @cached_property
    def _document_starts(self) -> NDArray[np.int64]:
        """First token of every document, in the whole store: 8 bytes a document."""
        part_starts = self._part_ends - [len(part) for part in self._parts]
        starts = [
            pq.read_table(file, columns=["start"])["start"].to_numpy().astype(np.int64) + part_start
            for (file, _), part_start in zip(self._files(".parquet"), part_starts, strict=True)
        ]
        return np.concatenate(starts) if starts else np.zeros(0, np.int64)

    def _tokens(self, first: int, last: int) -> NDArray[Any]:
        pieces = []
        for part, end in zip(self._parts, self._part_ends.tolist(), strict=True):
            start = end - len(part)
            if start < last and first < end:
                pieces.append(part[max(first - start, 0) : last - start])
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.zeros(0, self._dtype)

    def _files(self, suffix: str) -> list[tuple[Path, Any]]:
        return sorted((path, facts) for path, facts in self._ledger.files().items() if path.suffix == suffix)

    def _map(self, file: Path, n_bytes: int) -> NDArray[Any]:
        if not file.is_file() or file.stat().st_size != n_bytes:
            there = f"has {file.stat().st_size} bytes" if file.is_file() else "is missing"
            raise InputError(f"{file}: {there}, the ledger says {n_bytes} bytes: restore it, or tokenize anew")
        return np.memmap(file, self._dtype, "r") if n_bytes else np.zeros(0, self._dtype)
