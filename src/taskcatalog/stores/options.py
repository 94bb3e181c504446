"""What a store that does not describe itself must be told."""

from dataclasses import dataclass
from typing import Annotated, Literal

from taskcatalog.settings import Between, Settings

IdType = Literal["uint16", "int32", "uint32", "int64", "uint64"]
LENGTH = Between(1, 2**31 - 1)
"""Of a sequence: positions in one are numbers of 32 bits in tables."""


@dataclass(frozen=True, kw_only=True)
class StoreOptions(Settings):
    """What a store that does not describe itself must be told."""

    tokenizer: str | None = None
    """Name or path, for all but a token store: without one the ids have no text."""
    sequence_length: Annotated[int | None, LENGTH] = None
    """Tokens that a model sees together. A token store knows its own, an MDS sample is one sequence, and so are
    the rows of a Megatron dataset where all are of one length; 2,048 for the rest if not given."""
    id_dtype: IdType | None = None
    """Type of the ids in a flat file, in MDS columns of bytes, and in datatrove's files where nothing tells it;
    uint16 if not given."""
    column: str | None = None
    """Of an MDS folder, the column that holds the ids, where there are others."""
