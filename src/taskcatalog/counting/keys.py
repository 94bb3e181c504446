"""N-grams as integers, so that their order is the order of their ids.

An n-gram's first id is its *head*. The ids behind it, each written in ``bits`` bits, form its *payload*: one number
of 32 or 64 bits or, where they are wider than that (5-grams of a vocabulary of 65,536 or more), two numbers, of which
``low`` has the last 64 bits. Grams are sorted by putting each into the bucket of its head and sorting the payloads in
each bucket.

Where a sequence ends, the ids that are missing are the *end id*, one more than the largest id: so the longest
grams begin at every token, and all shorter ones are prefixes of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskcatalog.errors import SettingsError

_LARGEST_PAYLOAD_BITS = 128


@dataclass(frozen=True)
class KeyLayout:
    """How n-grams of one n, at least 2, over one vocabulary are split into head and payload."""

    n: int
    vocabulary_size: int

    def __post_init__(self) -> None:
        if self.payload_bits > _LARGEST_PAYLOAD_BITS:
            raise SettingsError(f"{self.n}-grams of a vocabulary of {self.vocabulary_size} ids are too wide to count")

    @property
    def end_id(self) -> int:
        return self.vocabulary_size

    @property
    def bits(self) -> int:
        """Bits of one id, the end id among them."""
        return self.vocabulary_size.bit_length()

    @property
    def payload_bits(self) -> int:
        return (self.n - 1) * self.bits

    @property
    def payload_dtype(self) -> np.dtype[Any]:
        """Of pairs ``high`` is the first field, so that NumPy has them in the order of the grams, too."""
        if self.payload_bits <= 64:
            return np.dtype(np.uint32 if self.payload_bits <= 32 else np.uint64)
        return np.dtype([("high", "<u4" if self.payload_bits <= 96 else "<u8"), ("low", "<u8")])


def high_and_low(payload: NDArray[Any]) -> tuple[NDArray[Any] | None, NDArray[Any]]:
    """The two numbers of payloads, apart; None for the first where there is one only."""
    return (payload["high"], payload["low"]) if payload.dtype.names else (None, payload)
