"""N-grams as integers, so that their order is the order of their ids.

An n-gram's ids, each written in ``bits`` bits, form one number of ``n * bits`` bits. Its low bits, at most
64, are the *payload*; what is above them is the *head*. With up to 64 bits behind the first id the head is
the first id; for longer ones (5-grams of a vocabulary of 65,536 or more) it has a few bits of the second as well.
Grams are sorted by putting each into the bucket of its head and sorting the payloads in each bucket.

Where a sequence ends, the ids that are missing are the *end id*, one more than the largest id: so the longest
grams begin at every token, and all shorter ones are prefixes of them.
"""

from dataclasses import dataclass

import numpy as np

from taskcatalog.errors import SettingsError

_LARGEST_HEAD_BITS = 27


@dataclass(frozen=True)
class KeyLayout:
    """How n-grams of one n, at least 2, over one vocabulary are split into head and payload."""

    n: int
    vocabulary_size: int

    def __post_init__(self) -> None:
        if self.n * self.bits - 64 > _LARGEST_HEAD_BITS:
            raise SettingsError(f"{self.n}-grams of a vocabulary of {self.vocabulary_size} ids are too wide to count")

    @property
    def end_id(self) -> int:
        return self.vocabulary_size

    @property
    def bits(self) -> int:
        """Bits of one id, the end id among them."""
        return self.vocabulary_size.bit_length()

    @property
    def spilled_bits(self) -> int:
        """Bits of the second id that are in the head."""
        return max(0, (self.n - 1) * self.bits - 64)

    @property
    def payload_bits(self) -> int:
        return min(64, (self.n - 1) * self.bits)

    @property
    def n_heads(self) -> int:
        return self.vocabulary_size << self.spilled_bits

    @property
    def payload_dtype(self) -> np.dtype[np.uint32] | np.dtype[np.uint64]:
        return np.dtype(np.uint32) if self.payload_bits <= 32 else np.dtype(np.uint64)
