"""Ids packed into integers whose order is the order of the ids: of n-grams, prompts and prefixes alike.

All ids of a vocabulary are written in the same number of bits, the first one highest. Shapes: ids (rows, n); packed
(rows,), one unsigned number a row, or several where 64 bits do not hold n ids. Nothing here looks at whether an id is
within its bits.

Counting splits an n-gram: its first id is its *head*, and the ids behind it, packed, are its *payload*: one number of
32 or 64 bits or, where they are wider than that (5-grams of a vocabulary of 65,536 or more), two numbers, of which
``low`` has the last 64 bits. Grams are sorted by putting each into the bucket of its head and sorting the payloads in
each bucket. ``counting.kernels`` packs and unpacks payloads, in compiled loops, as ``GramLayout`` says.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskcatalog.errors import SettingsError

_WORD_BITS = 64
_MOST_PAYLOAD_BITS = 2 * _WORD_BITS


def bits_of(n_ids: int) -> int:
    """Bits of one of the ids below ``n_ids``."""
    return max(1, (n_ids - 1).bit_length())


def packed(ids: NDArray[Any], bits: int) -> list[NDArray[np.uint64]]:
    """Each row as one number or several, the first of which decides first: each holds as many ids as 64 bits do."""
    in_word = _WORD_BITS // bits
    words = []
    for start in range(0, ids.shape[1], in_word):
        word = np.zeros(len(ids), np.uint64)
        for column in ids.T[start : start + in_word]:
            word = (word << np.uint64(bits)) | column.astype(np.uint64)
        words.append(word)
    return words


def searchable(*some: NDArray[Any]) -> list[NDArray[Any]]:
    """Each row of some matrices of ids as one value, a number or else bytes, to be sorted and looked up together."""
    n, bits = some[0].shape[1], bits_of(1 + max(int(ids.max()) for ids in some))
    if n * bits <= _WORD_BITS:
        return [packed(ids, bits)[0] for ids in some]
    return [np.ascontiguousarray(ids, ">u4").view(f"S{4 * n}").ravel() for ids in some]


@dataclass(frozen=True)
class GramLayout:
    """How n-grams of one n, at least 2, over one vocabulary are split into head and payload.

    Where a sequence ends, the ids that are missing are the *end id*, one more than the largest id: so the longest
    grams begin at every token, and all shorter ones are prefixes of them. Raises SettingsError for grams whose
    payload two numbers do not hold.
    """

    n: int
    vocabulary_size: int

    def __post_init__(self) -> None:
        if self.payload_bits > _MOST_PAYLOAD_BITS:
            raise SettingsError(
                f"{self.n}-grams of a vocabulary of {self.vocabulary_size:,} ids are too wide to count: {self.n - 1} "
                f"ids may have {_MOST_PAYLOAD_BITS} bits together: count shorter ones (-n)"
            )

    @property
    def end_id(self) -> int:
        return self.vocabulary_size

    @property
    def bits(self) -> int:
        """Bits of one id, the end id among them."""
        return bits_of(self.vocabulary_size + 1)

    @property
    def payload_bits(self) -> int:
        return (self.n - 1) * self.bits

    @property
    def payload_dtype(self) -> np.dtype[Any]:
        """Of pairs ``high`` is the first field, so that NumPy has them in the order of the grams, too."""
        if self.payload_bits <= _WORD_BITS:
            return np.dtype(np.uint32 if self.payload_bits <= 32 else np.uint64)
        return np.dtype([("high", "<u4" if self.payload_bits <= _WORD_BITS + 32 else "<u8"), ("low", "<u8")])


def high_and_low(payload: NDArray[Any]) -> tuple[NDArray[Any] | None, NDArray[Any]]:
    """The two numbers of payloads, apart; None for the first where there is one only."""
    return (payload["high"], payload["low"]) if payload.dtype.names else (None, payload)
