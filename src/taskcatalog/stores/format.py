"""What a format of stores says of itself.

A format is one file beside this one, and one line in ``formats``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from taskcatalog.storage import AnyPath
from taskcatalog.stores.options import LENGTH as LENGTH
from taskcatalog.stores.options import IdType as IdType
from taskcatalog.stores.options import StoreOptions as StoreOptions
from taskcatalog.stores.store import OpenedStore
from taskcatalog.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class StoreFormat:
    """How stores of one kind are known and opened."""

    name: str
    """With its article, as a message says it."""
    found_by: str
    """What people know it by, and what is read of it: a row of the table in docs/corpora.md."""
    notes: str
    detect: Callable[[AnyPath, StoreOptions], bool]
    open: Callable[[AnyPath, StoreOptions, Vocabulary | None], OpenedStore]
    """Raises InputError where it is damaged, SettingsError where an option does not fit what it is."""
    refuses: Mapping[str, str] = field(default_factory=dict)
    """Options that it takes none of, and why."""
    problems: Callable[[AnyPath], list[str]] = lambda path: []  # noqa: ARG005
    """What ``verify`` finds besides what a reader of all sequences meets, one line each."""
