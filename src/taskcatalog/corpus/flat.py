"""A flat file of ids: little-endian uint16 or uint32, nothing else, as many training codes write it."""

from pathlib import Path

import numpy as np

from taskcatalog.catalog.folder import Corpus
from taskcatalog.catalog.vocabulary import Vocabulary
from taskcatalog.corpus.fingerprint import fingerprint_of_files
from taskcatalog.corpus.store import Sequences, starts_after, uniform_ends
from taskcatalog.errors import InputError


class FlatStore:
    """One ``.bin`` file, memory-mapped, cut into sequences of one length."""

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[np.uint16] | np.dtype[np.uint32],
        sequence_length: int,
        vocabulary: Vocabulary | None,
    ) -> None:
        """Raises InputError where the file does not hold a whole number of ids."""
        size = path.stat().st_size
        if size % dtype.itemsize:
            raise InputError(
                f"{path}: has {size} bytes, which is no whole number of {dtype.name} ids: "
                "the file is cut off, or --id-dtype is wrong"
            )
        self.path = path
        self.vocabulary = vocabulary
        self._tokens = np.memmap(path, dtype.newbyteorder("<"), "r") if size else np.zeros(0, dtype)
        self.corpus = Corpus(
            fingerprint=fingerprint_of_files([path], f"flat {dtype.name}"),
            sequence_length=sequence_length,
            vocabulary_size=len(vocabulary) if vocabulary else self._largest_vocabulary(),
            end_of_text=vocabulary.end_of_text if vocabulary else None,
        )

    @property
    def n_sequences(self) -> int:
        return -(-len(self._tokens) // self.corpus.sequence_length)

    @property
    def n_tokens(self) -> int:
        return len(self._tokens)

    def read(self, start: int, stop: int) -> Sequences:
        length = self.corpus.sequence_length
        tokens = self._tokens[start * length : stop * length]
        return Sequences(tokens, uniform_ends(len(tokens), length), starts_after(tokens, self.corpus.end_of_text))

    def _largest_vocabulary(self) -> int:
        """Without a tokenizer: all that 16 bits can say, or what occurs among ids of 32 bits."""
        if self._tokens.dtype.itemsize == 2:
            return 2**16
        return int(self._tokens.max(initial=0)) + 1
