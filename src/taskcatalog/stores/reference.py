"""What a job holds of a store: where it is, and how it is opened."""

from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any, Self, cast

from taskcatalog.errors import InputError
from taskcatalog.settings import given_or_default
from taskcatalog.stores.open_store import AnyStore, StoreOptions, is_opened, open_store
from taskcatalog.stores.store import OpenedStore, Store


@dataclass(frozen=True)
class StoreReference:
    path: str
    options: StoreOptions
    stamp: str
    """Of the store when its stage began."""

    @classmethod
    def of(cls, store: Store, path: AnyStore, options: StoreOptions | None) -> Self:
        """That of a store which was opened so, or was handed over open."""
        if is_opened(path):
            opened = cast(OpenedStore, path)
            path, options = opened.path, opened.options
        reference = cls(str(path), given_or_default(options, StoreOptions), store.stamp)
        reference.__dict__["store"] = store
        return reference

    @cached_property
    def store(self) -> Store:
        """The open store, which another process opens once. Raises InputError where it was changed since its stage
        began."""
        return _opened(self)

    def __getstate__(self) -> dict[str, Any]:
        """All but the open store."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@lru_cache(maxsize=1)
def _opened(reference: StoreReference) -> Store:
    store = open_store(reference.path, reference.options)
    if store.stamp != reference.stamp:
        raise InputError(f"{reference.path}: was changed while it was read: give the command again")
    return store
