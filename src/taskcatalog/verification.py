"""Verifies whatever a path names: a store or a catalog."""

from os import PathLike
from pathlib import Path
from typing import cast

from taskcatalog.catalog.verify import is_catalog, verify_catalog
from taskcatalog.sizes import Size
from taskcatalog.storage import locate
from taskcatalog.stores.open_store import AnyStore, StoreOptions, is_opened, open_store
from taskcatalog.stores.verify import verify_store


def verify(path: AnyStore, options: StoreOptions | None = None, *, memory: Size | None = None) -> list[str]:
    """Reads everything again and returns what is wrong, one line each; nothing where all is well.

    The rules between a catalog's tables are checked within ``memory`` (as ``8GB``), and spill to disk.

    Raises InputError where ``path`` is neither a store nor a catalog.
    """
    if is_opened(path):
        opened = open_store(path, options)
        path, options = opened.path, opened.options
    path = locate(cast("str | PathLike[str]", path))
    if isinstance(path, Path) and is_catalog(path):
        return verify_catalog(path, memory)
    return verify_store(path, options)
