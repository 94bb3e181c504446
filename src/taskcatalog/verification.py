"""Verifies whatever a path names: a store or a catalog."""

from pathlib import Path

from taskcatalog.catalog.verify import is_catalog, verify_catalog
from taskcatalog.storage import AnyPath, locate
from taskcatalog.stores.open_store import StoreOptions
from taskcatalog.stores.verify import verify_store


def verify(path: str | AnyPath, options: StoreOptions | None = None, *, memory: str | None = None) -> list[str]:
    """Reads everything again and returns what is wrong, one line each; nothing where all is well.

    The rules between a catalog's tables are checked within ``memory`` (as ``8GB``), and spill to disk.

    Raises InputError where ``path`` is neither a store nor a catalog.
    """
    path = locate(path)
    if isinstance(path, Path) and is_catalog(path):
        return verify_catalog(path, memory)
    return verify_store(path, options)
