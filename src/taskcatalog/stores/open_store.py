"""Opens whatever a STORE argument names, here or behind a URL."""

from os import PathLike
from typing import Any, TypeAlias, cast

from taskcatalog.errors import InputError, SettingsError
from taskcatalog.find_tokenizer import find_tokenizer
from taskcatalog.settings import given_or_default
from taskcatalog.storage import AnyPath, exists, locate, name_of
from taskcatalog.stores.format import LENGTH as LENGTH
from taskcatalog.stores.format import IdType
from taskcatalog.stores.format import StoreOptions as StoreOptions
from taskcatalog.stores.formats import FORMATS, format_at
from taskcatalog.stores.kinds import mistaken
from taskcatalog.stores.store import OpenedStore
from taskcatalog.stores.stream_store import DEFAULT_SEQUENCE_LENGTH as DEFAULT_SEQUENCE_LENGTH
from taskcatalog.vocabulary import Vocabulary

AnyStore: TypeAlias = str | PathLike[str] | AnyPath | OpenedStore
"""Where a store is, or one that is open."""


def open_store(
    path: AnyStore,
    options: StoreOptions | None = None,
    *,
    tokenizer: str | PathLike[str] | None = None,
    sequence_length: int | None = None,
    id_dtype: IdType | None = None,
    column: str | None = None,
) -> OpenedStore:
    """A token store, an MDS folder, a Megatron dataset, datatrove's files or a flat ``.bin`` of ids.

    A Megatron dataset is named by its ``.bin``, its ``.idx`` or what is common to both; a ``.bin`` without an
    ``.idx`` is flat. Raises InputError where ``path`` is none of these, or is damaged, and SettingsError where
    an option does not fit what it is.

    >>> store = open_store("store")
    >>> store.n_sequences
    1

    What a store does not tell of itself stands in the keywords (see ``StoreOptions``), or in ``options``. A store that
    is open is returned as it is.
    """
    keywords = {"sequence_length": sequence_length, "id_dtype": id_dtype, "column": column}
    keywords["tokenizer"] = None if tokenizer is None else name_of(tokenizer, "tokenizer")
    options = _merged(options, {name: value for name, value in keywords.items() if value is not None})
    if is_opened(path):
        if options not in (StoreOptions(), cast(OpenedStore, path).options):
            raise SettingsError("options are for a store that is opened here: this one is open")
        return cast(OpenedStore, path)
    path = locate(cast("str | PathLike[str]", path))
    found = format_at(path, options)
    if found is None:
        *others, last = [each.name for each in FORMATS]
        if not exists(path):
            raise InputError(f"{path}: does not exist: 'taskcatalog tokenize SOURCE --out {path}' makes a token store")
        problem = mistaken(path, "a store") or (
            f"is neither {', '.join(others)} nor {last}: if it holds documents, "
            f"'taskcatalog tokenize {path} --out STORE' makes a token store of them"
        )
        raise InputError(f"{path}: {problem}")
    for option, reason in found.refuses.items():
        if getattr(options, option):
            raise SettingsError(f"{path}: {reason}: leave out --{option.replace('_', '-')}")
    vocabulary = Vocabulary.read(find_tokenizer(options.tokenizer)) if options.tokenizer else None
    store = found.open(path, options, vocabulary)
    store.options = options
    return store


def is_opened(given: object) -> bool:
    """Whether it is a store that was opened, and not where one is."""
    return hasattr(type(given), "document_at")


def _merged(options: StoreOptions | None, keywords: dict[str, Any]) -> StoreOptions:
    if keywords and options is not None:
        raise SettingsError(f"{min(keywords)} is given beside options: put it into StoreOptions, or leave those out")
    return StoreOptions(**keywords) if keywords else given_or_default(options, StoreOptions)
