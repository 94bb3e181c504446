"""What tells one token store from another, and what a catalog keeps of it."""

from dataclasses import dataclass

import numpy as np

from taskcatalog.tables.names import id_dtype


@dataclass(frozen=True, kw_only=True)
class StoreIdentity:
    """What a catalog needs to know of the token store that it describes."""

    fingerprint: str
    """Names the tokens: two stores with the same one hold the same sequences."""
    sequence_length: int
    vocabulary_size: int
    """One more than the largest id that may occur."""
    end_of_text: int | None
    """The id that ends a document, where it is known."""

    @property
    def id_dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        return id_dtype(self.vocabulary_size)
