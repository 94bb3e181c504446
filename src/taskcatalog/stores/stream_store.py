"""A store whose ids run as one stream, cut into sequences of one length: flat files, Megatron's, datatrove's."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from taskcatalog.storage import AnyPath
from taskcatalog.stores.document import Document, UnknownDocumentError, between_ends, check_token
from taskcatalog.stores.fingerprint import fingerprint_of_files
from taskcatalog.stores.format import StoreOptions
from taskcatalog.stores.identity import StoreIdentity
from taskcatalog.stores.store import Sequences, ranges, stamp_of_files, starts_after, uniform_ends
from taskcatalog.vocabulary import Vocabulary

DEFAULT_SEQUENCE_LENGTH = 2_048
_IDS_AT_ONCE = 1 << 22

DocumentStarts = Callable[[], NDArray[np.int64] | None]


class Ids(Protocol):
    """A row of ids, of which any range is read as uint16 or uint32."""

    dtype: np.dtype[Any]
    """How they are stored."""

    def read(self, start: int, stop: int) -> NDArray[Any]: ...


class StreamStore:
    """Ids in files that describe neither their tokenizer nor, most of them, their sequences."""

    options = StoreOptions()

    def __init__(
        self,
        path: AnyPath,
        ids: Ids,
        n_tokens: int,
        *,
        sequence_length: int | None,
        vocabulary: Vocabulary | None,
        files: Sequence[AnyPath],
        layout: str,
        document_starts: DocumentStarts = lambda: None,
    ) -> None:
        """The first ``n_tokens`` of ``ids``, in sequences of 2,048 if no length is given.

        ``files`` and their ``layout`` name the corpus. ``document_starts`` gives tokens of the stream,
        ascending, or None where only end-of-text ids tell them.
        """
        self.path = path
        self.vocabulary = vocabulary
        self.n_tokens = n_tokens
        self._ids = ids
        self._sequence_length = sequence_length or DEFAULT_SEQUENCE_LENGTH
        self._files, self._layout = files, layout
        self.stamp = self.stamp_now()
        self._read_document_starts = document_starts

    def stamp_now(self) -> str:
        return stamp_of_files(self._files)

    @cached_property
    def identity(self) -> StoreIdentity:
        """Without a tokenizer this reads all ids that are stored in more than 16 bits, for the largest."""
        return StoreIdentity(
            fingerprint=fingerprint_of_files(self._files, self._layout),
            sequence_length=self._sequence_length,
            vocabulary_size=len(self.vocabulary) if self.vocabulary else largest_vocabulary(self._ids, self.n_tokens),
            end_of_text=self.vocabulary.end_of_text if self.vocabulary else None,
        )

    @property
    def n_sequences(self) -> int:
        return -(-self.n_tokens // self._sequence_length)

    def read(self, start: int, stop: int) -> Sequences:
        begin, end = (min(i * self._sequence_length, self.n_tokens) for i in (start, stop))
        tokens = self._ids.read(begin, end)
        starts = self._document_starts
        if starts is None:
            inside = starts_after(tokens, self.vocabulary.end_of_text if self.vocabulary else None)
        else:
            inside = starts[np.searchsorted(starts, begin) : np.searchsorted(starts, end)] - begin
        return Sequences(tokens, uniform_ends(len(tokens), self._sequence_length), inside)

    def sequence_at(self, token: int) -> tuple[int, int]:
        check_token(self.path, token, self.n_tokens)
        sequence = token // self._sequence_length
        return sequence, sequence * self._sequence_length

    def document_at(self, token: int) -> Document:
        """From the files' own index; else, from the end-of-text ids around, without its number."""
        check_token(self.path, token, self.n_tokens)
        starts = self._document_starts
        if starts is not None and len(starts) and starts[0] <= token:
            index = int(np.searchsorted(starts, token, side="right")) - 1
            first, end = int(starts[index]), int(starts[index + 1]) if index + 1 < len(starts) else self.n_tokens
            return Document(index=index, first_token=first, n_tokens=end - first)
        if self.vocabulary is None or self.vocabulary.end_of_text is None:
            raise UnknownDocumentError(
                f"{self.path}: does not say where documents begin: --tokenizer tells the end-of-text id that ends each"
            )
        return between_ends(self._ids.read, self.n_tokens, token, self.vocabulary.end_of_text)

    @cached_property
    def _document_starts(self) -> NDArray[np.int64] | None:
        return self._read_document_starts()


def largest_vocabulary(ids: Ids, n_tokens: int) -> int:
    """Without a tokenizer: all that 8 or 16 bits can say, or what occurs among ids of more."""
    if ids.dtype.itemsize <= 2:
        return int(np.iinfo(ids.dtype).max) + 1
    largest = (int(ids.read(a, b).max(initial=0)) for a, b in ranges(n_tokens, _IDS_AT_ONCE))
    return 1 + max(largest, default=0)
