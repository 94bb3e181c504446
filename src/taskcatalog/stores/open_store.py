"""Opens whatever a STORE argument names, here or behind a URL."""

from taskcatalog.errors import InputError, SettingsError
from taskcatalog.find_tokenizer import find_tokenizer
from taskcatalog.settings import given_or_default
from taskcatalog.storage import AnyPath, exists, locate
from taskcatalog.stores.format import LENGTH as LENGTH
from taskcatalog.stores.format import StoreOptions as StoreOptions
from taskcatalog.stores.formats import FORMATS, format_at
from taskcatalog.stores.kinds import mistaken
from taskcatalog.stores.store import OpenedStore
from taskcatalog.stores.stream_store import DEFAULT_SEQUENCE_LENGTH as DEFAULT_SEQUENCE_LENGTH
from taskcatalog.vocabulary import Vocabulary


def open_store(path: str | AnyPath, options: StoreOptions | None = None) -> OpenedStore:
    """A token store, an MDS folder, a Megatron dataset, datatrove's files or a flat ``.bin`` of ids.

    A Megatron dataset is named by its ``.bin``, its ``.idx`` or what is common to both; a ``.bin`` without an
    ``.idx`` is flat. Raises InputError where ``path`` is none of these, or is damaged, and SettingsError where
    an option does not fit what it is.
    """
    options, path = given_or_default(options, StoreOptions), locate(path)
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
    return found.open(path, options, Vocabulary.read(find_tokenizer(options.tokenizer)) if options.tokenizer else None)
