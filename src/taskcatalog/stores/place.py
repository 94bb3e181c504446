"""What a job holds of a store, instead of the open store: where it is, and how it is opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from taskcatalog.errors import InputError
from taskcatalog.settings import given_or_default
from taskcatalog.storage import AnyPath
from taskcatalog.stores.open_store import StoreOptions, open_store
from taskcatalog.stores.store import Store, unchanged


@dataclass(frozen=True)
class StorePlace:
    path: str
    options: StoreOptions
    stamp: str
    """Of the store when its stage began."""

    @classmethod
    def of(cls, store: Store, path: str | AnyPath, options: StoreOptions | None) -> Self:
        """That of a store which was opened so."""
        return cls(str(path), given_or_default(options, StoreOptions), store.stamp)

    def open(self) -> Store:
        """The store, which each process opens once. Raises InputError where it was changed since the stage began."""
        if self not in _opened:
            store = open_store(self.path, self.options)
            if store.stamp != self.stamp:
                raise InputError(f"{self.path}: was changed while it was read: give the command again")
            _opened[self] = store
        return _opened[self]


_opened: dict[StorePlace, Store] = {}


@contextmanager
def read_by_jobs(store: Store, place: StorePlace) -> Iterator[None]:
    """``unchanged``, and meanwhile jobs in this process get the store itself."""
    with unchanged(store):
        _opened[place] = store
        try:
            yield
        finally:
            _opened.pop(place, None)
