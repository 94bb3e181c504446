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

import hashlib
import threading
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taskcatalog.errors import InputError
from taskcatalog.runs.destination import Destination
from taskcatalog.runs.files import written_atomically
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts, problem_of, wrong_size
from taskcatalog.runs.stage import NUMBER, Stage
from taskcatalog.storage import AnyPath, is_remote, open_to_read
from taskcatalog.stores.document import Document, check_token
from taskcatalog.stores.format import StoreFormat, StoreOptions
from taskcatalog.stores.id_file import IdFiles, side_by_side
from taskcatalog.stores.identity import StoreIdentity
from taskcatalog.stores.store import Sequences, uniform_ends
from taskcatalog.tables.names import id_dtype
from taskcatalog.tables.parquet import numpy_column
from taskcatalog.vocabulary import Vocabulary

_PARTS = (NUMBER, f"{NUMBER}-{NUMBER}")
_FILES = [file for part in _PARTS for file in (f"tokens/{part}.bin", f"documents/{part}.parquet")]
STAGE = Stage("tokenize", ("tokenizer.json", *_FILES))
_TOKENIZER_PART = "tokenizer"
_RECENT_PARTS = 8
_REMEDY = "restore it, or tokenize anew"


class _IdPart:
    """A file of ids, and what the ledger says of it."""

    def __init__(self, file: AnyPath, facts: Mapping[str, Any]) -> None:
        self.file = file
        self._facts = facts
        self._is_fine = is_remote(file)  # what comes over a network has checksums there
        self._lock = threading.Lock()

    def check_size(self) -> None:
        """Raises InputError where the file is missing or cut off."""
        if problem := wrong_size(self.file, self._facts):
            raise InputError(f"{problem}: {_REMEDY}")

    def check_content(self) -> None:
        """Raises InputError where the file was changed; looks once, at the speed of memory."""
        with self._lock:
            if not self._is_fine and (problem := problem_of(self.file, self._facts, quickly=True)):
                raise InputError(f"{problem}: {_REMEDY}")
            self._is_fine = True


class TokenStore:
    """A token store, memory-mapped where it is on this machine."""

    options = StoreOptions()

    def __init__(self, path: AnyPath, sequence_length: int | None = None) -> None:
        """Raises InputError where the store is missing, unfinished or of the wrong size."""
        self.path = path
        self._ledger = Ledger.read(path)
        if not self._ledger.complete:
            raise InputError(f"{path}: is not finished: run the command that makes it again, to go on")
        self.stamp = self._ledger.digest
        facts, settings = self._ledger.facts, self._ledger.settings
        self.vocabulary: Vocabulary | None = Vocabulary.read(path / "tokenizer.json")
        if self.vocabulary.sha256 != self._ledger.inputs["tokenizer"]:
            raise InputError(f"{path / 'tokenizer.json'}: is not the tokenizer of this store: restore it")
        self.identity = StoreIdentity(
            fingerprint=facts["fingerprint"],
            sequence_length=sequence_length or settings["sequence_length"],
            vocabulary_size=len(self.vocabulary),
            end_of_text=facts["end_of_text"],
        )
        self._parts_of_ids = [_IdPart(file, facts) for file, facts in self._files(".bin")]
        side_by_side(_IdPart.check_size, self._parts_of_ids)
        self._ids = IdFiles([part.file for part in self._parts_of_ids], id_dtype(len(self.vocabulary)))
        self._indexes = [file for file, _ in self._files(".parquet")]
        self._recent: dict[int, NDArray[np.int64]] = {}
        self._lock = threading.Lock()
        self._index_of_part = lru_cache(1)(lambda part: _read_index(self._indexes[part], None))
        self.n_tokens = len(self._ids)

    def stamp_now(self) -> str:
        return Ledger.read(self.path).digest

    @property
    def n_sequences(self) -> int:
        return -(-self.n_tokens // self.identity.sequence_length)

    def describe(self) -> dict[str, int]:
        """The size of the corpus, as a person would ask for it."""
        facts = self._ledger.facts
        return {"documents": facts["documents"], "source bytes": facts["source_bytes"], "tokens": self.n_tokens,
                "sequences": self.n_sequences, "vocabulary": self.identity.vocabulary_size}  # fmt: skip

    def read(self, start: int, stop: int) -> Sequences:
        length = self.identity.sequence_length
        first, end = start * length, min(stop * length, self.n_tokens)
        in_part, to_part = np.searchsorted(self._ids.ends, [first, max(first, end - 1)], side="right")
        for part in self._parts_of_ids[in_part : to_part + 1]:
            part.check_content()
        return Sequences(self._ids.read(first, end), uniform_ends(end - first, length), self._starts(first, end))

    def sequence_at(self, token: int) -> tuple[int, int]:
        check_token(self.path, token, self.n_tokens)
        sequence = token // self.identity.sequence_length
        return sequence, sequence * self.identity.sequence_length

    def document_at(self, token: int) -> Document:
        check_token(self.path, token, self.n_tokens)
        part, row = self._part_and_row(token)
        begin = int(self._ids.ends[part - 1]) if part else 0
        [known] = self._index_of_part(part).slice(row, 1).to_pylist()
        return Document(
            index=self._rows_before_part[part] + row,
            source=known["source"],
            place=known["place"],
            meta=known["meta"],
            first_token=begin + known["start"],
            n_tokens=known["n_tokens"],
        )

    def _part_and_row(self, token: int) -> tuple[int, int]:
        """Where in the index the document is that a token is in: the last one that starts there or before."""
        for part in range(int(np.searchsorted(self._ids.ends, token, side="right")), -1, -1):
            begin = int(self._ids.ends[part - 1]) if part else 0
            row = int(np.searchsorted(self._starts_of_part(part), token - begin, side="right")) - 1
            if row >= 0:
                return part, row
        raise InputError(f"{self._indexes[0]}: has no document that token {token} is in: {_REMEDY}")

    @cached_property
    def _rows_before_part(self) -> list[int]:
        """How many documents there are before those of each part."""
        return [0, *accumulate(side_by_side(_rows_of_index, self._indexes))]

    def _starts(self, first: int, stop: int) -> NDArray[np.int64] | None:
        """The tokens, counted from ``first``, where a document begins."""
        found = [np.zeros(0, np.int64)]
        for part, begin in self._parts(first, stop):
            starts = self._starts_of_part(part)
            start, length = _within(starts, first - begin, stop - begin)
            found.append(starts[start : start + length] + (begin - first))
        return np.concatenate(found)

    def _parts(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Number and first token of each part that may have documents that begin there."""
        for part in range(int(np.searchsorted(self._ids.ends, first)), len(self._indexes)):
            begin = int(self._ids.ends[part - 1]) if part else 0
            if begin >= stop:
                return
            yield part, begin

    def _starts_of_part(self, part: int) -> NDArray[np.int64]:
        """First tokens of a part's documents; of the parts read last they are kept, 8 bytes a document."""
        with self._lock:
            starts = self._recent.pop(part, None)
            if starts is None:
                starts = numpy_column(_read_index(self._indexes[part], ["start"]), "start").astype(np.int64)
            self._recent[part] = starts
            if len(self._recent) > _RECENT_PARTS:
                del self._recent[next(iter(self._recent))]
            return starts

    def _files(self, suffix: str) -> list[tuple[AnyPath, Any]]:
        files = [(path, facts) for path, facts in self._ledger.files().items() if path.suffix == suffix]
        return sorted(files, key=lambda file: file[0].name)


def _read_index(file: AnyPath, columns: list[str] | None) -> pa.Table:
    try:
        with open_to_read(file) as opened:
            # pq.read_table would import pyarrow.dataset, and that pandas.
            return pq.ParquetFile(opened, page_checksum_verification=True).read(columns)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read ({error}): {_REMEDY}") from error


def _rows_of_index(file: AnyPath) -> int:
    try:
        with open_to_read(file) as opened:
            return int(pq.read_metadata(opened).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read ({error}): {_REMEDY}") from error


def _within(starts: NDArray[np.int64], first: int, stop: int) -> tuple[int, int]:
    """Where the starts that are ``first`` or more and less than ``stop`` begin, and how many they are."""
    begin, end = np.searchsorted(starts, [first, stop])
    return int(begin), int(end - begin)


def keep_tokenizer(ledger: Ledger, vocabulary: Vocabulary, to: Destination) -> None:
    """Puts the tokenizer into a token store that is being written, unless it is there."""
    if _TOKENIZER_PART in ledger.parts:
        return
    kept = ledger.folder / "tokenizer.json"
    with written_atomically(kept) as temporary:
        temporary.write_bytes(vocabulary.content)
    ledger.finish_part(_TOKENIZER_PART, to.finished([kept], Facts()))


def fingerprint_of(ledger: Ledger) -> str:
    """What names a token store whose parts are all written: its tokenizer and its ids, in their order."""
    digest = hashlib.sha256(ledger.inputs["tokenizer"].encode())
    for _, part in sorted(ledger.parts.items()):
        for name, facts in part.files.items():
            if name.endswith(".bin"):
                digest.update(facts["sha256"].encode())
    return digest.hexdigest()


def is_token_store(path: AnyPath) -> bool:
    return Ledger.exists(path) and Ledger.read(path).stage == STAGE.name


def _open(path: AnyPath, options: StoreOptions, vocabulary: Vocabulary | None) -> TokenStore:  # noqa: ARG001
    return TokenStore(path, options.sequence_length)


TOKEN_STORE = StoreFormat(
    name="a token store",
    found_by="`ledger.json`",
    notes="made by `tokenize`; has its tokenizer",
    detect=lambda path, _: is_token_store(path),
    open=_open,
    refuses={
        "tokenizer": "a token store has its own tokenizer",
        "id_dtype": "a token store has its own type of ids",
        "column": "a token store has no columns",
    },
)
