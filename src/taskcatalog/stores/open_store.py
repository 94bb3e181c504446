"""Opens whatever a STORE argument names, here or behind a URL."""

from dataclasses import dataclass
from typing import Annotated, Literal

from taskcatalog.errors import InputError, SettingsError
from taskcatalog.find_tokenizer import find_tokenizer
from taskcatalog.runs.ledger import Ledger
from taskcatalog.settings import Between, Settings, given_or_default
from taskcatalog.storage import AnyPath, exists, is_file, locate
from taskcatalog.stores.datatrove import find_token_files, open_datatrove
from taskcatalog.stores.flat import open_flat
from taskcatalog.stores.mds import MdsStore
from taskcatalog.stores.mds_format import has_index
from taskcatalog.stores.megatron import find_index, open_megatron, whole_of_piece
from taskcatalog.stores.megatron_index import is_index
from taskcatalog.stores.store import OpenedStore
from taskcatalog.stores.stream_store import DEFAULT_SEQUENCE_LENGTH as DEFAULT_SEQUENCE_LENGTH
from taskcatalog.stores.token_store import STAGE, TokenStore
from taskcatalog.vocabulary import Vocabulary

IdType = Literal["uint16", "int32", "uint32", "int64", "uint64"]
LENGTH = Between(1, 2**31 - 1)
"""Of a sequence: places in one are numbers of 32 bits in tables."""


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


def open_store(path: str | AnyPath, options: StoreOptions | None = None) -> OpenedStore:
    """A token store, an MDS folder, a Megatron dataset, datatrove's files or a flat ``.bin`` of ids.

    A Megatron dataset is named by its ``.bin``, its ``.idx`` or what is common to both; a ``.bin`` without an
    ``.idx`` is flat. Raises InputError where ``path`` is none of these, or is damaged, and SettingsError where
    an option does not fit what it is.
    """
    options, path = given_or_default(options, StoreOptions), locate(path)
    if is_token_store(path):
        if options.tokenizer or options.id_dtype:
            raise SettingsError(f"{path}: a token store has its own tokenizer and type of ids: leave these options out")
        _refuse_column(path, options, "a token store")
        return TokenStore(path, options.sequence_length)
    vocabulary = Vocabulary.read(find_tokenizer(options.tokenizer)) if options.tokenizer else None
    if has_index(path):
        if options.sequence_length:
            raise SettingsError(f"{path}: each MDS sample is one sequence: leave out --sequence-length")
        return MdsStore(path, options.id_dtype, vocabulary, options.column)
    return _open_stream(path, options, vocabulary)


def is_token_store(path: AnyPath) -> bool:
    return Ledger.exists(path) and Ledger.read(path).stage == STAGE.name


def _open_stream(path: AnyPath, options: StoreOptions, vocabulary: Vocabulary | None) -> OpenedStore:
    length = options.sequence_length
    if (index := find_index(path)) and not (options.id_dtype and not is_index(index)):
        _refuse_column(path, options, "a Megatron dataset")
        if options.id_dtype:
            raise SettingsError(f"{path}: a Megatron dataset has its own type of ids: leave out --id-dtype")
        return open_megatron(path, index, length, vocabulary)
    if files := find_token_files(path):
        _refuse_column(path, options, "a datatrove file")
        return open_datatrove(path, files, options.id_dtype, length, vocabulary)
    if path.suffix == ".bin" and is_file(path):
        _refuse_column(path, options, "a flat file")
        if not length and (whole := whole_of_piece(path)):
            raise InputError(
                f"{path}: is one piece of a Megatron dataset: {whole} opens all of it; "
                "--sequence-length N opens this piece alone, as a flat file"
            )
        return open_flat(path, options.id_dtype or "uint16", length, vocabulary)
    kinds = "is no token store, MDS folder or .bin file, nor a Megatron .idx or datatrove's .ds"
    found = kinds if exists(path) else "does not exist"
    raise InputError(f"{path}: {found}: 'taskcatalog tokenize SOURCE --out {path}' makes a token store")


def _refuse_column(path: AnyPath, options: StoreOptions, kind: str) -> None:
    if options.column:
        raise SettingsError(f"{path}: {kind} has no columns: leave out --column")
