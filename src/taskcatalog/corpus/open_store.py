"""Opens whatever a STORE argument names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from taskcatalog.catalog.ledger import Ledger
from taskcatalog.catalog.vocabulary import Vocabulary
from taskcatalog.corpus.flat import FlatStore
from taskcatalog.corpus.mds import MdsStore
from taskcatalog.corpus.store import Store
from taskcatalog.corpus.token_store import STAGE, TokenStore
from taskcatalog.corpus.tokenizers import find_tokenizer
from taskcatalog.errors import InputError, SettingsError

DEFAULT_SEQUENCE_LENGTH = 2_048


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """What a store that does not describe itself must be told."""

    tokenizer: str | None = None
    """Name or path, for an MDS folder or a flat file: without one its ids have no text."""
    sequence_length: int | None = None
    """Tokens that a model sees together; a token store knows its own, and an MDS sample is one sequence."""
    id_dtype: Literal["uint16", "uint32"] | None = None
    """Type of the ids in a flat file or in MDS columns of bytes; uint16 if not given."""

    def __post_init__(self) -> None:
        if self.sequence_length is not None and self.sequence_length < 1:
            raise SettingsError(f"sequence length is {self.sequence_length}: it must be at least 1")


def open_store(path: str | Path, options: StoreOptions | None = None) -> Store:
    """A token store, an MDS folder or a flat ``.bin`` of ids.

    Raises InputError where ``path`` is none of these, or is damaged.
    """
    options = options or StoreOptions()
    path = Path(path)
    if Ledger.exists(path) and Ledger.read(path).stage == STAGE:
        if options.tokenizer or options.id_dtype:
            raise SettingsError(f"{path}: a token store has its own tokenizer and type of ids: leave these options out")
        return TokenStore(path, options.sequence_length)
    vocabulary = Vocabulary.read(find_tokenizer(options.tokenizer)) if options.tokenizer else None
    if (path / "index.json").is_file():
        if options.sequence_length:
            raise SettingsError(f"{path}: each MDS sample is one sequence: leave out --sequence-length")
        return MdsStore(path, np.dtype(options.id_dtype) if options.id_dtype else None, vocabulary)
    if path.is_file() and path.suffix == ".bin":
        length = options.sequence_length or DEFAULT_SEQUENCE_LENGTH
        return FlatStore(path, np.dtype(options.id_dtype or "uint16"), length, vocabulary)
    found = "is no token store, MDS folder or .bin file" if path.exists() else "does not exist"
    raise InputError(f"{path}: {found}: 'taskcatalog tokenize SOURCE --out {path}' makes a token store")
